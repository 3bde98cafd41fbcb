"""The snapshots of one open database: take, look, prove, restore, drop.

A snapshot is not a backup: it shares the pages that have not changed since with the database, and
goes when its disk does.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine import bridge
from engine.errors import HoldfastError, from_exception
from engine.files import scratch_folder, scratch_parent
from engine.snapshots.retention import expired
from engine.snapshots.types import Restored, SnapshotInfo
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database


class Snapshots:
    """`Database.snapshots`. Any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opened: weakref.WeakSet[Database] = weakref.WeakSet()
        self._naming = threading.Lock()
        self._given = ""

    def list(self) -> tuple[SnapshotInfo, ...]:
        """Every snapshot, newest first."""
        found = [SnapshotInfo.of(raw) for raw in self._database.store.snapshots()]
        return tuple(reversed(found))

    def room(self) -> int:
        """What the files of all of them take, with those that only older ones still need."""
        return self._database.store.snapshot_bytes()

    def take(self, name: str = "") -> SnapshotInfo:
        """Take a snapshot now; see `take_task`."""
        return self.take_task(name).run()

    def take_task(self, name: str = "", *, scheduled: bool = False) -> Task[SnapshotInfo]:
        """Give the present moment a name, or that of the time; start the task, or run it.

        The database stays in use. From now on each page is kept before it is first overwritten.
        Whole and durable at the end; after an error or cancel there is none. Raises
        `InvalidArgument` (-2) for a name that is taken, `DiskFull` (-11) where it would leave the
        database without room.
        """

        def work(task: Task[SnapshotInfo]) -> SnapshotInfo:
            job = bridge.Job()
            task.use(job)
            database = self._database
            raw = database.store.take_snapshot(name or self.fresh_name(), scheduled, job)
            info = SnapshotInfo.of(raw)
            database.events.publish("snapshot_taken", name=info.name, scheduled=scheduled, lsn=info.lsn)
            return info

        return Task("Take a snapshot", work)

    def drop(self, name: str) -> None:
        """Remove a snapshot, and give its room back but for pages that an older one needs.

        While somebody looks at it, or where the disk has no room to move those pages, its room is given back
        by the next one that is taken or dropped. Raises `SnapshotNotFound` (-96).
        """
        self._database.store.drop_snapshot(name)
        self._database.events.publish("snapshot_dropped", name=name)

    def prune(self, *, now: float | None = None, by_age: bool = True) -> tuple[SnapshotInfo, ...]:
        """Remove the scheduled snapshots that no rule keeps; returns them. Without `by_age`, as if none
        were old: for a clock that cannot be believed."""
        at = time.time() if now is None else now
        gone = expired(self.list(), self._database.config, at, self.room(), by_age=by_age)
        for snapshot in gone:
            self.drop(snapshot.name)
        return gone

    def open_task(self, name: str) -> Task[Database]:
        """Open a snapshot read-only, beside the database, which stays in use; start the task, or run it.

        It is closed with the database at the latest. Raises `SnapshotNotFound` (-96),
        `SnapshotDamaged` (-97); reading it raises `SnapshotGivenUp` (-98) once it had to be.
        """
        # Imported here: the database owns the snapshots.
        from engine.database import Database

        def work(task: Task[Database]) -> Database:
            job = bridge.Job()
            task.use(job)
            database = self._database
            with ExitStack() as stack:
                folder = stack.enter_context(self._scratch())
                store = bridge.look_at_snapshot(database.store, name, folder, database.config, job)
                kept = stack.pop_all()
            # What it reads was checked when it was opened, or is the database's own.
            config = database.config.changed(
                enable_continuous_validation=False, backup_schedule="off", enable_snapshots=False
            )
            opened = Database(database.path, store, config, on_close=kept.close)
            self._opened.add(opened)
            return opened

        return Task(f"Open {name}", work)

    def verify_task(self, name: str) -> Task[int]:
        """Read every page of a snapshot and its log, and check them; returns the number of pages.

        Start the task, or run it. Raises `SnapshotDamaged` (-97) with what is wrong.
        """

        def work(task: Task[int]) -> int:
            job = bridge.Job()
            task.use(job)
            with self._scratch() as folder:
                return self._database.store.verify_snapshot(name, folder, job)

        return Task(f"Prove {name}", work)

    def restore_task(self, name: str, target: str | Path) -> Task[Restored]:
        """Make a database of its own of a snapshot, in the missing or empty directory `target`.

        Start the task, or run it. Every page is checked on the way; it opens without a recovery.
        The database that the snapshot is of is not touched. Raises `TargetNotEmpty` (-63),
        `DiskFull` (-11), and what `open_task` raises; nothing is left in `target` then.
        """
        place = Path(target).expanduser().absolute()

        def work(task: Task[Restored]) -> Restored:
            task.stage("Opening the snapshot", step=1, steps=2)
            opened = task.carry(self.open_task(name))
            try:
                task.stage("Copying", step=2, steps=2)
                job = bridge.Job()
                task.use(job)
                written = opened.store.copy_to(place, job)
            finally:
                opened.close()
            return Restored(name, place, written)

        return Task(f"Restore {name}", work)

    def rows_task(self, name: str) -> Task[dict[str, int]]:
        """How many rows each table of a snapshot has; start the task, or run it."""

        def work(task: Task[dict[str, int]]) -> dict[str, int]:
            opened = task.carry(self.open_task(name))
            try:
                return {table: opened.tables.info(table).rows for table in opened.tables.names()}
            finally:
                opened.close()

        return Task(f"Count {name}", work)

    def close(self) -> None:
        """Close what of them is open: the database is about to be closed."""
        for opened in list(self._opened):
            # The database's own close is the one to succeed or to fail.
            with suppress(HoldfastError):
                opened.close()

    def fresh_name(self, before: str = "") -> str:
        """A name from the time, given once even where two are taken in the same second."""
        with self._naming:
            base = name = f"{before}{datetime.now():%Y-%m-%d %H:%M:%S}"
            taken = {snapshot.name for snapshot in self.list()} | {self._given}
            number = 2
            while name in taken:
                name, number = f"{base} ({number})", number + 1
            self._given = name
            return name

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder for what opening a snapshot writes, on the database's disk where that can be."""
        path = self._database.path
        parent = scratch_parent(path)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(scratch_folder(parent, f".{path.name}.snapshot-"))
            except OSError as error:
                raise from_exception(error, "open a snapshot in") from error
            yield folder
