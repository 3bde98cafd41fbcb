"""Publish and subscribe: what happened in the engine, told to whoever listens.

The kernel collects events in a bounded queue; the bus drains it, and Python publishes its
own. Each subscriber has a thread and a bounded queue, so that a slow one delays nobody, and
one that falls behind is told how many events it missed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Protocol

from engine.types import Event

MISSED = "events_missed"
"""The kind of the event that tells a subscriber how many (`count`) it did not get."""

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Where events come from: `Store.drain_events`."""

    def __call__(self, limit: int = 1000) -> tuple[list[dict[str, Any]], int]: ...


class Subscription:
    """One listener. Its callback runs on a thread of its own, one event at a time."""

    def __init__(
        self, bus: EventBus, callback: Callable[[Event], None], kinds: Collection[str] | None, limit: int
    ) -> None:
        self._bus = bus
        self._callback = callback
        self._kinds = None if kinds is None else frozenset(kinds)
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._missed = 0
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="holdfast-events-reader", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what is queued, then stop. May be called from the callback itself, and twice."""
        self._bus._forget(self)
        with self._wake:
            self._closed = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _offer(self, event: Event) -> None:
        if self._kinds is not None and event.kind not in self._kinds and event.kind != MISSED:
            return
        with self._wake:
            if self._closed:
                return
            if event.kind == MISSED:
                self._missed += int(event.fields["count"])
            elif len(self._queue) >= self._limit:
                # The newest matter most to someone who is behind; the loss itself is told.
                self._queue.popleft()
                self._missed += 1
                self._queue.append(event)
            else:
                self._queue.append(event)
            self._wake.notify()

    def _next(self) -> Event | None:
        with self._wake:
            while not self._queue and not self._missed and not self._closed:
                self._wake.wait()
            if self._missed:
                missed, self._missed = self._missed, 0
                return Event(MISSED, time.time(), {"count": missed})
            return self._queue.popleft() if self._queue else None

    def _run(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._callback(event)
            except Exception:
                _log.exception("a subscriber failed on the event %s", event.kind)


class EventBus:
    """Carries events of one database from the kernel, and from Python, to subscribers."""

    def __init__(self, source: Source | None = None, interval_s: float = 0.1, keep: int = 1000) -> None:
        """`source` is drained every `interval_s` once `start` was called; `keep` recent events are kept."""
        self._source = source
        self._interval_s = interval_s
        self._recent: deque[Event] = deque(maxlen=keep)
        self._subscriptions: list[Subscription] = []
        self._lock = threading.Lock()
        self._draining = threading.Lock()
        self._closed = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to drain the source, on a thread of the bus."""
        if self._source is None or self._thread is not None:
            return
        self._thread = threading.Thread(target=self._pump, name="holdfast-events", daemon=True)
        self._thread.start()

    def subscribe(
        self, callback: Callable[[Event], None], kinds: Collection[str] | None = None, *, limit: int = 1000
    ) -> Subscription:
        """Call `callback` with every event from now on, or with those of some `kinds`.

        It runs on a thread of its own; what it raises is logged. If more than `limit` events
        wait for it, the oldest go, and it gets an event of kind `events_missed` with their
        `count`. On a bus that is closed it hears nothing.
        """
        subscription = Subscription(self, callback, kinds, limit)
        with self._lock:
            is_late = self._closed
            if not is_late:
                self._subscriptions.append(subscription)
        if is_late:
            subscription.close()
        return subscription

    def publish(self, kind: str, **fields: Any) -> None:
        """Tell the subscribers of something that happened in Python. Never waits for them."""
        self._deliver(Event(kind, time.time(), fields))

    def recent(self, limit: int = 100) -> tuple[Event, ...]:
        """The latest events, oldest first."""
        with self._lock:
            return tuple(self._recent)[-limit:]

    def drain(self) -> None:
        """Fetch what the source has now, without waiting for the next round."""
        if self._source is None:
            return
        # One at a time, so that events keep their order.
        with self._draining:
            more = True
            while more:
                events, missed = self._source(1000)
                more = len(events) >= 1000
                if missed:
                    self._deliver(Event(MISSED, time.time(), {"count": missed}))
                for entry in events:
                    kind, at = entry["kind"], entry["at"]
                    rest = {name: value for name, value in entry.items() if name not in ("kind", "at")}
                    self._deliver(Event(kind, at, rest))

    def close(self) -> None:
        """Fetch the last events, deliver everything, stop all threads. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._try_drain()
        with self._lock:
            self._closed = True
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()

    def _pump(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._try_drain()

    def _try_drain(self) -> None:
        try:
            self.drain()
        except Exception:
            _log.exception("the events of the kernel could not be read")

    def _deliver(self, event: Event) -> None:
        with self._lock:
            self._recent.append(event)
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription._offer(event)

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
