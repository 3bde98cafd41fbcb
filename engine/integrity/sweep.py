"""Giving back pages that are marked as in use and that nothing leads to.

What only a damaged page of a tree led to stays marked where the tree was dropped or built anew. Which pages
these are is certain only after every tree was walked to its end with nobody at work; then they go, and until
then they stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import bridge
from engine.tasks import Task
from engine.types import CheckReport

if TYPE_CHECKING:
    from engine.database import Database


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to."""

    pages: int
    """Pages that were given back."""
    left: int
    """Pages that nothing leads to, and that could not be given back."""
    check: CheckReport
    """Of everything, afterwards; before, where nothing was given back."""


def sweep_task(database: Database) -> Task[Swept]:
    """Check everything, give back what nothing leads to, and check again; start the task, or run it.

    Nothing is given back, and that is no error, where a tree is damaged or a transaction runs. A cancel, or
    a crash, leaves the rest for the next time. Raises `ReadOnlyDatabase`.
    """

    def work(task: Task[Swept]) -> Swept:
        job = bridge.Job()
        task.use(job)
        raw = database.store.sweep(job)
        found = bridge.check_report(raw["check"])
        if raw["pages"]:
            # Damaged pages may have gone with the others: what was found of them is closed by this.
            found = task.carry(database.check_task())
            database.events.publish("pages_given_back", pages=raw["pages"])
        return Swept(raw["pages"], raw["left"], found)

    return Task("Give pages back", work)
