"""A thread that looks at a running engine some times a second, without taking any lock.

Each look is one immutable `Sample`. The interface keeps the last one and says how old it is:
where the engine does not answer, samples stop coming, and the age grows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Signal

from engine.types import LockInfo, StoreStatus, TransactionInfo, WaitEdge

log = logging.getLogger(__name__)

TICK_S = 0.25
HEALTH_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Activity:
    """Who does what, who holds what, who waits for whom, at one moment."""

    transactions: tuple[TransactionInfo, ...]
    locks: tuple[LockInfo, ...]
    waits: tuple[WaitEdge, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the engine."""

    at: float
    status: StoreStatus
    health: Any | None = None
    """`HealthReport` of `engine.health`, refreshed every second."""
    activity: Activity | None = None
    """Only while a page asked for it."""


class Sampler(QObject):
    """Emits `sampled(Sample)` at most 10 times a second, from its own thread."""

    sampled = Signal(object)

    def __init__(self, database: Any) -> None:
        super().__init__()
        self._database = database
        self._stop = threading.Event()
        self._watchers = 0
        self._health: Any | None = None
        self._health_at = 0.0
        self._complained = False
        self._thread = threading.Thread(target=self._serve, name="holdfast-sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def watch_activity(self, wanted: bool) -> None:
        """A page begins or ends to show transactions and locks."""
        self._watchers = max(0, self._watchers + (1 if wanted else -1))

    def stop(self) -> None:
        """End after the look in progress; does not wait."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            sample = self._look()
            if sample is not None and not self._stop.is_set():
                try:
                    self.sampled.emit(sample)
                except RuntimeError:
                    return
            self._stop.wait(max(0.1, TICK_S - (time.monotonic() - started)))

    def _look(self) -> Sample | None:
        try:
            status = self._database.status()
        except Exception as error:
            self._complain("status", error)
            return None
        return Sample(time.time(), status, self._look_at_health(), self._look_at_activity())

    def _look_at_health(self) -> Any | None:
        now = time.monotonic()
        if now - self._health_at >= HEALTH_EVERY_S:
            self._health_at = now
            self._health = self._try("health", self._database.health.report)
        return self._health

    def _look_at_activity(self) -> Activity | None:
        if not self._watchers:
            return None
        database = self._database
        return self._try(
            "activity",
            lambda: Activity(
                tuple(database.transactions()), tuple(database.locks()), tuple(database.wait_for_graph())
            ),
        )

    def _try(self, what: str, look: Callable[[], Any]) -> Any | None:
        try:
            return look()
        except Exception as error:
            self._complain(what, error)
            return None

    def _complain(self, what: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("could not sample %s: %s", what, error)
