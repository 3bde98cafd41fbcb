"""Clocks: one for a whole piece of work, one for each operation of it, one for many threads."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, perf_counter_ns


class Lap:
    """Seconds of a piece of work, once it is over."""

    seconds = 0.0


@contextmanager
def lap() -> Iterator[Lap]:
    """Time a block, with Python's garbage collector off."""
    result = Lap()
    gc.collect()
    gc.disable()
    started = perf_counter()
    try:
        yield result
    finally:
        result.seconds = max(perf_counter() - started, 1e-9)
        gc.enable()


def each(work: Callable[[int], object], count: int) -> list[int]:
    """Do `work(0)` to `work(count - 1)`; returns the nanoseconds of each."""
    laps = [0] * count
    for number in range(count):
        started = perf_counter_ns()
        work(number)
        laps[number] = perf_counter_ns() - started
    return laps


def percentiles(laps: Sequence[int]) -> dict[str, float]:
    """The median, the 99th percentile and the worst, in microseconds."""
    ranked = sorted(laps)
    last = len(ranked) - 1
    return {
        "p50 us": ranked[last // 2] / 1e3,
        "p99 us": ranked[last * 99 // 100] / 1e3,
        "worst us": ranked[last] / 1e3,
    }


def together(threads: int, work: Callable[[int, Callable[[], object]], None]) -> float:
    """Run `work(thread, ready)` on many threads; returns the seconds from the moment all are ready.

    Each thread prepares, calls `ready()`, which waits for the others, then works. The first
    error of a thread is raised here.
    """
    starts: list[float] = []
    barrier = threading.Barrier(threads, action=lambda: starts.append(perf_counter()))
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number, barrier.wait)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    gc.collect()
    gc.disable()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended = perf_counter()
    gc.enable()
    if errors:
        # A broken barrier is only what the first error did to the others.
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return ended - starts[0]
