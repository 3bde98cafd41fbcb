"""Repairing what was found: a plan that can be shown before anything is done, then the repair.

A damaged page is made whole from the page in memory, the double-write buffer or the log, whatever
is best, and where the log does not reach back so far, from its copy in the newest backup and what was
archived since, or from a mirror; an index whose pages nothing reaches, or that does not agree with its
table, is built anew from the table. Each repair is checked before its findings are closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import Cancelled, HoldfastError, ReadOnlyDatabase
from engine.integrity.findings import Checker, Finding, Loss
from engine.integrity.plan import (
    BROUGHT,
    FROM_BACKUPS,
    Copies,
    Elsewhere,
    IndexRemedy,
    Remedy,
    RepairPlan,
    make_plan,
)
from engine.integrity.sweep import sweep_task
from engine.tasks import Task
from engine.types import CheckReport
from engine.units import counted

if TYPE_CHECKING:
    from engine.database import Database


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
    given_back: int = 0
    """Pages that only damage led to, and that are free again."""


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
    copies = Copies(database, Elsewhere())
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
        self._given_back = 0

    def run(self) -> RepairReport:
        plan, task = self._plan, self._task
        _ensure_writable(self._database)
        task.stage("Repair", step=1, steps=2, total=len(plan.remedies) + len(plan.indexes), unit="repairs")
        try:
            for page, copies in self._pages():
                self._attempt(f"page {page}", partial(self._repair_page, page, copies))
            for index in plan.indexes:
                self._attempt(index.words, lambda index=index: self._rebuild(index))
            if self._rebuilt:
                # The damaged page of an index that was dropped goes with it: the check finds none then.
                with suppress(HoldfastError):
                    self._database.store.give_back()
            task.stage("Check", step=2, steps=2)
            with self._database.integrity.holding(plan.findings):
                check = task.carry(self._database.check_task())
                if check.lost:
                    # The damage that kept a tree from going whole is gone: what it led to can be told now.
                    swept = task.carry(sweep_task(self._database))
                    check, self._given_back = swept.check, swept.pages
        except Cancelled:
            # What was repaired is whole; that nothing else is wrong was not looked at.
            self._close(None)
            raise
        losses = self._close(check)
        self._database.events.publish(
            "repair_finished", repaired=len(self._repaired) + len(self._rebuilt), failed=len(self._failed)
        )
        done = (tuple(self._repaired), tuple(self._rebuilt), tuple(self._failed))
        return RepairReport(*done, losses, check, self._given_back)

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
            if remedy.source not in BROUGHT:
                yield remedy.page, None
        copies = Copies(self._database, self._plan.elsewhere)
        for source, names in ((copies.from_backups, FROM_BACKUPS), (copies.from_mirrors, ("mirror",))):
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
        # The index is whole; a page that it left behind stays damaged while somebody may still look at
        # the index that was, and is said to be.
        left = {page: done for done in self._rebuilt for page in done.abandoned}
        if not check.left_out:
            found = {problem.page for problem in check.problems}
            self._database.integrity.forget_abandoned(page for page in left if page not in found)
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
        restored = f"the whole page, with {counted(done.changes, 'change')} from the log"
        kept = database.integrity.kept_bytes(done.page)
    else:
        restored, kept = f"the index, from {counted(done.rows, 'row')}", ""
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


def _replace_index(database: Database, txn: bridge.Transaction, remedy: IndexRemedy) -> None:
    table = bridge.table_info(database.store, remedy.table)
    txn.repairs_damage()
    old = next(index for index in table.indexes if index.name == remedy.index)
    txn.drop_index(remedy.table, remedy.index)
    txn.create_index(remedy.table, remedy.index, old.columns, old.unique)


def _is_found(check: CheckReport, finding: Finding, done: Remedy | IndexRemedy) -> bool:
    if isinstance(done, IndexRemedy):
        # The page that it left behind is found again; the index itself must not be.
        return any(problem.tree == done.index for problem in check.problems)
    return any(problem.page == finding.page for problem in check.problems)
