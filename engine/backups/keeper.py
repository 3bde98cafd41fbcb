"""Looks after the backups of one open database: where they are, how new, when the next is due.

Its thread looks at the folders and takes the backups of the schedule. It begins with the schedule, or
when somebody first asks how things stand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.history import KeptBackup, kept_backups
from engine.backups.retention import prune_task
from engine.backups.schedule import Schedule
from engine.backups.standing import Memory, read_memory, write_memory
from engine.errors import (
    BackupDamaged,
    BackupFolderGone,
    DiskFull,
    HoldfastError,
    IncrementRefused,
)
from engine.keeper import IDLE_S, Keeper
from engine.tasks import Task
from engine.types import BackupInfo, BackupOrigin, BackupStanding, Event

if TYPE_CHECKING:
    from engine.database import Database

_LOOK_EVERY_S = 300.0

_log = logging.getLogger(__name__)


class BackupKeeper(Keeper[BackupInfo]):
    """Any thread may ask. What touches the folders runs on the keeper's thread, or on the caller's."""

    what = "backups"

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, clock=clock, monotonic=monotonic)
        self._memory: Memory | None = None
        self._looked: float | None = None
        self._identity = ""
        self._archive_failure = ""
        self._archive_waiting = 0
        if database.config.archive_log:
            # Heard to the end of the close, which archives too: the bus ends it.
            kinds = ("archive_failed", "archive_broken", "archive_resumed")
            database.events.subscribe(self._hear_of_archive, kinds)

    @property
    def folder(self) -> Path:
        """Where the backups of this database go."""
        return self._database.config.backup_folder_of(self._database.path)

    def identity(self) -> str:
        """What the backups of this database say that they are of."""
        if not self._identity:
            self._identity = str(bridge.inspect(str(self._database.path))["database_id"])
        return self._identity

    def standing(self) -> BackupStanding:
        """How things stood at the last look. Reads no folder; the first call reads a small file."""
        self.start()
        with self._lock:
            memory = self._remember()
            seen = memory.folders.values()
            error, due = memory.error(), self._next_at(memory)
            return BackupStanding(
                folder=str(self.folder),
                since=memory.since,
                taken_at=max((folder.taken_at for folder in seen), default=0.0),
                proved_at=max((folder.proved_at for folder in seen), default=0.0),
                next_at=due,
                failure="" if error is None else error.message,
                is_running=self._running is not None,
                overdue_s=self._overdue_s(due),
                archive_failure=self._archive_failure,
                archive_waiting_bytes=self._archive_waiting,
                has_archive_gap=memory.archive_gap_lsn > 0,
            )

    @property
    def has_looked(self) -> bool:
        """Whether the folders were looked at since the database was opened."""
        with self._lock:
            return self._looked is not None

    def failure(self) -> HoldfastError | None:
        """Why the schedule's last backup failed; None where it did not."""
        with self._lock:
            return self._remember().error()

    def folders(self) -> tuple[Path, ...]:
        """The folders that backups of this database went to, and the one they go to now."""
        with self._lock:
            known = [Path(name) for name in self._remember().folders]
        return tuple(dict.fromkeys((*known, self.folder)))

    def look(self, *more: Path) -> None:
        """Look at the folders now, and at some that were not known."""
        for folder in dict.fromkeys((*self.folders(), *more)):
            try:
                # One that is not there now keeps what was seen of it: its disk may be in a drawer.
                found = self.backups(folder) if folder.is_dir() else None
            except HoldfastError as error:
                _log.warning("a folder of backups could not be read: %s", error.message)
                continue
            if found is not None:
                with self._lock:
                    self._remember().note(folder, found, self._clock())
            if found:
                self._database.points.spread(folder)
        with self._lock:
            self._looked = self._monotonic()
            self._keep()

    def backups(self, folder: Path | None = None) -> tuple[KeptBackup, ...]:
        """Those of this database in a folder, or in its own, newest first.

        One whose manifest cannot be read is among them: it is to be told of.
        """
        found = kept_backups(self.folder if folder is None else folder)
        return tuple(kept for kept in found if kept.database in ("", self.identity()))

    def change(self, **values: Any) -> None:
        """Change settings of backups in `reliability.toml`, in force at once.

        Raises `ConfigInvalid` that names every wrong value; nothing is changed then.
        """
        database, changed = self._database, self._save(values)
        with self._lock:
            if changed.backup_schedule != database.config.backup_schedule:
                self._remember().scheduled_since = self._clock()
                self._keep()
            moved = (changed.backup_folder, changed.backup_schedule) != (
                database.config.backup_folder,
                database.config.backup_schedule,
            )
            if moved and self._remember().failure is not None:
                # What failed was the way before; the new one is tried without waiting.
                self._remember().note_success()
                self._remember().attempted_at = 0.0
                self._keep()
            database.config = changed
        if changed.backup_schedule != "off":
            self.start()
        self._wake.set()

    def check_folder(self, folder: Path) -> None:
        """Raise `BackupFolderGone` (-67) where backups went to `folder` before and it is not there.

        It would be made on whatever disk is there instead, and nobody would notice.
        """
        with self._lock:
            is_known = str(folder) in self._remember().folders
        if is_known and not folder.exists() and folder.parent != self._database.path.parent:
            raise BackupFolderGone(path=str(folder))

    def scheduled_task(self) -> Task[BackupInfo]:
        """What the schedule does: a backup, its rehearsal, and the removal of what no rule keeps."""
        # Imported here: the database owns the backups, and a rehearsal opens a database.
        from engine.backups.rehearsal import rehearse_task

        database, folder = self._database, self.folder

        def work(task: Task[BackupInfo]) -> BackupInfo:
            config = database.config
            task.stage("Backing up", step=1, steps=3)
            info = self._take(folder, task)
            task.stage("Rehearsing a restore", step=2, steps=3)
            if config.rehearse_backups:
                try:
                    task.carry(rehearse_task(info.path))
                except DiskFull as error:
                    task.warn(f"It was not rehearsed: {error.message}")
            task.stage("Removing what no rule keeps", step=3, steps=3)
            if config.prune_backups:
                task.carry(prune_task(folder, config, self.identity()))
            return info

        return Task("Scheduled backup", work)

    def _take(self, folder: Path, task: Task[BackupInfo]) -> BackupInfo:
        backups, rate = self._database.backups, self._database.config.backup_rate
        if self._may_add(folder):
            try:
                increment = backups.increment_task(folder, BackupOrigin.SCHEDULED, bytes_per_second=rate)
                return task.carry(increment)
            except (IncrementRefused, BackupDamaged) as error:
                _log.warning("a full backup is taken where an increment was due: %s", error.message)
        return task.carry(backups.full_task(folder, BackupOrigin.SCHEDULED, bytes_per_second=rate))

    def _may_add(self, folder: Path) -> bool:
        """Whether the newest backup has fewer increments below it than the settings allow, and stands."""
        most = self._database.config.backup_increments
        if not most:
            return False
        by_name = {kept.name: kept for kept in self.backups(folder)}
        newest = next(iter(by_name.values()), None)
        length = 0
        while newest is not None and newest.setback is None and length < most:
            if not newest.parent:
                return True
            newest, length = by_name.get(newest.parent), length + 1
        return False

    def tick(self) -> float:
        """Do what is due now; returns the seconds until there may be more to do."""
        now = self._clock()
        if self._looked is None or self._monotonic() - self._looked >= _LOOK_EVERY_S:
            self.look()
        with self._lock:
            memory = self._remember()
            if max(memory.attempted_at, memory.scheduled_since, memory.since) > now:
                # The clock was set back. Counted from now, the schedule neither storms nor falls silent,
                # and health does not wait for the time that it was before.
                memory.since = min(memory.since, now)
                memory.attempted_at = min(memory.attempted_at, now)
                memory.scheduled_since = min(memory.scheduled_since, now)
                self._keep()
            due = self._next_at(memory)
        if due is None:
            return IDLE_S
        if self._is_due(due):
            self._run_scheduled()
            return 0.0
        return self._wait_for(due)

    def _hear_of_archive(self, event: Event) -> None:
        # On the thread of the subscription.
        with self._lock:
            if event.kind == "archive_broken":
                self._remember().archive_gap_lsn = int(event.fields["until_lsn"])
                self._keep()
            else:
                self._archive_failure = str(event.fields.get("error", ""))
                self._archive_waiting = int(event.fields.get("waiting_bytes", 0))
        self._database.events.publish("backups_changed")

    def _run_scheduled(self) -> None:
        task = self.scheduled_task()
        if not self._begin(task):
            return
        with self._lock:
            # Kept first: an attempt that takes the program down is not made again at once.
            self._remember().attempted_at = self._clock()
            self._keep()
        self._database.events.publish("scheduled_backup_began")
        self._run(task, self._note)

    def _note(self, error: HoldfastError | None) -> None:
        with self._lock:
            memory = self._remember()
            if error is None:
                memory.note_success()
            else:
                memory.note_failure(error)
            self._keep()
        if not self._over.is_set():
            self.look()
        if error is not None:
            self._database.events.publish("backup_failed", code=error.code, message=error.message)
        else:
            self._database.events.publish("backups_changed")

    def _next_at(self, memory: Memory) -> float | None:
        schedule = Schedule.of(self._database.config)
        if not memory.attempted_at:
            if schedule.kind == "interval":
                return memory.scheduled_since or memory.since
            return schedule.next_at(memory.scheduled_since or memory.since)
        return schedule.retry_at(memory.attempted_at, memory.failures)

    def _remember(self) -> Memory:
        if self._memory is None:
            self._memory = read_memory(self._database.path)
        return self._memory

    def _keep(self) -> None:
        if not self._database.status().read_only:
            write_memory(self._database.path, self._remember())
