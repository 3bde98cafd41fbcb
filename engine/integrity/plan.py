"""What was found and what it could be repaired from: a plan, made without changing anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import HoldfastError
from engine.integrity.findings import Finding, Priority
from engine.tasks import Task
from engine.types import CheckReport

if TYPE_CHECKING:
    from engine.database import Database

SOURCE_WORDS = {
    "memory": "the page in memory, which is whole",
    "doublewrite": "the copy in the double-write buffer, brought up to date from the log",
    "log": "its last full image in the log and every change since",
    "backup": "its copy in a backup, brought up to date from the log",
    "archive": "the archived log, which has it in full: it began after the newest backup",
    "mirror": "its copy in a mirror, brought up to date from the log",
}
FROM_BACKUPS = ("backup", "archive")
BROUGHT = (*FROM_BACKUPS, "mirror")
"""Sources that are fetched from elsewhere."""
_MOST_COPIES = 4096
"""Copies of pages that are held in memory at once."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where to look for copies of pages, beside the folders that are known, and for log."""

    folders: tuple[Path, ...] = ()
    """Backups, or folders of backups."""
    logs: tuple[Path, ...] = ()
    """Databases or archives that hold log of this database."""
    key: tuple[str, bytes] | None = field(default=None, repr=False)
    """What opens encrypted backups, kind and secret; None for the key file that is known."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """Where one page can be, or was, rebuilt from. Nothing of the page is lost by it."""

    page: int
    source: str
    """memory | doublewrite | log | backup | archive | mirror"""
    base_lsn: int
    changes: int
    """Changes from the log that are applied to the base."""
    place: str = ""
    """The backup or the mirror, where the source is one."""

    @property
    def words(self) -> str:
        """The source in words."""
        if self.place and self.source == "mirror":
            return f"its copy in the mirror {Path(self.place).name}, brought up to date from the log"
        if self.place:
            return f"its copy in the backup {Path(self.place).name}, brought up to date from the log"
        return SOURCE_WORDS[self.source]


@dataclass(frozen=True, slots=True)
class IndexRemedy:
    """An index that can be, or was, built anew from its table. Nothing is lost by it."""

    table: str
    index: str
    rows: int
    abandoned: tuple[int, ...] = ()
    """Damaged pages that the old index leaves behind: nothing leads to them afterwards."""

    @property
    def words(self) -> str:
        return f"index {self.index}, from the rows of {self.table}"


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What was found, and what can be done about it. Made without changing anything."""

    findings: tuple[Finding, ...]
    remedies: tuple[Remedy, ...]
    indexes: tuple[IndexRemedy, ...]
    without_source: tuple[int, ...]
    """Damaged pages that nothing can rebuild: a restore or a salvage is needed."""
    others: int
    """Findings that are neither about the bytes of one page nor about an index."""
    seconds: float
    """How long it took to rebuild the pages in memory, which the repair will do once more."""
    check: CheckReport | None = None
    """The check that the plan is for, where it began with one."""
    unhelped: Mapping[int, str] = field(default_factory=dict)
    """Why the copy of a page in a backup does not help, for pages without a source that have one."""
    elsewhere: Elsewhere = Elsewhere()
    """Where else was looked for copies."""
    locked: Mapping[str, str] = field(default_factory=dict)
    """Encrypted backups that were passed over for pages without a source, each with why it stays closed:
    nobody gave its key, or it was another one."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a repair could do."""
        return not self.remedies and not self.indexes

    def cures(self, finding: Finding) -> bool:
        """Whether the repair would get rid of `finding`."""
        if any(remedy.page == finding.page for remedy in self.remedies):
            return True
        return any((finding.table, finding.tree) == (new.table, new.index) for new in self.indexes)


def plan_task(database: Database, elsewhere: Elsewhere | None = None) -> Task[RepairPlan]:
    """Check everything and say for each finding what it can be repaired from."""

    def work(task: Task[RepairPlan]) -> RepairPlan:
        task.stage("Check", step=1, steps=2)
        check = task.carry(database.check_task())
        task.stage("Sources", step=2, steps=2)
        return make_plan(database, database.integrity.findings(), task, check, elsewhere)

    return Task("Repair plan", work)


def advise_task(
    database: Database, findings: Sequence[Finding], elsewhere: Elsewhere | None = None
) -> Task[RepairPlan]:
    """The plan for findings that are known. Every page is rebuilt in memory, and nothing is written."""

    def work(task: Task[RepairPlan]) -> RepairPlan:
        task.stage("Sources", step=1, steps=1)
        return make_plan(database, findings, task, elsewhere=elsewhere)

    return Task("Repair plan", work)


def make_plan(
    database: Database,
    findings: Sequence[Finding],
    task: Task[Any],
    check: CheckReport | None = None,
    elsewhere: Elsewhere | None = None,
) -> RepairPlan:
    """The plan for some open findings; the stage of the task that it runs in is the caller's."""
    damaged = sorted({finding.page for finding in findings if finding.page is not None})
    job = bridge.Job()
    task.use(job)
    began = time.monotonic()
    copies = Copies(database, elsewhere or Elsewhere(), job)
    remedies, unhelped, locked = _page_remedies(database, damaged, copies, job)
    seconds = time.monotonic() - began
    reached = {remedy.page for remedy in remedies}
    indexes = tuple(_index_remedies(database, findings, reached))
    left_behind = {page for index in indexes for page in index.abandoned}
    unreached = [page for page in damaged if page not in reached and page not in left_behind]
    return RepairPlan(
        findings=tuple(findings),
        remedies=remedies,
        indexes=indexes,
        without_source=tuple(unreached),
        others=sum(finding.page is None and not finding.is_index for finding in findings),
        seconds=seconds,
        check=check,
        unhelped={page: why for page, why in unhelped.items() if page in unreached},
        elsewhere=elsewhere or Elsewhere(),
        locked=locked if unreached or left_behind else {},
    )


class Copies:
    """Copies of pages from elsewhere, fetched many at a time: each fetch reads a backup once."""

    def __init__(self, database: Database, elsewhere: Elsewhere, job: bridge.Job | None = None) -> None:
        self._database = database
        folders = (*elsewhere.folders, *database.keeper.folders())
        self._folders = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._logs = [*map(str, elsewhere.logs), *database.backups.log_places()]
        self._key = elsewhere.key or database.backups.noted_key()
        self._job = job

    def from_backups(self, pages: Sequence[int]) -> Iterator[tuple[Sequence[int], bridge.PageCopies]]:
        """The pages in batches, each with its copies; none where there is no folder of backups."""
        for batch in _batches(pages if self._folders else ()):
            yield (
                batch,
                self._database.store.copies_from_backups(
                    batch, self._folders, self._logs, self._job, key=self._key
                ),
            )

    def from_mirrors(self, pages: Sequence[int]) -> Iterator[tuple[Sequence[int], bridge.PageCopies]]:
        """As `from_backups`, from the mirrors that follow: the one first that lacks least."""
        for batch in _batches(pages if pages and self._database.mirrors.reached() else ()):
            yield batch, self._database.store.copies_from_mirrors(batch, self._job)


def _batches(pages: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(pages), _MOST_COPIES):
        yield pages[first : first + _MOST_COPIES]


def _page_remedies(
    database: Database, pages: Sequence[int], copies: Copies, job: bridge.Job
) -> tuple[tuple[Remedy, ...], dict[int, str], dict[str, str]]:
    """What pages can be rebuilt from, backups after what is near, then mirrors; why copies of others do not
    help; and the backups that stayed closed, with the reason."""
    remedies = [Remedy(**found) for found in database.store.plan_repair(pages, job)["remedies"]]
    unhelped: dict[int, str] = {}
    locked: dict[str, str] = {}
    for source in (copies.from_backups, copies.from_mirrors):
        reached = {remedy.page for remedy in remedies}
        for batch, fetched in source([page for page in pages if page not in reached]):
            plan = database.store.plan_repair(batch, job, fetched)
            remedies += [Remedy(**found) for found in plan["remedies"]]
            unhelped = {**plan["unhelped"], **unhelped}
            locked |= dict(fetched.locked)
    return tuple(sorted(remedies, key=lambda remedy: remedy.page)), unhelped, locked


def _index_remedies(
    database: Database, findings: Sequence[Finding], reached: set[int]
) -> Iterator[IndexRemedy]:
    """The indexes to build anew: those with a page that no source reaches, or without a damaged page.

    Only where every row of their table can be read."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.table is not None and finding.tree is not None:
            found.setdefault((finding.table, finding.tree), []).append(finding)
    damaged = [f for f in findings if f.page is not None and f.priority is not Priority.P3]
    lost = {f.tree for f in damaged if f.page not in reached and f.table is None}
    for (table, index), about in found.items():
        if table in lost or None in lost or "catalogue" in lost:
            # Its rows cannot all be read, so an index made of them would hide what is missing.
            continue
        pages = {finding.page for finding in about if finding.page is not None}
        if pages and pages <= reached:
            # Its pages are repaired one by one; if it then differs from its table, the next check says so.
            continue
        try:
            rows = bridge.table_info(database.store, table).rows
        except HoldfastError:
            continue
        yield IndexRemedy(table, index, rows, tuple(sorted(pages - reached)))
