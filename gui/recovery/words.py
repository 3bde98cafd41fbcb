"""A recovery's figures in words: nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QCoreApplication

from engine.recovery.report import RecoveryPlan, RecoveryReport, StageReport, StageStatus
from gui.widgets import Step, StepState, formats


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("recovery", text)


_STATES = {
    StageStatus.PENDING: StepState.WAITING,
    StageStatus.RUNNING: StepState.RUNNING,
    StageStatus.SUCCEEDED: StepState.DONE,
    StageStatus.WARNING: StepState.WARNING,
    StageStatus.FAILED: StepState.FAILED,
    StageStatus.SKIPPED: StepState.SKIPPED,
    StageStatus.CANCELLED: StepState.SKIPPED,
}

_SHOWN_METRICS = 4


def step(stage: StageReport) -> Step:
    """One of the twelve stages as a line of the list."""
    time = formats.duration(stage.seconds) if stage.seconds > 0 else ""
    return Step(f"{stage.number}. {stage.name}", _STATES[stage.status], _detail(stage), time)


def _detail(stage: StageReport) -> str:
    if stage.error is not None:
        return stage.error.title
    if stage.status is StageStatus.RUNNING and stage.progress:
        return progress_text(stage.progress)
    if stage.status is StageStatus.SUCCEEDED and stage.metrics:
        return metrics_text(stage.metrics)
    return stage.does


def progress_text(progress: Mapping[str, Any]) -> str:
    """What a stage is at: "redo · 12.4 MiB of 30 MiB"."""
    done, total, unit = progress.get("done") or 0, progress.get("total") or 0, str(progress.get("unit") or "")
    parts = [str(progress.get("stage") or "")]
    if total:
        parts.append(tr("{done} of {total}").format(done=amount(done, unit), total=amount(total, unit)))
    elif done:
        parts.append(amount(done, unit))
    return " · ".join(part for part in parts if part)


def amount(value: float, unit: str) -> str:
    """So many of a unit; bytes as sizes."""
    return formats.size(value) if unit == "bytes" else f"{formats.count(value)} {unit}".strip()


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """The first few figures of a stage in one line."""
    parts = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            required, available = value.get("required", 0), value.get("available", 0)
            is_count = name.endswith("handles")
            shown = formats.count if is_count else formats.size
            words = tr("{name}: {required} of {available}")
            parts.append(words.format(name=_name(name), required=shown(required), available=shown(available)))
        elif name == "end_reason":
            parts.append(end_text(str(value)))
        elif name == "released_with":
            parts.append(tr("the lock goes with the last stage"))
        elif isinstance(value, str):
            parts.append(value)
        elif name == "bytes" or name.endswith("_bytes"):
            parts.append(f"{_name(name.removesuffix('_bytes'))} {formats.size(value)}".replace("bytes ", ""))
        elif isinstance(value, int | float):
            parts.append(f"{_name(name)} {formats.count(value)}")
    return " · ".join(parts[:_SHOWN_METRICS])


def end_text(reason: str) -> str:
    """Why the log ends where it ends, for somebody who does not know its format."""
    return {
        "zeros": tr("nothing was written after it"),
        "the last segment is full": tr("its last file is full"),
        "cut short": tr("the last entry was being written"),
        "bad checksum": tr("the last entry was only partly written"),
        "wrong position": tr("what follows is older log"),
        "wrong incarnation": tr("what follows is older log"),
    }.get(reason, reason)


def _name(name: str) -> str:
    return name.replace("_lsn", " LSN").replace("_", " ")


def reassurance(plan: RecoveryPlan) -> str:
    """The sentence that a frightened person looks for."""
    losers = len(plan.losers)
    if plan.records == 0:
        return tr("Your data is not lost: everything that was committed is already in the data file.")
    kept = tr("Your data is not lost: everything that was committed is applied again from the log.")
    if not losers:
        return kept
    undone = (
        tr("One transaction had not been committed; its changes are undone.")
        if losers == 1
        else tr("{n} transactions had not been committed; their changes are undone.").format(n=losers)
    )
    return f"{kept} {undone}"


def outcome_text(report: RecoveryReport) -> str:
    """How it ended, in a sentence."""
    redone = int(report.redo.get("applied", 0))
    undone = int(report.undo.get("transactions", 0))
    sentence = (
        tr("{records} changes were applied again, one unfinished transaction was undone, in {time}.")
        if undone == 1
        else tr(
            "{records} changes were applied again, {undone} unfinished transactions were undone, in {time}."
        )
    )
    return sentence.format(
        records=formats.count(redone), undone=formats.count(undone), time=formats.duration(report.seconds)
    )
