from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.events import MISSED, EventBus
from engine.types import Event


class Collector:
    """Keeps what it is told, and lets a test wait for a number of events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    def wait_for(self, count: int) -> list[Event]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.events) >= count, timeout=10)
        return self.events


class Queue:
    """A source like the kernel's: bounded, and honest about what it lost."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.missed = 0

    def __call__(self, limit: int = 1000) -> tuple[list[dict[str, Any]], int]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        missed, self.missed = self.missed, 0
        return taken, missed


@pytest.fixture
def bus() -> Iterator[EventBus]:
    bus = EventBus()
    yield bus
    bus.close()


def test_subscribers_get_what_they_asked_for_in_order(bus: EventBus) -> None:
    everything, some = Collector(), Collector()
    bus.subscribe(everything)
    bus.subscribe(some, kinds={"checkpoint"})
    for number in range(50):
        bus.publish("commit", number=number)
        bus.publish("checkpoint", number=number)
    assert [e.fields["number"] for e in some.wait_for(50)] == list(range(50))
    assert len(everything.wait_for(100)) == 100
    assert {e.kind for e in some.events} == {"checkpoint"}


def test_callbacks_run_on_a_thread_of_their_own(bus: EventBus) -> None:
    seen = Collector()
    names: list[str] = []
    bus.subscribe(lambda event: (names.append(threading.current_thread().name), seen(event))[1])
    bus.publish("commit")
    seen.wait_for(1)
    assert names != [threading.current_thread().name]


def test_a_slow_reader_delays_nobody_and_is_told_how_many_it_missed(bus: EventBus) -> None:
    slow, quick, gate, entered = Collector(), Collector(), threading.Event(), threading.Event()

    def wait_then_collect(event: Event) -> None:
        entered.set()
        gate.wait(10)
        slow(event)

    bus.subscribe(wait_then_collect, limit=5)
    bus.subscribe(quick)
    bus.publish("commit", number=0)
    assert entered.wait(10)
    for number in range(1, 21):
        bus.publish("commit", number=number)
    assert len(quick.wait_for(21)) == 21
    gate.set()
    told = slow.wait_for(7)
    assert [e.fields["count"] for e in told if e.kind == MISSED] == [15]
    assert [e.fields["number"] for e in told if e.kind == "commit"] == [0, 16, 17, 18, 19, 20]


def test_a_callback_that_fails_is_logged_and_goes_on(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    seen = Collector()

    def fail_once(event: Event) -> None:
        seen(event)
        if len(seen.events) == 1:
            raise RuntimeError("broken")

    bus.subscribe(fail_once)
    with caplog.at_level(logging.ERROR, "engine.events"):
        bus.publish("first")
        bus.publish("second")
        seen.wait_for(2)
    assert "first" in caplog.text


def test_closing_delivers_what_is_queued_and_then_nothing(bus: EventBus) -> None:
    seen = Collector()
    subscription = bus.subscribe(seen)
    for _ in range(20):
        bus.publish("commit")
    subscription.close()
    assert len(seen.events) == 20
    bus.publish("commit")
    subscription.close()
    assert len(seen.events) == 20


def test_a_callback_may_close_its_own_subscription(bus: EventBus) -> None:
    seen, ready = Collector(), threading.Event()

    def close_at_once(event: Event) -> None:
        assert ready.wait(10)
        subscription.close()
        seen(event)

    subscription = bus.subscribe(close_at_once)
    ready.set()
    bus.publish("commit")
    seen.wait_for(1)


def test_the_kernels_queue_is_drained_with_its_losses() -> None:
    queue, seen = Queue(), Collector()
    queue.waiting = [{"kind": "commit", "at": 12.5, "txn": n} for n in range(2500)]
    queue.missed = 3
    bus = EventBus(queue, interval_s=0.01)
    bus.subscribe(seen, limit=5000)
    bus.start()
    told = seen.wait_for(2501)
    bus.close()
    assert told[0] == Event(MISSED, told[0].at, {"count": 3})
    assert [e.fields["txn"] for e in told[1:]] == list(range(2500))
    assert told[1].at == 12.5


def test_closing_the_bus_fetches_the_last_events() -> None:
    queue, seen = Queue(), Collector()
    bus = EventBus(queue, interval_s=3600)
    bus.subscribe(seen)
    bus.start()
    queue.waiting = [{"kind": "closed", "at": time.time()}]
    bus.close()
    assert [e.kind for e in seen.events] == ["closed"]
    assert [e.kind for e in bus.recent()] == ["closed"]


def test_who_subscribes_to_a_closed_bus_leaves_no_thread_behind() -> None:
    bus, seen = EventBus(), Collector()
    bus.close()
    subscription = bus.subscribe(seen)
    assert not subscription._thread.is_alive()
    bus.publish("commit")
    assert seen.events == []
    subscription.close()
