"""A recovery's figures in words: nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QCoreApplication

from engine.errors import (
    Cancelled,
    HoldfastError,
    InconsistentState,
    PartialRecoveryFailure,
    RecoveryImpossible,
    RecoveryRollbackFailed,
    RecoveryVerificationFailed,
    WalCorrupted,
)
from engine.recovery.choices import root_cause
from engine.recovery.report import RecoveryPlan, RecoveryReport, StageReport, StageStatus
from gui.theme import Tone
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
_CHANGES_FROM = 7
_INSTALLS = 12
_LONGEST_CHAIN = 8


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
        elif name == "pid":
            parts.append(tr("process {pid}").format(pid=value))
        elif name == "settled":
            # What an earlier recovery had left; mostly nothing.
            parts += [] if value == "nothing" else [tr("an earlier recovery: {what}").format(what=value)]
        elif name == "end_reason":
            parts.append(end_text(str(value)))
        elif name == "released_with":
            parts.append(tr("the lock goes with the last stage"))
        elif isinstance(value, str):
            parts.append(value)
        elif name in _SIZES or name.endswith("_bytes"):
            parts.append(
                f"{_SIZES.get(name, _name(name.removesuffix('_bytes')))} {formats.size(value)}".strip()
            )
        elif name.endswith("_lsn"):
            parts.append(f"{_name(name)} {formats.count(value)}")
        elif isinstance(value, int | float):
            parts.append(f"{formats.count(value)} {_noun(name, value)}")
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


_SIZES = {"bytes": "", "bytes_written": "written", "page_size": "page size"}
_PLURALS = ("files", "segments", "gaps", "records", "pages", "losers", "problems")


def _noun(name: str, value: float) -> str:
    """What a figure counts: "pages restored", and of one "page restored"."""
    words = _name(name).split(" ")
    return " ".join(word[:-1] if word in _PLURALS and value == 1 else word for word in words)


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
    time = formats.duration(report.seconds)
    if not redone and not undone:
        return tr("Nothing had to be applied again or undone; it took {time}.").format(time=time)
    applied = tr("one change was applied again") if redone == 1 else tr("{n} changes were applied again")
    taken_back = (
        tr("one unfinished transaction was undone")
        if undone == 1
        else tr("{n} unfinished transactions were undone")
    )
    parts = [applied.format(n=formats.count(redone))] if redone else []
    parts += [taken_back.format(n=formats.count(undone))] if undone else []
    text = tr("{what}, in {time}.").format(what=", ".join(parts), time=time)
    return text[:1].upper() + text[1:]


_LOSES = (RecoveryImpossible, WalCorrupted, InconsistentState, RecoveryVerificationFailed)
"""What may not be brought back by another attempt."""


def data_words(error: HoldfastError) -> tuple[Tone, str, str]:
    """Whether the data is lost, as a tone, a title and a sentence: what somebody looks for first."""
    root = root_cause(error)
    if isinstance(error, RecoveryRollbackFailed):
        return (
            Tone.BAD,
            tr("Change nothing: copy the database directory first"),
            tr("The log is kept and holds what was committed, but the return to the state before failed."),
        )
    if isinstance(root, WalCorrupted):
        return (
            Tone.WARN,
            tr("What was committed before the damage is not lost"),
            tr("Commits in the damaged part of the log, and after it, may be. The other ways say how many."),
        )
    if isinstance(root, _LOSES):
        return (
            Tone.WARN,
            tr("A part of the data may be lost"),
            tr(
                "What can still be read can be saved, and the newest backup restored beside it. Nothing was "
                "changed here."
            ),
        )
    return (
        Tone.GOOD,
        tr("Your data is not lost"),
        tr(
            "The log is kept and holds everything that was committed. Recovery can be repeated as often as "
            "needed."
        ),
    )


def is_decided(report: RecoveryReport) -> bool:
    """Whether it was stopped while it was put in place: the next opening does the rest."""
    return isinstance(report.error, Cancelled) and bool(report.error.fields.get("left"))


def rollback_words(error: HoldfastError | None, report: RecoveryReport) -> str:
    """What was taken back, and how the files are now."""
    if isinstance(error, RecoveryRollbackFailed):
        by_hand = error.fields.get("manual_intervention_needed")
        words = tr("What {stage} had done could not be put back: {reason}.").format(
            stage=error.fields.get("stage"), reason=error.fields.get("reason")
        )
        return f"{words} {tr('A person has to do it.')}" if by_hand else words
    if isinstance(error, PartialRecoveryFailure) and not error.fields.get("rollback_available"):
        return tr(
            "Nothing could be taken back: what was done stays. The database is no worse than before, and the "
            "next recovery does the rest."
        )
    untouched = tr("Every file of the database is byte for byte as it was.")
    if report.rehearsal:
        return f"{untouched} {tr('It was a rehearsal, beside the database.')}"
    if is_decided(report):
        return tr(
            "Nothing was taken back: all is recovered and checked, and a part of it is in its place. The "
            "next opening puts the rest in place."
        )
    if not report.rolled_back:
        return f"{untouched} {tr('There was nothing to take back.')}"
    return f"{untouched} {tr('Taken back: {stages}.').format(stages=', '.join(report.rolled_back))}"


def cause_chain(error: HoldfastError) -> list[str]:
    """The error and each of its causes in words, the outermost first."""
    chain: list[str] = []
    at: BaseException | None = error
    while at is not None and len(chain) < _LONGEST_CHAIN:
        if isinstance(at, HoldfastError):
            chain.append(f"{at.message} ({at.name}, {at.code})")
        else:
            chain.append(f"{type(at).__name__}: {at}")
        at = at.__cause__
    return chain


def measured_words(report: RecoveryReport) -> str:
    """Memory, and what held it up."""
    parts = [tr("{size} of memory").format(size=formats.size(report.memory_bytes))]
    slowest = report.slowest
    if slowest is not None:
        parts.append(bottleneck_words(slowest.name, slowest.bottleneck))
    return " · ".join(parts)


def bottleneck_words(stage: str, resource: str) -> str:
    """ "longest in Transaction Recovery, held up by the disk"."""
    words = {
        "disk": tr("longest in {stage}, held up by the disk"),
        "processor": tr("longest in {stage}, held up by the processor"),
    }.get(resource, tr("longest in {stage}"))
    return words.format(stage=stage)


def pass_result(name: str, report: RecoveryReport, metrics: Mapping[str, Any]) -> tuple[str, str]:
    """What a pass has done: its main figure, and the rest with its speed."""
    found = {"analysis": report.analysis, "redo": report.redo, "undo": report.undo}[name]
    seconds = float(found.get("seconds") or 0)
    size = float(found.get("bytes") or 0)
    speed = [formats.rate(size / seconds, "bytes")] if seconds > 0 and size else []
    if name == "analysis":
        figure = amount(float(found.get("records") or metrics.get("records") or 0), tr("records"))
        rest = [tr("{n} pages may be old").format(n=formats.count(found.get("dirty_pages") or 0))]
    elif name == "redo":
        figure = amount(float(found.get("applied") or metrics.get("applied") or 0), tr("changes"))
        rest = [tr("{n} pages").format(n=formats.count(found.get("pages") or metrics.get("pages") or 0))]
    else:
        undone = float(found.get("records") or metrics.get("undone") or 0)
        figure = amount(undone, tr("changes"))
        rest = [tr("{n} transactions").format(n=formats.count(found.get("transactions") or 0))]
        speed = [formats.rate(undone / seconds, tr("changes"))] if seconds > 0 and undone else []
    return figure, " · ".join([*rest, *speed])


def safety_words(running: int, report: RecoveryReport, *, is_undoable: bool) -> str:
    """Whether it is safe to cancel at the stage that runs (1 to 12; 0 for none)."""
    if report.rehearsal:
        return tr("Safe to cancel: a rehearsal only reads the database.")
    if running >= _INSTALLS:
        return tr(
            "Being put in place: it can be stopped, but not taken back any more. What is left is then done "
            "by the next opening, as after a power failure; nothing is lost."
        )
    if is_undoable or running < _CHANGES_FROM:
        return tr("Safe to cancel: until the last stage, everything is done beside the database.")
    return tr("Safe to cancel: what was done stays, and the next recovery does the rest.")


def rehearsal_text(report: RecoveryReport) -> str:
    """What a rehearsal has shown, in a sentence or two."""
    sentence = tr(
        "{records} changes would be applied again, {undone} changes of unfinished transactions undone, in "
        "about {time}. Nothing has been changed. The same plan can now be carried out; it is refused if "
        "anything changes until then."
    )
    return sentence.format(
        records=formats.count(int(report.redo.get("applied", 0))),
        undone=formats.count(int(report.undo.get("records", 0))),
        time=formats.duration(report.seconds),
    )


def left_words(remaining_s: float) -> str:
    """An estimate, no more exact than it is."""
    if remaining_s < 1:
        return tr("less than a second left")
    return tr("about {left} left").format(left=formats.duration(round(remaining_s)))


def beyond_words(reached_at: float | None) -> str:
    """What a restored database may lack: `reached_at` is the time of the last commit that is in it."""
    if reached_at is None:
        return tr("What was committed after the backup is not in it.")
    return tr("What was committed after {moment} is not in it, if anything was.").format(
        moment=formats.moment(reached_at)
    )
