"""Salvage of a database that is open: it is closed for it, whatever comes of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import HoldfastError, TargetNotEmpty
from engine.recovery.fallbacks import SalvageReport, salvage_task
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

_log = logging.getLogger(__name__)


def salvage_open_task(database: Database, target: str | Path) -> Task[SalvageReport]:
    """Put every record of an open database that can be read into a new one in `target`, missing or empty.

    Start the task, or run it. The database is closed by it and stays as it is: open it again afterwards,
    after an error or a cancel too. Only where `target` is no place for it, it stays open. Raises
    `TargetNotEmpty` (-63), and what a salvage raises.
    """
    place = Path(target).expanduser().absolute()

    def work(task: Task[SalvageReport]) -> SalvageReport:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise TargetNotEmpty(path=str(place))
        task.stage("Closing the database", step=1, steps=2)
        path, config = database.path, database.config
        try:
            database.close()
        except HoldfastError as error:
            # What did not reach the pages is in the log, which a salvage reads as after a crash.
            _log.warning("the database could not be closed well before its salvage: %s", error.message)
        task.stage("Saving what can be read", step=2, steps=2)
        return task.carry(salvage_task(path, place, config))

    return Task(f"Salvage to {place.name}", work)
