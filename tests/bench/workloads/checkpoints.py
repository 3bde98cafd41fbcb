"""What checkpoints cost: the same work with and without them, in turns that alternate.

Two databases stay open side by side. One takes checkpoints by the volume of its log that is the default
of the product, where there are a million rows; where there are fewer, by as much less, so that each row is
changed as often between two of them. Half of the operations get, half put, each in a transaction of its
own, of random keys, as fast as two threads can: every page is dirty again soon after it was written. A
database that does less writes as many pages seldom, by the interval.

A turn of the one with checkpoints ends once two of them are through, so that each turn holds two whole
cycles with all pages that they write. The other one has its log cut by a checkpoint between its turns,
outside the clock; within a turn it takes none. Each turn with checkpoints is compared with the mean of the
two turns without that surround it: what drifts on the machine drops out.

The page cleaner may work in both: what it has written out a checkpoint need not write, and the reverse.
The figures tell how many pages were written in the turns of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from time import process_time

from engine.config import Config
from tests.bench.bench import Bench, Measurement
from tests.bench.peers.base import Peer
from tests.bench.peers.holdfast import Holdfast
from tests.bench.settings import MIB, Opening

_USUAL_ROWS = 1_000_000
_LEAST_VOLUME = 1 * MIB
_LOG_BYTES_PER_PUT = 480
"""Beside its commit, with values of 150 bytes: a slice need not be exact."""
_SLICES_PER_VOLUME = 8
_CHECKPOINTS_PER_TURN = 2
_MOST_SLICES = 4 * _CHECKPOINTS_PER_TURN * _SLICES_PER_VOLUME
_TURNS = 3


@dataclass(frozen=True, slots=True)
class _Turn:
    slices: int
    seconds: float
    """For a slice, by the clock."""
    processor: float
    """For a slice, all threads together."""
    pages: int
    checkpoints: int


class _Side:
    """A database that does slices of the work."""

    def __init__(self, bench: Bench, directory: Path, *, has_checkpoints: bool) -> None:
        settings = bench.settings
        usual = Config().checkpoint_log_volume
        volume = max(usual * min(settings.rows, _USUAL_ROWS) // _USUAL_ROWS, _LEAST_VOLUME)
        opening = Opening(
            cache_bytes=settings.cache_bytes,
            checkpoints_off=not has_checkpoints,
            # Nothing is set where it is the default.
            checkpoint_log_bytes=volume if volume != usual else 0,
        )
        self._has_checkpoints = has_checkpoints
        self._peer = Holdfast(directory, opening)
        self._spec = {"threads": 2, "keys": settings.rows, "value_bytes": settings.value_bytes}
        # Half of the operations are puts.
        self._operations = max(2 * volume // _LOG_BYTES_PER_PUT // _SLICES_PER_VOLUME, 2)
        self._seeds = count(2)
        self._load({"operations": settings.rows, "read_share": 0.0, "batch": 100})

    def _load(self, spec: dict[str, float]) -> float:
        task = self._peer.database.load_task({**self._spec, **spec})
        return float(task.run()["seconds"])

    def checkpoints(self) -> int:
        return self._peer.database.status().checkpoint.count

    def pages_written(self) -> int:
        return self._peer.database.status().cache.pages_written

    def turn(self, checkpoints: int = _CHECKPOINTS_PER_TURN) -> _Turn:
        """As many slices as there are to so many checkpoints; until they are through, if it takes any."""
        if not self._has_checkpoints:
            self._peer.database.checkpoint()
        slices, seconds = 0, 0.0
        made, pages, started = self.checkpoints(), self.pages_written(), process_time()
        while not self._is_over(slices, checkpoints, made):
            spec = {"operations": self._operations, "read_share": 0.5, "seed": next(self._seeds)}
            seconds += self._load(spec)
            slices += 1
        processor = process_time() - started
        pages, made = self.pages_written() - pages, self.checkpoints() - made
        return _Turn(slices, seconds / slices, processor / slices, pages, made)

    def _is_over(self, slices: int, checkpoints: int, made: int) -> bool:
        if self._has_checkpoints:
            # The bound is for a volume so small that checkpoints do not keep up with it.
            return self.checkpoints() >= made + checkpoints or slices == _MOST_SLICES
        return slices >= checkpoints * _SLICES_PER_VOLUME

    def close(self) -> None:
        self._peer.close()


def measure(bench: Bench, kind: type[Peer]) -> Measurement:
    """How much longer the same work takes with checkpoints than without, in percent: the median."""
    with bench.place() as place:
        without = _Side(bench, place / "without.holdfast", has_checkpoints=False)
        try:
            with_them = _Side(bench, place / "with.holdfast", has_checkpoints=True)
            try:
                return _compared(without, with_them)
            finally:
                with_them.close()
        finally:
            without.close()


def _compared(without: _Side, with_them: _Side) -> Measurement:
    # The first turns bring both to the state in which they then stay.
    for side in (without, with_them):
        side.turn(1)
    off, on = [without.turn()], []
    for _ in range(_TURNS):
        on.append(with_them.turn())
        off.append(without.turn())
    by_clock = _added([turn.seconds for turn in on], [turn.seconds for turn in off])
    by_processor = _added([turn.processor for turn in on], [turn.processor for turn in off])
    extras = {
        "least %": min(by_clock),
        "most %": max(by_clock),
        "processor time %": median(by_processor),
        "checkpoints": float(sum(turn.checkpoints for turn in on)),
        "pages written a turn": sum(turn.pages for turn in on) / len(on),
        "pages written a turn without": sum(turn.pages for turn in off) / len(off),
        "seconds of a turn": median(turn.seconds * turn.slices for turn in on),
    }
    return Measurement(median(by_clock), extras=extras)


def _added(on: Sequence[float], off: Sequence[float]) -> list[float]:
    """Each turn with checkpoints against the mean of those around it, in percent more."""
    return [(mine / ((a + b) / 2) - 1) * 100 for mine, (a, b) in zip(on, pairwise(off), strict=True)]
