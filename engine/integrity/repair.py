"""Repairing damaged pages: a plan that can be shown before anything is done, then the repair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import Cancelled, HoldfastError
from engine.tasks import Task
from engine.types import CheckReport

if TYPE_CHECKING:
    from engine.database import Database

SOURCE_WORDS = {
    "memory": "the page in memory, which is whole",
    "doublewrite": "the copy in the double-write buffer, brought up to date from the log",
    "log": "its last full image in the log and every change since",
    "copy": "a copy from elsewhere, brought up to date from the log",
}


@dataclass(frozen=True, slots=True)
class Remedy:
    """Where one page can be, or was, rebuilt from. Nothing of the page is lost by it."""

    page: int
    source: str
    """memory | doublewrite | log | copy"""
    base_lsn: int
    changes: int
    """Changes from the log that are applied to the base."""

    @property
    def words(self) -> str:
        """The source in words."""
        return SOURCE_WORDS[self.source]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a check found, and what can be done about it. Made without changing anything."""

    check: CheckReport
    remedies: tuple[Remedy, ...]
    without_source: tuple[int, ...]
    """Damaged pages that nothing here can rebuild: a backup is needed."""
    others: int
    """Problems that are not about the bytes of one page."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, and the check that followed it."""

    repaired: tuple[Remedy, ...]
    failed: tuple[tuple[int, HoldfastError], ...]
    """Pages that stay as they were, with the reason."""
    check: CheckReport


def plan_task(database: Database) -> Task[RepairPlan]:
    """Check everything and say for each damaged page what it can be rebuilt from."""

    def work(task: Task[RepairPlan]) -> RepairPlan:
        task.stage("Check", step=1, steps=2)
        return make_plan(database, database.check_task().run(), task)

    return Task("Repair plan", work)


def make_plan(database: Database, check: CheckReport, task: Task[Any]) -> RepairPlan:
    """The plan for what `check` found."""
    damaged = sorted({problem.page for problem in check.problems if problem.page is not None})
    task.stage("Sources", step=2, steps=2)
    job = bridge.Job()
    task.use(job)
    remedies = tuple(Remedy(**found) for found in database.store.plan_repair(damaged, job))
    reached = {remedy.page for remedy in remedies}
    return RepairPlan(
        check=check,
        remedies=remedies,
        without_source=tuple(page for page in damaged if page not in reached),
        others=sum(problem.page is None for problem in check.problems),
    )


def repair_task(database: Database, plan: RepairPlan) -> Task[RepairReport]:
    """Carry out a plan page by page, then check again. The damaged bytes are kept in `quarantine/`.

    Each page is durable and read again before the next one is begun, so that a cancelled repair
    leaves pages repaired or as they were.
    """

    def work(task: Task[RepairReport]) -> RepairReport:
        repaired: list[Remedy] = []
        failed: list[tuple[int, HoldfastError]] = []
        task.stage("Repair", step=1, steps=2, total=len(plan.remedies), unit="pages")
        for remedy in plan.remedies:
            task.proceed()
            try:
                repaired.append(Remedy(**database.store.repair_page(remedy.page)))
            except Cancelled:
                raise
            except HoldfastError as error:
                failed.append((remedy.page, error))
            task.advance()
        task.stage("Check", step=2, steps=2)
        report = RepairReport(tuple(repaired), tuple(failed), database.check_task().run())
        database.events.publish("repair_finished", repaired=len(repaired), failed=len(failed))
        return report

    return Task("Repair", work)
