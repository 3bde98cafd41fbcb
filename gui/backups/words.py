"""What the pages say of a backup: its proof in a word, its four steps, who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from engine.types import BackupOrigin, ProofStep
from gui.theme import Tone
from gui.widgets import Step, StepState, formats

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup, RowCounts
    from engine.backups.line import Touched
    from gui.backups.moments import Stop


_MOST_TOUCHED = 4


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)


def proof_word(kept: KeptBackup) -> str:
    """The furthest step of a backup's proof."""
    if kept.setback is not None:
        return tr("failed")
    if kept.is_proved:
        return tr("proved")
    return tr("checksummed") if kept.info.verified_at else tr("not verified")


def proof_tone(kept: KeptBackup) -> Tone:
    """Good is only what was restored and queried."""
    if kept.setback is not None:
        return Tone.BAD
    if kept.is_proved:
        return Tone.GOOD
    return Tone.ACCENT if kept.info.verified_at else Tone.WARN


def origin_word(kept: KeptBackup) -> str:
    """Who asked for it."""
    return {
        BackupOrigin.MANUAL: tr("by hand"),
        BackupOrigin.SCHEDULED: tr("schedule"),
        BackupOrigin.EMERGENCY: tr("emergency"),
    }[kept.origin]


def proof_steps(kept: KeptBackup, running: ProofStep | None = None) -> list[Step]:
    """The four steps with their dates; what is after the one that runs, or that failed, waits."""
    return [_step(kept, step, running) for step in ProofStep]


def rows_words(counts: RowCounts) -> str:
    """How many rows in how many tables and trees."""
    parts = []
    if counts.tables:
        parts.append(_plural(tr("1 table"), tr("{n} tables"), len(counts.tables)))
    if counts.trees:
        parts.append(_plural(tr("1 tree"), tr("{n} trees"), len(counts.trees)))
    rows = formats.rows(counts.total)
    return f"{rows} · {', '.join(parts)}" if parts else rows


def stop_words(stop: Stop) -> str:
    """A moment of the time line in one line."""
    when = formats.moment(stop.at)
    if stop.kind == "now":
        return tr("now")
    if stop.kind == "backup":
        return tr("{when} · the end of a backup").format(when=when)
    if stop.kind == "named":
        return f"{when} · {stop.name}"
    if stop.kind == "commits":
        return tr("{when} · the last of {n} commits").format(when=when, n=formats.count(stop.commits))
    words = tr("{when} · a commit").format(when=when)
    return f"{words}: {touched_words(stop.touched)}" if stop.touched else words


def touched_words(touched: Mapping[str, Touched]) -> str:
    """What a transaction did to which tables: "people +2 ~1"."""
    parts = []
    for name, rows in sorted(touched.items()):
        counts = (("+", rows.inserted), ("~", rows.updated), ("−", rows.deleted))
        figures = " ".join(f"{sign}{formats.count(count)}" for sign, count in counts if count)
        parts.append(f"{name} {figures}")
    more = len(parts) - _MOST_TOUCHED
    shown = ", ".join(parts[:_MOST_TOUCHED])
    return tr("{shown} and {n} more").format(shown=shown, n=more) if more > 0 else shown


def _step(kept: KeptBackup, step: ProofStep, running: ProofStep | None) -> Step:
    name, waiting = _NAMES[step]
    at = kept.at(step)
    setback = kept.setback
    if setback is not None and setback.step is step:
        return Step(tr(name), StepState.FAILED, tr("see below"), _short(setback.at))
    if running is step:
        return Step(tr(name), StepState.RUNNING, tr("under way"), "")
    if at is None:
        return Step(tr(name), StepState.WAITING, tr(waiting), "")
    order = list(ProofStep)
    # What was reached before is worth nothing once a step below it has failed.
    is_lost = setback is not None and order.index(setback.step) < order.index(step)
    state = StepState.SKIPPED if is_lost else StepState.DONE
    return Step(tr(name), state, _detail(kept, step), _short(at))


def _detail(kept: KeptBackup, step: ProofStep) -> str:
    if step is ProofStep.TAKEN:
        size = formats.size(kept.info.bytes)
        return tr("{size} more").format(size=size) if kept.parent else size
    if step is ProofStep.CHECKSUMMED:
        return tr("every file")
    if step is ProofStep.RESTORED:
        return tr("checked")
    if kept.counted is None:
        return ""
    return formats.rows(kept.counted.total)


def _short(at: float) -> str:
    return formats.moment(at)[:-3]


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many.format(n=formats.count(count))


_NAMES = {
    ProofStep.TAKEN: ("Taken", ""),
    ProofStep.CHECKSUMMED: ("Checksummed", "not yet"),
    ProofStep.RESTORED: ("Restored", "not yet"),
    ProofStep.QUERIED: ("Queried", "not yet"),
}
