"""What a snapshot costs those who work: the same work with and without, taken in turns."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.bench import Bench, Measurement
from tests.bench.peers.base import Peer, size_of
from tests.bench.settings import Opening
from tests.bench.workload import Goal, Workload, only_holdfast

_PACE_S = 300.0
"""Time between snapshots by default."""
_MOST_PROCESSOR, _MOST_BYTES = 1.0, 2.0
"""What snapshots may take of the processor, and of what is written."""
_PARTS = 4
"""A checkpoint begins each part of the work, and a snapshot where they are taken."""


def _snapshots(bench: Bench, kind: type[Peer]) -> Measurement:
    """Share of time that a snapshot every five minutes takes from half gets, half puts, in percent.

    Each part of the work begins with a checkpoint; in every second run with a snapshot too. The work
    overwrites most pages after each, so that this is what a snapshot costs at worst: what is added to
    a part is added once in five minutes of such work. The bytes written are those of five minutes of
    log, of all pages once with their copies in the double-write file, and of what is kept; the share
    of the processor is that of one. Taken in turns: without, with, with, without.
    """
    seconds = {True: 0.0, False: 0.0}
    processor = {True: 0.0, False: 0.0}
    kept = log = pages = 0
    for are_on in (False, True, True, False):
        once = _work(bench, are_on)
        seconds[are_on] += once["seconds"]
        processor[are_on] += once["processor"]
        kept += int(once["kept"])
        if are_on:
            log, pages = log + int(once["log"]), pages + int(once["pages"])
    each = (seconds[True] - seconds[False]) / (2 * _PARTS)
    others = log * 2 * _PARTS * _PACE_S / seconds[True] + pages
    extras = {
        "ms for each": each * 1000,
        "processor ms for each": (processor[True] - processor[False]) / (2 * _PARTS) * 1000,
        "kept MB for each": kept / 1e6 / (2 * _PARTS),
        "% of processor": 100 * (processor[True] - processor[False]) / (2 * _PARTS) / _PACE_S,
        "limit, % of processor": _MOST_PROCESSOR,
        "% of bytes written": 100 * kept / (kept + others),
        "limit, % of bytes written": _MOST_BYTES,
        "% of time at one after the other": 100 * (seconds[True] / seconds[False] - 1),
    }
    return Measurement(100 * each / _PACE_S, extras=extras)


def _work(bench: Bench, are_on: bool) -> dict[str, float]:
    from tests.bench.peers.holdfast import Holdfast

    rows = bench.settings.rows
    spec = {"threads": 2, "keys": rows, "value_bytes": bench.settings.value_bytes}
    opening = Opening(cache_bytes=bench.settings.cache_bytes, checkpoints_off=True)
    with bench.place() as place:
        peer = Holdfast(place / "work.holdfast", opening)
        load = peer.database.load_task
        load({**spec, "operations": rows, "read_share": 0.0, "batch": 100}).run()
        peer.database.checkpoint()
        log = peer.log_bytes()
        began, used = time.perf_counter(), time.process_time()
        for part in range(_PARTS):
            peer.database.checkpoint()
            if are_on:
                peer.database.snapshots.take(f"part {part}")
            load({**spec, "operations": 2 * rows, "read_share": 0.5, "seed": part}).run()
        peer.database.checkpoint()
        done = {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}
        wrote = {"log": peer.log_bytes() - log, "pages": 2 * _PARTS * peer.data_bytes()}
        peer.close()
        return {**done, **wrote, "kept": _kept(place / "work.holdfast")}


def _kept(database: Path) -> int:
    return size_of(database / "snapshots") if (database / "snapshots").is_dir() else 0


WORKLOADS = [
    Workload(
        name="snapshots",
        title="time that a snapshot every 5 minutes takes from half gets, half puts by 2 threads",
        unit="%",
        more_is_better=False,
        measure=_snapshots,
        without=only_holdfast,
        minor=True,
        goals=(Goal("% of processor", 1.0), Goal("% of bytes written", 2.0)),
    ),
]
