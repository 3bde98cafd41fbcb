"""A database goes back to one of its snapshots, in place: one act, all of it or nothing.

A snapshot of now is taken first, so that going back can itself be undone. Then the database is
closed, and the kernel puts the pages of the snapshot back on an overlay, recovers and checks them
there, and installs the result; a crash in the middle is finished by the next open.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import NotSupported
from engine.snapshots.types import Reverted
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.config import Config
    from engine.database import Database

_STEPS = 3


def revert_task(database: Database, name: str) -> Task[Reverted]:
    """Bring an open database back to its snapshot `name`; start the task, or run it.

    The database is closed by it, whatever comes of it, unless the snapshot of now fails: open it
    again afterwards. Transactions that are under way are rolled back. All later snapshots stay.
    Cancel and failure leave it as it was. Raises `SnapshotNotFound` (-96), `SnapshotDamaged` (-97),
    `NotSupported` (-3) while the log is archived: the kept log would be of two histories.
    """

    def work(task: Task[Reverted]) -> Reverted:
        ensure_possible(database.config)
        task.stage("Proving the snapshot", step=1, steps=_STEPS)
        task.carry(database.snapshots.verify_task(name))
        task.stage("Taking a snapshot of now", step=2, steps=_STEPS)
        kept = database.snapshots.fresh_name("Before going back, ")
        before = task.carry(database.snapshots.take_task(kept))
        path, config = database.path, database.config
        database.close()
        task.stage("Putting the pages back", step=3, steps=_STEPS)
        pages = _revert(path, name, config, task)
        return Reverted(name, path, pages, before.name)

    return Task(f"Go back to {name}", work)


def ensure_possible(config: Config) -> None:
    """Raise `NotSupported` (-3) where a database cannot go back in place; a restore beside it can."""
    if config.archive_log:
        raise NotSupported(
            feature="going back in place while closed log segments are archived",
            detail="Restore the snapshot into a new database",
        )


def _revert(path: Path, name: str, config: Config, task: Task[Any]) -> int:
    job = bridge.Job()
    task.use(job)
    return bridge.revert_to_snapshot(path, name, config, job)
