"""One open database as the interface sees it: channels to it, samples of it, its events.

Nothing here blocks. Closing is asked for, and answered by `closed`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from engine.types import Event
from gui.tasks.sampler import Sample, Sampler
from gui.tasks.worker import Answer, Worker

_EVENTS_EVERY_MS = 150
_KEPT_EVENTS = 2000


class EngineSession(QObject):
    """Wraps an open `engine.Database`. Made on the interface thread, after a worker opened it.

    Work is given as `session.run(lambda db: ..., receiver)`; it gets the database. Each channel
    is a thread of its own, so that a write that waits for a lock does not block the reads of
    another page: use a channel for each page that may wait.
    """

    sampled = Signal(object)
    """A `Sample`, some times a second."""
    events_arrived = Signal(list)
    """New `Event`s, gathered for a moment."""
    changed = Signal(str)
    """Data has changed: "tables" or the name of a table. Views fetch again."""
    closed = Signal()
    """The database is closed, well or not."""
    close_failed = Signal(object)
    """Closing raised this error; `closed` follows."""

    def __init__(self, database: Any, path: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.database = database
        self.path = path
        self.opened_at = time.time()
        self.last_sample: Sample | None = None
        self.recent_events: list[Event] = []
        self._channels: dict[str, Worker] = {}
        self._pending: list[Event] = []
        self._pending_lock = threading.Lock()
        self._closing = False
        self._sampler = Sampler(database)
        self._sampler.sampled.connect(self._keep_sample, Qt.ConnectionType.QueuedConnection)
        self._subscription = database.events.subscribe(self._take_event)
        self._gather = QTimer(self)
        self._gather.setInterval(_EVENTS_EVERY_MS)
        self._gather.timeout.connect(self._hand_out_events)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def is_closing(self) -> bool:
        return self._closing

    def start(self) -> None:
        """Begin to sample and to hand out events."""
        self._sampler.start()
        self._gather.start()

    def run(
        self, work: Callable[[Any], Any], receiver: QObject | None = None, channel: str = "main"
    ) -> Answer:
        """Do `work(database)` on the thread of `channel`; the answer comes by signal.

        A session that is closing takes no more work: its answer is dropped.
        """
        if self._closing:
            answer = Answer(receiver)
            answer.drop()
            return answer
        worker = self._channels.get(channel)
        if worker is None:
            worker = self._channels[channel] = Worker(f"holdfast-{channel}")
        database = self.database
        return worker.run(lambda: work(database), receiver)

    def watch_activity(self, wanted: bool) -> None:
        """Have samples carry transactions, locks and waits, while a page shows them."""
        self._sampler.watch_activity(wanted)

    def close(self) -> None:
        """Ask for a clean shutdown; `closed` tells when it is done."""
        if self._closing:
            return
        self._closing = True
        self._gather.stop()
        self._sampler.stop()
        # As no work is taken from here on, they stay the same while they are joined on another thread.
        for worker in self._channels.values():
            worker.close()
        closer = Worker("holdfast-close")
        answer = closer.run(self._shut_down, self)
        answer.failed(self.close_failed.emit).finally_(self.closed.emit)
        closer.close()
        self._closer = closer

    def _shut_down(self) -> None:
        self._sampler.join(5)
        self._subscription.close()
        self.database.close()
        for worker in self._channels.values():
            worker.join(5)

    @Slot(object)
    def _keep_sample(self, sample: Sample) -> None:
        if not self._closing:
            self.last_sample = sample
            self.sampled.emit(sample)

    def _take_event(self, event: Event) -> None:
        # On the engine's own event thread.
        with self._pending_lock:
            self._pending.append(event)
            if len(self._pending) > _KEPT_EVENTS:
                del self._pending[: _KEPT_EVENTS // 2]

    def _hand_out_events(self) -> None:
        with self._pending_lock:
            events, self._pending = self._pending, []
        if events:
            self.recent_events = (self.recent_events + events)[-_KEPT_EVENTS:]
            self.events_arrived.emit(events)
