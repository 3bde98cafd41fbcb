"""Repairing what was found: a plan that can be shown before anything is done, then the repair.

A damaged page is made whole from the page in memory, the double-write buffer or the log, whatever
is best, and where the log does not reach back so far, from its copy in the newest backup and what was
archived since, or from a mirror; an index whose pages nothing reaches, or that does not agree with its
table, is built anew from the table. Each repair is checked before its findings are closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import Cancelled, HoldfastError, ReadOnlyDatabase
from engine.integrity.findings import Checker, Finding, Loss, Priority
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
_FROM_BACKUPS = ("backup", "archive")
_BROUGHT = (*_FROM_BACKUPS, "mirror")
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

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that a repair could do."""
        return not self.remedies and not self.indexes

    def cures(self, finding: Finding) -> bool:
        """Whether the repair would get rid of `finding`."""
        if any(remedy.page == finding.page for remedy in self.remedies):
            return True
        return any((finding.table, finding.tree) == (new.table, new.index) for new in self.indexes)


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, and the check that followed it."""

    repaired: tuple[Remedy, ...]
    rebuilt: tuple[IndexRemedy, ...]
    failed: tuple[tuple[str, HoldfastError], ...]
    """Pages and indexes that stay as they were, with the reason."""
    losses: tuple[Loss, ...]
    """The lines that the loss ledger got."""
    check: CheckReport


def plan_task(database: Database, elsewhere: Elsewhere | None = None) -> Task[RepairPlan]:
    """Check everything and say for each finding what it can be repaired from."""

    def work(task: Task[RepairPlan]) -> RepairPlan:
        task.stage("Check", step=1, steps=2)
        check = _inner(database.check_task(), task)
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
    copies = _Copies(database, elsewhere or Elsewhere(), job)
    remedies, unhelped = _page_remedies(database, damaged, copies, job)
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
    )


class _Copies:
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
    database: Database, pages: Sequence[int], copies: _Copies, job: bridge.Job
) -> tuple[tuple[Remedy, ...], dict[int, str]]:
    """What pages can be rebuilt from, backups after what is near, then mirrors; and why copies of others
    do not help."""
    remedies = [Remedy(**found) for found in database.store.plan_repair(pages, job)["remedies"]]
    unhelped: dict[int, str] = {}
    for source in (copies.from_backups, copies.from_mirrors):
        reached = {remedy.page for remedy in remedies}
        for batch, fetched in source([page for page in pages if page not in reached]):
            plan = database.store.plan_repair(batch, job, fetched)
            remedies += [Remedy(**found) for found in plan["remedies"]]
            unhelped = {**plan["unhelped"], **unhelped}
    return tuple(sorted(remedies, key=lambda remedy: remedy.page)), unhelped


def repair_task(database: Database, plan: RepairPlan) -> Task[RepairReport]:
    """Carry out a plan part by part, then check again. The damaged bytes are kept in `quarantine/`.

    Each page is durable and read again before the next one is begun, and an index is replaced in
    one transaction, so that a cancelled repair leaves each of them repaired or as it was. Findings
    are closed once the check has not found them any more.
    """
    return Task("Repair", lambda task: _Repair(database, plan, task).run())


def rehearse_task(database: Database, plan: RepairPlan) -> Task[RepairPlan]:
    """Do all of a repair that leaves no trace: pages are rebuilt in memory, indexes are built in a
    transaction that is undone. The tables of these indexes are locked meanwhile.

    Raises what the repair would raise; the answer is the plan as it stands now.
    """

    def work(task: Task[RepairPlan]) -> RepairPlan:
        task.stage("Pages", step=1, steps=2)
        again = make_plan(database, plan.findings, task, elsewhere=plan.elsewhere)
        task.stage("Indexes", step=2, steps=2, total=len(again.indexes), unit="indexes")
        for remedy in again.indexes:
            txn = database.begin()
            try:
                _replace_index(database, txn, remedy)
            finally:
                txn.abort()
            task.advance()
        return again

    return Task("Rehearsal of the repair", work)


def repair_found_page(database: Database, finding: Finding, *, from_backups: bool = True) -> Loss:
    """Repair the one page of a finding at once, verify it by reading it again, and close the finding.

    Raises the page's own error where no source reaches; the finding then stays open. Backups are
    read only where nothing nearer helps, and only if `from_backups`; mirrors come last.
    """
    assert finding.page is not None, "only a finding about a page is repaired alone"
    _ensure_writable(database)
    began = time.monotonic()
    try:
        done = _repair_page(database, finding.page)
    except HoldfastError as error:
        done = _repair_from_elsewhere(database, finding.page, error, from_backups=from_backups)
    line = _line(database, finding, done, time.monotonic() - began, verified=True)
    database.integrity.close_finding(finding, f"repaired from {line.source}", line)
    return line


def _repair_from_elsewhere(
    database: Database, page: int, error: HoldfastError, *, from_backups: bool
) -> Remedy:
    """Repair a page that nothing near reaches; raises the last error where nothing else does either."""
    copies = _Copies(database, Elsewhere())
    sources = (copies.from_backups, copies.from_mirrors) if from_backups else (copies.from_mirrors,)
    for source in sources:
        for _batch, fetched in source([page]):
            try:
                return _repair_page(database, page, fetched)
            except HoldfastError as other:
                error = other
    raise error


class _Repair:
    """One repair under way."""

    def __init__(self, database: Database, plan: RepairPlan, task: Task[RepairReport]) -> None:
        self._database = database
        self._plan = plan
        self._task = task
        self._repaired: list[Remedy] = []
        self._rebuilt: list[IndexRemedy] = []
        self._failed: list[tuple[str, HoldfastError]] = []
        self._seconds: dict[str, float] = {}

    def run(self) -> RepairReport:
        plan, task = self._plan, self._task
        _ensure_writable(self._database)
        task.stage("Repair", step=1, steps=2, total=len(plan.remedies) + len(plan.indexes), unit="repairs")
        try:
            for page, copies in self._pages():
                self._attempt(f"page {page}", partial(self._repair_page, page, copies))
            for index in plan.indexes:
                self._attempt(index.words, lambda index=index: self._rebuild(index))
            task.stage("Check", step=2, steps=2)
            with self._database.integrity.holding(plan.findings):
                check = _inner(self._database.check_task(), task)
        except Cancelled:
            # What was repaired is whole; that nothing else is wrong was not looked at.
            self._close(None)
            raise
        losses = self._close(check)
        self._database.events.publish(
            "repair_finished", repaired=len(self._repaired) + len(self._rebuilt), failed=len(self._failed)
        )
        return RepairReport(tuple(self._repaired), tuple(self._rebuilt), tuple(self._failed), losses, check)

    def _attempt(self, name: str, repair: Any) -> None:
        self._task.proceed()
        began = time.monotonic()
        try:
            repair()
        except Cancelled:
            raise
        except HoldfastError as error:
            self._failed.append((name, error))
        self._seconds[name] = time.monotonic() - began
        self._task.advance()

    def _pages(self) -> Iterator[tuple[int, bridge.PageCopies | None]]:
        """The pages to repair, those first that need no copy from elsewhere."""
        for remedy in self._plan.remedies:
            if remedy.source not in _BROUGHT:
                yield remedy.page, None
        copies = _Copies(self._database, self._plan.elsewhere)
        for source, names in ((copies.from_backups, _FROM_BACKUPS), (copies.from_mirrors, ("mirror",))):
            brought = [remedy.page for remedy in self._plan.remedies if remedy.source in names]
            for batch, fetched in source(brought):
                for page in batch:
                    yield page, fetched

    def _repair_page(self, page: int, copies: bridge.PageCopies | None) -> None:
        self._repaired.append(_repair_page(self._database, page, copies))

    def _rebuild(self, remedy: IndexRemedy) -> None:
        with self._database.transaction() as txn:
            _replace_index(self._database, txn, remedy)
        self._database.integrity.note_abandoned(remedy.abandoned)
        self._rebuilt.append(remedy)

    def _close(self, check: CheckReport | None) -> tuple[Loss, ...]:
        """Close what was repaired and is not found any more; returns the lines of the ledger."""
        integrity = self._database.integrity
        lines = []
        for finding in self._plan.findings:
            done = self._done_for(finding)
            if done is None or (check is not None and _is_found(check, finding, done)):
                continue
            name = f"page {done.page}" if isinstance(done, Remedy) else done.words
            seconds = self._seconds.get(name, 0.0)
            line = _line(self._database, finding, done, seconds, verified=check is not None)
            integrity.close_finding(finding, f"repaired from {line.source}", line)
            lines.append(line)
        if check is not None:
            self._tell_abandoned(check)
        return tuple(lines)

    def _tell_abandoned(self, check: CheckReport) -> None:
        # The index is whole; the page that it left behind stays damaged, and is said to be.
        left = {page: done for done in self._rebuilt for page in done.abandoned}
        for problem in check.problems:
            if problem.page in left:
                words = f"left behind when index {left[problem.page].index} was rebuilt; nothing leads to it"
                self._database.integrity.report_page(problem.page, problem.code, words, Checker.CHECK)

    def _done_for(self, finding: Finding) -> Remedy | IndexRemedy | None:
        page = next((done for done in self._repaired if done.page == finding.page), None)
        if page is not None or finding.table is None:
            return page
        names = (finding.table, finding.tree)
        return next((done for done in self._rebuilt if (done.table, done.index) == names), None)


def _ensure_writable(database: Database) -> None:
    # A read-only store would mend the page in memory only, and the file would stay as it is.
    if database.status().read_only:
        raise ReadOnlyDatabase(operation="repair pages")


def _repair_page(database: Database, page: int, copies: bridge.PageCopies | None = None) -> Remedy:
    database.integrity.await_repair(page)
    try:
        done = Remedy(**database.store.repair_page(page, copies))
    except BaseException:
        database.integrity.forget_repair(page)
        raise
    if done.source == "memory":
        database.integrity.forget_repair(page)
    return done


def _line(
    database: Database, finding: Finding, done: Remedy | IndexRemedy, seconds: float, *, verified: bool
) -> Loss:
    """The line of the loss ledger for one finding and what was done about it."""
    if isinstance(done, Remedy):
        restored = f"the whole page, with {done.changes} changes from the log"
        kept = database.integrity.kept_bytes(done.page)
    else:
        restored, kept = f"the index, from {done.rows} rows", ""
    return Loss(
        at=time.time(),
        finding=finding.id,
        where=finding.where,
        source=done.words,
        restored=restored,
        lost="nothing",
        kept=kept,
        seconds=seconds,
        verified=verified,
    )


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


def _replace_index(database: Database, txn: bridge.Transaction, remedy: IndexRemedy) -> None:
    table = bridge.table_info(database.store, remedy.table)
    old = next(index for index in table.indexes if index.name == remedy.index)
    txn.drop_index(remedy.table, remedy.index)
    txn.create_index(remedy.table, remedy.index, old.columns, old.unique)


def _is_found(check: CheckReport, finding: Finding, done: Remedy | IndexRemedy) -> bool:
    if isinstance(done, IndexRemedy):
        # The page that it left behind is found again; the index itself must not be.
        return any(problem.tree == done.index for problem in check.problems)
    return any(problem.page == finding.page for problem in check.problems)


def _inner(inner: Task[CheckReport], task: Task[Any]) -> CheckReport:
    """Run a task inside another one: it shows its progress and stops with it."""

    class _Through:
        def cancel(self) -> None:
            inner.cancel()

        def progress(self) -> dict[str, Any]:
            now = inner.progress()
            return {"stage": "", "done": now.done, "total": now.total, "unit": now.unit}

    task.use(_Through())
    return inner.run()
