"""What could repair a finding: every possible source, best first, with what each costs.

A source that cannot be used now is told too, with the reason, so that nobody wonders why it is
not offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from engine.integrity.findings import Finding, Priority
from engine.types import BackupInfo
from engine.units import counted

if TYPE_CHECKING:
    from engine.integrity.plan import RepairPlan

_ROWS_PER_S = 200_000.0
"""Rows that an index build takes in a second, for an estimate."""

_KEPT = "The damaged bytes are kept in quarantine/."
_BESIDE = "Yes: it goes into a new database, and this one stays as it is."


class Source(StrEnum):
    """Where a repair can come from, best first."""

    MEMORY = "memory"
    DOUBLEWRITE = "doublewrite"
    LOG = "log"
    PAGE_BACKUP = "backup"
    MIRROR = "mirror"
    INDEX = "index"
    BACKUP = "restore"
    SALVAGE = "salvage"


SOURCE_TITLES = {
    Source.MEMORY: "The page in memory",
    Source.DOUBLEWRITE: "Double-write buffer",
    Source.LOG: "Log",
    Source.PAGE_BACKUP: "The page from a backup",
    Source.MIRROR: "The page from a mirror",
    Source.INDEX: "Rebuild from the table",
    Source.BACKUP: "Restore a backup",
    Source.SALVAGE: "Salvage",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One source for one finding. Where `why_not` is not empty it cannot be used now."""

    source: Source
    restores: str
    lost: str
    seconds: float | None
    """About how long; None where that cannot be told."""
    undo: str
    why_not: str = ""
    is_chosen: bool = False
    """Whether the plan takes it."""
    backup: str = ""
    """The backup that would be restored."""

    @property
    def title(self) -> str:
        return SOURCE_TITLES[self.source]


def options(plan: RepairPlan, finding: Finding, backups: Sequence[BackupInfo] = ()) -> tuple[Option, ...]:
    """The sources for one finding of a plan, best first. `backups` are those at hand."""
    found: list[Option] = []
    if finding.page is not None:
        found += _page_options(plan, finding)
    if finding.is_index:
        found.append(_index_option(plan, finding))
    if finding.priority is not Priority.P3:
        found += [_backup_option(backups), _salvage_option()]
    return tuple(found)


def newest_verified(backups: Sequence[BackupInfo]) -> BackupInfo | None:
    """The newest backup that was proved to be whole."""
    proved = [info for info in backups if info.verified_at is not None]
    return max(proved, key=lambda info: (info.taken_at, info.end_lsn), default=None)


def _page_options(plan: RepairPlan, finding: Finding) -> list[Option]:
    remedy = next((remedy for remedy in plan.remedies if remedy.page == finding.page), None)
    reasons = {
        Source.MEMORY: "no whole copy is in memory",
        Source.DOUBLEWRITE: "it holds no copy that the log brings up to date",
        Source.LOG: "the log that is kept does not reach back to a full image of the page",
        Source.PAGE_BACKUP: plan.unhelped.get(finding.page or 0, "no backup in the known folders holds it"),
        Source.MIRROR: "no mirror that follows holds a whole copy",
    }
    made = []
    for source, reason in reasons.items():
        sources = ("backup", "archive") if source is Source.PAGE_BACKUP else (source.value,)
        is_chosen = remedy is not None and remedy.source in sources
        if is_chosen and remedy is not None:
            changes = f", with {counted(remedy.changes, 'change')}" if remedy.changes else ""
            words = f"the page{changes}"
            if source in (Source.PAGE_BACKUP, Source.MIRROR):
                words += f", from {Path(remedy.place).name or 'the archived log'}"
            share = plan.seconds / max(1, len(plan.remedies))
            made.append(Option(source, words, "nothing", share, _KEPT, is_chosen=True))
        elif remedy is None or not any(option.is_chosen for option in made):
            made.append(Option(source, "the whole page", "nothing", None, _KEPT, reason))
    return made


def _index_option(plan: RepairPlan, finding: Finding) -> Option:
    chosen = next(
        (new for new in plan.indexes if (new.table, new.index) == (finding.table, finding.tree)), None
    )
    if chosen is None:
        reason = "its page can be repaired as it was"
        if not plan.cures(finding):
            reason = "not all rows of its table can be read: they come first"
        return Option(Source.INDEX, "the whole index", "nothing", None, "Not needed.", reason)
    return Option(
        Source.INDEX,
        f"the whole index, from {counted(chosen.rows, 'row')} of {chosen.table}",
        "nothing; the table is locked meanwhile",
        chosen.rows / _ROWS_PER_S,
        "Not needed: it holds only what the table says.",
        is_chosen=True,
    )


def _backup_option(backups: Sequence[BackupInfo]) -> Option:
    newest = newest_verified(backups)
    if newest is None:
        reason = "no verified backup is in the folder of backups"
        return Option(Source.BACKUP, "the whole database", "commits after it", None, _BESIDE, reason)
    taken = datetime.fromtimestamp(newest.taken_at).astimezone()
    return Option(
        Source.BACKUP,
        f"all as of {taken:%Y-%m-%d %H:%M:%S}",
        "commits after that",
        None,
        _BESIDE,
        backup=str(Path(newest.path)),
    )


def _salvage_option() -> Option:
    return Option(
        Source.SALVAGE,
        "every record that can be read",
        "records on damaged pages",
        None,
        _BESIDE,
        "the database has to be closed for it, which the button or the command below does",
    )
