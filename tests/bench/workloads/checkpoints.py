"""What checkpoints cost: the same work with and without them, in turns that alternate.

Two databases stay open side by side; one of them takes checkpoints as it always does, by the volume of
its log. A turn is at least two volumes, and is over for the one with checkpoints only between two of
them, so that none of its work falls into the turn of the other. Each turn with checkpoints is compared
with the mean of the two turns without that surround it: what drifts on the machine drops out.

The page cleaner works in both: what it has written out a checkpoint need not write, and the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from time import process_time

from tests.bench.bench import Bench, Measurement
from tests.bench.peers.base import Peer
from tests.bench.peers.holdfast import Holdfast
from tests.bench.settings import MIB, Opening

_USUAL_VOLUME = 256 * MIB
_LEAST_VOLUME = 1 * MIB
_LOG_BYTES_PER_PUT = 270
_SLICES_PER_VOLUME = 8
_SLICES_PER_TURN = 2 * _SLICES_PER_VOLUME
_MOST_SLICES = 4 * _SLICES_PER_TURN
_TURNS = 4


class _Side:
    """A database that does slices of the work."""

    def __init__(self, bench: Bench, directory: Path, *, has_checkpoints: bool) -> None:
        settings = bench.settings
        self.volume = max(min(_USUAL_VOLUME, settings.rows * _LOG_BYTES_PER_PUT), _LEAST_VOLUME)
        opening = Opening(
            cache_bytes=settings.cache_bytes,
            checkpoints_off=not has_checkpoints,
            checkpoint_log_bytes=self.volume,
        )
        self._has_checkpoints = has_checkpoints
        self._peer = Holdfast(directory, opening)
        self._spec = {"threads": 2, "keys": settings.rows, "value_bytes": settings.value_bytes}
        # Half of the operations are puts.
        self._operations = max(2 * self.volume // _LOG_BYTES_PER_PUT // _SLICES_PER_VOLUME, 2)
        self._seeds = count(2)
        self._load({"operations": settings.rows, "read_share": 0.0, "batch": 100})

    def _load(self, spec: dict[str, float]) -> float:
        task = self._peer.database.load_task({**self._spec, **spec})
        return float(task.run()["seconds"])

    def checkpoints(self) -> int:
        return self._peer.database.status().checkpoint.count

    def pages_written(self) -> int:
        return self._peer.database.status().cache.pages_written

    def _is_between_checkpoints(self) -> bool:
        status = self._peer.database.status()
        return not self._has_checkpoints or status.log.last_lsn - status.checkpoint.lsn < self.volume

    def turn(self) -> tuple[float, float]:
        """Seconds for a slice, of the clock and of the processors."""
        seconds, slices, started = 0.0, 0, process_time()
        while slices < _SLICES_PER_TURN or not self._is_between_checkpoints():
            spec = {"operations": self._operations, "read_share": 0.5, "seed": next(self._seeds)}
            seconds += self._load(spec)
            slices += 1
            if slices == _MOST_SLICES:
                # Checkpoints do not keep up with so small a volume.
                break
        return seconds / slices, (process_time() - started) / slices

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
        side.turn()
    made, pages = with_them.checkpoints(), (with_them.pages_written(), without.pages_written())
    off, on = [without.turn()], []
    for _ in range(_TURNS):
        on.append(with_them.turn())
        off.append(without.turn())
    by_clock = _added([turn[0] for turn in on], [turn[0] for turn in off])
    by_processor = _added([turn[1] for turn in on], [turn[1] for turn in off])
    written = (with_them.pages_written() - pages[0]) / _TURNS
    written_without = (without.pages_written() - pages[1]) / (_TURNS + 1)
    extras = {
        "least %": min(by_clock),
        "most %": max(by_clock),
        "processor time %": median(by_processor),
        "checkpoints": float(with_them.checkpoints() - made),
        "pages written a turn": written,
        "pages written a turn without": written_without,
        "seconds of a turn without": median(turn[0] for turn in off) * _SLICES_PER_TURN,
    }
    return Measurement(median(by_clock), extras=extras)


def _added(on: Sequence[float], off: Sequence[float]) -> list[float]:
    """Each turn with checkpoints against the mean of those around it, in percent more."""
    return [(mine / ((a + b) / 2) - 1) * 100 for mine, (a, b) in zip(on, pairwise(off), strict=True)]
