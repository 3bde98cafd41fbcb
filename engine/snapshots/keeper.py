"""Takes the snapshots of the schedule, removes those that no rule keeps, and remembers what went wrong."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import HoldfastError
from engine.files import write_atomically
from engine.keeper import IDLE_S, Keeper
from engine.snapshots.types import SnapshotInfo
from engine.types import Event, SnapshotStanding

if TYPE_CHECKING:
    from engine.database import Database

FILE_NAME = "snapshots.json"
"""In the database directory: what was given up since the last snapshot was taken."""
IDLE_BYTES = 4096
"""Log that a checkpoint and its notes leave alone: a database that nobody changes takes no snapshots."""
_MOST_GIVEN_UP = 100
_LEAP_S = 60.0
"""A clock that gains more than this on the time that has passed was set."""
_TOLD = ("snapshot_given_up", "snapshot_taken")

_log = logging.getLogger(__name__)


def since_boot() -> float:
    """Seconds that have passed since some moment, those among them in which the computer slept."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_clock is None else time.clock_gettime(boot_clock)


class SnapshotKeeper(Keeper[SnapshotInfo]):
    """Any thread may ask; begins with the schedule, so that a script has no part in it."""

    what = "snapshots"

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        passed: Callable[[], float] = since_boot,
    ) -> None:
        super().__init__(database, clock=clock, monotonic=monotonic)
        self._passed = passed
        self._ahead = clock() - passed()
        self._set_forward_at = _remembered(database.path)[1]
        self._tried_at = 0.0
        self._failure: HoldfastError | None = None
        self._given_up: dict[str, str] | None = None
        """Names with reasons; None until somebody has asked."""

    def failure(self) -> HoldfastError | None:
        """Why the schedule's last snapshot failed; None where it did not."""
        with self._lock:
            return self._failure

    def standing(self) -> SnapshotStanding:
        """How things stand. The first call reads a small file, and begins to listen."""
        due = self.next_at()
        with self._lock:
            given_up = self._attend()
            return SnapshotStanding(
                next_at=due,
                overdue_s=self._overdue_s(due),
                failure="" if self._failure is None else self._failure.message,
                given_up=tuple(given_up),
                given_up_why=next(reversed(given_up.values()), ""),
            )

    def change(self, **values: Any) -> None:
        """Change settings of snapshots in `reliability.toml`, in force at once.

        Raises `ConfigInvalid` that names every wrong value; nothing is changed then.
        """
        changed = self._save(values)
        self._database.config = changed
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
        self._watch_clock()
        due = self.next_at()
        if due is None:
            return IDLE_S
        if not self._is_due(due):
            return self._wait_for(due)
        self._tried_at = self._clock()
        if self._has_changed():
            self._take()
        return 0.0

    def _watch_clock(self) -> None:
        """Notice a clock that was set forward: by it every snapshot would be old at once."""
        now = self._clock()
        ahead = now - self._passed()
        if ahead - self._ahead > _LEAP_S:
            with self._lock:
                self._set_forward_at = now
                self._keep(self._attend())
        self._ahead = ahead

    def _is_believed(self) -> bool:
        """Whether what the clock says of the age of snapshots counts: all that were taken before it was set
        are that old once it has gone on for as long."""
        since = self._clock() - self._set_forward_at
        return not 0 <= since <= self._database.config.keep_snapshots_for

    def _has_changed(self) -> bool:
        newest = next(iter(self._database.snapshots.list()), None)
        return newest is None or self._database.status().log.last_lsn - newest.lsn > IDLE_BYTES

    def _take(self) -> None:
        task = self._database.snapshots.take_task(scheduled=True)
        if self._begin(task):
            self._run(task, self._note)

    def _note(self, error: HoldfastError | None) -> None:
        if error is None:
            try:
                self._database.snapshots.prune(now=self._clock(), by_age=self._is_believed())
            except HoldfastError as caught:
                error = caught
        with self._lock:
            self._failure = error
        if error is not None:
            _log.warning("the scheduled snapshot failed: %s", error.message)
            self._database.events.publish("snapshot_failed", code=error.code, message=error.message)

    def _attend(self) -> dict[str, str]:
        """Listen from now on; what was told before counts too. Under the lock."""
        if self._given_up is None:
            self._given_up = read_given_up(self._database.path)
            self._database.events.subscribe(self._hear, _TOLD)
            for event in self._database.events.recent(1000):
                if event.kind in _TOLD:
                    self._hear(event)
        return self._given_up

    def _hear(self, event: Event) -> None:
        # On the thread of the subscription.
        with self._lock:
            known = self._given_up
            if known is None:
                return
            before = dict(known)
            if event.kind == "snapshot_taken":
                known.clear()
            elif event.kind == "snapshot_given_up":
                known[str(event.fields["name"])] = str(event.fields["reason"])
                while len(known) > _MOST_GIVEN_UP:
                    del known[next(iter(known))]
            if known != before:
                self._keep(known)

    def _keep(self, given_up: dict[str, str]) -> None:
        # The disk may be full: it is told all the same, until the database is closed.
        if not self._database.status().read_only:
            with suppress(OSError):
                text = json.dumps({"given_up": given_up, "clock_set_at": self._set_forward_at}, indent=1)
                write_atomically(self._database.path / FILE_NAME, text)


def read_given_up(directory: Path) -> dict[str, str]:
    """The snapshots of the database there that were given up, with the reasons; none where the file cannot
    be read: one that is damaged is made up for by the next snapshot."""
    return _remembered(directory)[0]


def _remembered(directory: Path) -> tuple[dict[str, str], float]:
    """What was given up, and when the clock was set forward last; 0 for never."""
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raw = json.loads((directory / FILE_NAME).read_text("utf-8"))
        given_up = {str(name): str(why) for name, why in raw["given_up"].items()}
        return given_up, float(raw.get("clock_set_at") or 0.0)
    return {}, 0.0
