"""What the page asks of the engine, on a worker's thread: the kernel is loaded there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import Config
from engine.errors import HoldfastError
from engine.types import BackupStanding
from gui.backups.key_question import GivenKey, key_on

if TYPE_CHECKING:
    from engine.backups.history import KeptBackup
    from engine.backups.line import Bin, Commit, TimeLine
    from engine.backups.retention import RetentionPlan


@dataclass(frozen=True, slots=True)
class Look:
    """All that the page shows, of one moment."""

    folder: Path
    backups: tuple[KeptBackup, ...]
    """Newest first."""
    plan: RetentionPlan
    standing: BackupStanding
    config: Config
    emergencies: int
    """Emergency backups in the folder: no rule removes them, and each says itself what it lacks."""
    failure: HoldfastError | None
    """Why the schedule's last backup failed."""


def look(database: Any) -> Look:
    """Look at the folder of backups; the health of the database hears of it too."""
    from engine.backups.emergency_manifest import emergency_backups
    from engine.backups.retention import retention_plan

    keeper = database.keeper
    keeper.look()
    backups = keeper.backups()
    return Look(
        keeper.folder,
        backups,
        retention_plan(backups, database.config, keeper.identity()),
        keeper.standing(),
        database.config,
        len(emergency_backups(keeper.folder)),
        keeper.failure(),
    )


def task_of(database: Any, kind: str, path: Path, given: GivenKey | None) -> Any:
    """The task that verifies, rehearses or removes one backup; raises `BackupLocked` (-93)."""
    from engine.backups.rehearsal import checksum_task, rehearse_task
    from engine.backups.retention import remove_task

    if kind == "remove":
        return remove_task(path)
    key = key_on(database, path, given)
    return rehearse_task(path, key=key) if kind == "rehearse" else checksum_task(path, key)


def line_of(database: Any, tasks: list[Any]) -> TimeLine:
    """Read the time line; `tasks` holds the reading meanwhile, so that it can be cancelled."""
    from engine.backups.line import time_line_task

    task = time_line_task(database)
    tasks.append(task)
    try:
        return task.run()
    finally:
        tasks.remove(task)


def commits_of(database: Any, bin_: Bin) -> tuple[Commit, ...]:
    """The commits of a bin, one by one."""
    from engine.backups.line import commits_task

    return commits_task(database, bin_).run()
