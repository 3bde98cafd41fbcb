"""What looks after one thing of an open database by a schedule: backups, snapshots.

A keeper has a thread of its own that wakes when something is due, when the settings change, and every
few seconds, so that a clock that was changed is noticed. It begins with the schedule, so that a script
that opens a database for a moment has no part in it.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine import config as configuration
from engine.errors import Cancelled, HoldfastError, StoreClosed
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.config import Config
    from engine.database import Database

SETTLE_S = 20.0
"""Nothing is begun in the first moments after the database was opened: a script has closed it by then."""
IDLE_S = 60.0
_LONGEST_WAIT_S = 20.0
_CLOSE_S = 30.0

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Keeper(ABC, Generic[T]):
    """Any thread may ask. `T` is what a run of the schedule ends with."""

    what: str
    """What it looks after, in a word; its thread is named after it."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock, self._monotonic = clock, monotonic
        self._opened = monotonic()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._running: Task[T] | None = None
        self._latest: Task[T] | None = None

    @abstractmethod
    def tick(self) -> float:
        """Do what is due now; returns the seconds until there may be more to do."""

    def start(self) -> None:
        """Begin to look after things; returns at once. May be called again."""
        with self._lock:
            if self._thread is None and not self._over.is_set() and not self._database.status().read_only:
                name = f"holdfast-{self.what}"
                self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Cancel what the schedule runs, and end the thread."""
        with self._lock:
            self._over.set()
            running, thread = self._running, self._thread
        if running is not None:
            running.cancel()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            # A folder on a share that does not answer must not keep a database from closing.
            thread.join(_CLOSE_S)

    def running(self) -> Task[T] | None:
        """What the schedule runs now."""
        with self._lock:
            return self._running

    def latest(self) -> Task[T] | None:
        """What the schedule began last; it may have ended."""
        with self._lock:
            return self._latest

    def _overdue_s(self, due: float | None) -> float:
        """How late the schedule is, of the time in which it could have done something about it."""
        if due is None or self.running() is not None or self._database.status().read_only:
            return 0.0
        return max(0.0, min(self._clock() - due, -self._settling_s()))

    def _settling_s(self) -> float:
        """How long it still leaves the database alone; below 0 once it does not."""
        return SETTLE_S - (self._monotonic() - self._opened)

    def _is_due(self, due: float) -> bool:
        return due <= self._clock() and self._settling_s() <= 0

    def _wait_for(self, due: float) -> float:
        """Seconds until it is worth looking again, where something is due at `due`."""
        return min(max(due - self._clock(), self._settling_s(), 0.0), _LONGEST_WAIT_S)

    def _save(self, values: dict[str, Any]) -> Config:
        """As `save_settings`, of its database."""
        return save_settings(self._database, values)

    def _begin(self, task: Task[T]) -> bool:
        """From now on `task` is what the schedule runs; False where the keeper is being closed."""
        with self._lock:
            if self._over.is_set():
                return False
            self._running = self._latest = task
            return True

    def _run(self, task: Task[T], note: Callable[[HoldfastError | None], object]) -> None:
        """Run what was begun, and note how it ended; a cancel or the close of the database is no failure."""
        try:
            task.run()
        except Cancelled:
            _log.info("what the schedule of the %s had begun was cancelled", self.what)
        except HoldfastError as error:
            if isinstance(error, StoreClosed) and self._over.is_set():
                # The close came before it could hear of its cancel: nobody's fault.
                _log.info("the database was closed before the schedule of the %s had begun", self.what)
            else:
                note(error)
        else:
            note(None)
        finally:
            with self._lock:
                self._running = None

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                wait = self.tick()
            except StoreClosed:
                return
            except Exception:
                _log.exception("the %s could not be looked after", self.what)
                wait = IDLE_S
            if not self._over.is_set() and wait > 0:
                self._wake.wait(wait)
            self._wake.clear()


def save_settings(database: Database, values: dict[str, Any]) -> Config:
    """Write changed settings into `reliability.toml`; returns those that are to be in force.

    Raises `ConfigInvalid` that names every wrong value; nothing is changed then.
    """
    changed = database.config.changed(**values)
    configuration.save(database.path, configuration.load(database.path).changed(**values))
    return changed
