"""Restoring a backup into a new directory. The original database is not touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.backup import newest
from engine.backups.keys import BackupKey, key_of, pair_of
from engine.backups.place import filling
from engine.backups.reading import being_read
from engine.opening import recover_task
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.recovery.report import RecoveryReport


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """A restored database: it is closed, checked, and ready to be opened."""

    path: Path
    source: Path
    pages: int
    bytes: int
    end_lsn: int
    """The database is in the state that was committed at this LSN."""
    recovery: RecoveryReport
    """What brought it there; its check of everything is the proof."""


def restore_task(
    source: str | Path, target: str | Path, *, key: BackupKey | None = None
) -> Task[RestoreResult]:
    """Rebuild a database in the missing or empty directory `target`; start the task, or run it.

    `source` is a chain (its newest backup is taken) or one backup. What was copied is brought
    to the backup's end by a recovery, which also checks it in full. Cancel and failure leave
    `target` as it was. An encrypted one needs `key`, or the key file that is noted with it. Raises
    `TargetNotEmpty` (-63), `BackupNotFound` (-99), `BackupDamaged` (-62), `BackupLocked` (-93), and what
    recovery raises.
    """
    place = Path(target).expanduser().absolute()

    def work(task: Task[RestoreResult]) -> RestoreResult:
        def copy() -> tuple[Path, dict[str, Any]]:
            job = bridge.Job()
            task.use(job)
            with being_read(newest(source).parent):
                path = newest(source)
                return path, bridge.restore_backup(str(path), str(place), job, key=pair_of(key_of(path, key)))

        return rebuild(place, task, copy)

    return Task(f"Restore to {place.name}", work)


def rebuild(place: Path, task: Task[Any], copy: Callable[[], tuple[Path, dict[str, Any]]]) -> RestoreResult:
    """Let `copy` fill the missing or empty directory `place`, and recover what is there then.

    `copy` answers the backup it has taken and what the kernel said of it. After an error `place`
    is as it was.
    """
    with filling(place):
        task.stage("Copying and checking the backup", step=1, steps=2)
        source, copied = copy()
        report = _bring_to_end(place, task)
    return RestoreResult(
        path=place,
        source=source,
        pages=int(copied["pages"]),
        bytes=int(copied["bytes"]),
        end_lsn=int(copied["end_lsn"]),
        recovery=report,
    )


def _bring_to_end(place: Path, task: Task[Any]) -> RecoveryReport:
    task.stage("Recovering to the end of the backup", step=2, steps=2)
    inner = recover_task(place)
    stop = task.observe(lambda _: inner.cancel() if task.is_cancelled else None)
    try:
        database = inner.run()
    finally:
        stop()
    database.close()
    report = database.recovery_report
    assert report is not None, "a recovered database knows its recovery"
    return report
