"""Takes the snapshots of the schedule, and removes those that no rule keeps, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import config as configuration
from engine.errors import Cancelled, HoldfastError, StoreClosed
from engine.snapshots.types import SnapshotInfo
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

SETTLE_S = 20.0
"""None is taken in the first moments after the database was opened: a script has closed it by then."""
IDLE_BYTES = 4096
"""Log that a checkpoint and its notes leave alone: a database that nobody changes takes no snapshots."""
_IDLE_S = 60.0
_LONGEST_WAIT_S = 20.0
"""A clock that was changed is noticed this soon."""
_CLOSE_S = 30.0

_log = logging.getLogger(__name__)


class SnapshotKeeper:
    """Any thread may ask; begins with the schedule, so that a script has no part in it."""

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
        self._running: Task[SnapshotInfo] | None = None
        self._tried_at = 0.0
        self._failure: HoldfastError | None = None

    def start(self) -> None:
        """Begin to look after things; returns at once. May be called again."""
        with self._lock:
            if self._thread is None and not self._over.is_set() and not self._database.status().read_only:
                self._thread = threading.Thread(target=self._serve, name="holdfast-snapshots", daemon=True)
                self._thread.start()

    def failure(self) -> HoldfastError | None:
        """Why the schedule's last snapshot failed; None where it did not."""
        with self._lock:
            return self._failure

    def change(self, **values: Any) -> None:
        """Change settings of snapshots in `reliability.toml`, in force at once.

        Raises `ConfigInvalid` that names every wrong value; nothing is changed then.
        """
        database = self._database
        changed = database.config.changed(**values)
        configuration.save(database.path, configuration.load(database.path).changed(**values))
        database.config = changed
        if changed.enable_snapshots:
            self.start()
        self._wake.set()

    def next_at(self) -> float | None:
        """When the next one is due; None where there is no schedule."""
        config = self._database.config
        if not config.enable_snapshots:
            return None
        scheduled = [s.taken_at for s in self._database.snapshots.list() if s.is_scheduled]
        now = self._clock()
        # One from a later time than now was taken by a clock that has been set back since.
        last = max((at for at in (*scheduled, self._tried_at) if at <= now), default=0.0)
        return last + config.snapshot_interval if last else now

    def tick(self) -> float:
        """Do what is due now; returns the seconds until there may be more to do."""
        due = self.next_at()
        if due is None:
            return _IDLE_S
        now = self._clock()
        settling = SETTLE_S - (self._monotonic() - self._opened)
        if due <= now and settling <= 0:
            self._tried_at = now
            if self._has_changed():
                self._take()
            return 0.0
        return min(max(due - now, settling, 0.0), _LONGEST_WAIT_S)

    def close(self) -> None:
        """Cancel a snapshot that is being taken, and end the thread."""
        with self._lock:
            self._over.set()
            running, thread = self._running, self._thread
        if running is not None:
            running.cancel()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_S)

    def _has_changed(self) -> bool:
        newest = next(iter(self._database.snapshots.list()), None)
        return newest is None or self._database.status().log.last_lsn - newest.lsn > IDLE_BYTES

    def _take(self) -> None:
        task = self._database.snapshots.take_task(scheduled=True)
        with self._lock:
            if self._over.is_set():
                return
            self._running = task
        try:
            task.run()
            self._database.snapshots.prune()
            self._note(None)
        except Cancelled:
            _log.info("the scheduled snapshot was cancelled")
        except HoldfastError as error:
            if not (isinstance(error, StoreClosed) and self._over.is_set()):
                self._note(error)
        finally:
            with self._lock:
                self._running = None

    def _note(self, error: HoldfastError | None) -> None:
        with self._lock:
            self._failure = error
        if error is not None:
            _log.warning("the scheduled snapshot failed: %s", error.message)
            self._database.events.publish("snapshot_failed", code=error.code, message=error.message)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                wait = self.tick()
            except StoreClosed:
                return
            except Exception:
                _log.exception("the snapshots could not be looked after")
                wait = _IDLE_S
            if not self._over.is_set() and wait > 0:
                self._wake.wait(wait)
            self._wake.clear()
