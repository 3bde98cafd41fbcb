"""A former primary as it went on alone: what only it holds, for a comparison and a rescue.

Its place was taken while it could not be reached, and it has committed since: so it holds what its
successor has not, and the successor what it has not. It is recovered in a scratch folder, beside itself,
and opened there for reading only; not a byte of it changes, whatever becomes of it later.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from engine import bridge
from engine.backups.past import Past
from engine.backups.point import Reached
from engine.errors import from_exception
from engine.files import scratch_folder, scratch_parent
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

_PREFIX = ".holdfast-former-"


def former_task(former: str | Path, database: Database, *, scratch: str | Path | None = None) -> Task[Past]:
    """Open what the directory `former` holds as a past of `database`; start the task, or run it.

    Close what it gives. `scratch` is where the scratch folder is made; else it is beside the database, or
    the system's place for temporary files. Raises `DatabaseNotFound` (-10), `DatabaseOpenElsewhere` (-16)
    where somebody works with it, and what a recovery raises. After an error, or a cancel, nothing is left.
    """
    place = Path(former).expanduser().absolute()
    parent = scratch_parent(database.path) if scratch is None else Path(scratch)

    def work(task: Task[Past]) -> Past:
        job = bridge.Job()
        task.use(job)
        task.stage("Reading the former database")
        try:
            with ExitStack() as stack:
                folder = stack.enter_context(scratch_folder(parent, _PREFIX))
                store = bridge.mirror_look(place, folder, database.config, job)
                stack.callback(store.close)
                return Past(store, _reached(place, store), stack.pop_all())
        except OSError as error:
            raise from_exception(error, "look at the former database in") from error

    return Task(f"Look at {place.name}", work)


def _reached(place: Path, store: bridge.Store) -> Reached:
    """All of it: it ends where its own log does."""
    end = bridge.status(store, time.time()).log.last_lsn
    return Reached(place, end, end, 0, 0, None, True)
