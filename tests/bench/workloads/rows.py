"""Work of one thread on rows: load, get, put, ranges, scan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.bench import limits
from tests.bench.bench import Bench, Measurement
from tests.bench.clock import each, lap, percentiles
from tests.bench.data import Pair
from tests.bench.peers.base import Peer
from tests.bench.settings import Opening
from tests.bench.workload import Limit, Workload

_RANGE_ROWS = 10


def _load(bench: Bench, kind: type[Peer], is_sorted: bool) -> Measurement:
    pairs = bench.data.sorted_pairs if is_sorted else bench.data.pairs
    with bench.place() as place:
        peer = kind(place / "load.holdfast", bench.opening(durable=True))
        with lap() as timed:
            peer.load(pairs, is_sorted)
        rows, size = peer.scan()
        bench.verify(peer, dict(pairs))
        peer.close()
    return Measurement(len(pairs) / timed.seconds, facts={"rows": rows, "bytes": size})


def _get(bench: Bench, kind: type[Peer], cache_bytes: int) -> Measurement:
    keys = [bench.data.keys[number] for number in bench.data.draws(bench.settings.operations, 1)]
    with bench.opened(kind, Opening(cache_bytes=cache_bytes)) as peer, lap() as timed:
        found = peer.get_each(keys)
    return Measurement(len(keys) / timed.seconds, facts={"bytes": found})


def _put(bench: Bench, kind: type[Peer]) -> Measurement:
    data = bench.data
    numbers = data.draws(bench.settings.operations, 2)
    pairs = [(data.keys[number], data.value(number, 1)) for number in numbers]
    with bench.copied(kind) as peer:
        with lap() as timed:
            peer.put_each(pairs)
        bench.verify(peer, {**dict(data.pairs), **dict(pairs)})
    return Measurement(len(pairs) / timed.seconds)


def _mix(bench: Bench, kind: type[Peer]) -> Measurement:
    operations = bench.data.mixed(bench.settings.operations, 3)
    with bench.copied(kind) as peer:
        with lap() as timed:
            found = peer.mix(operations)
        written = {key: value for key, value in operations if value is not None}
        bench.verify(peer, {**dict(bench.data.pairs), **written})
    return Measurement(len(operations) / timed.seconds, facts={"bytes": found})


def _single(bench: Bench, kind: type[Peer], is_put: bool) -> Measurement:
    data = bench.data
    numbers = data.draws(bench.settings.operations, 4 + is_put)
    with bench.copied(kind) if is_put else bench.opened(kind) as peer:
        session = peer.session()
        laps = _single_laps(session.write if is_put else session.read, bench, numbers, is_put)
        session.close()
        if is_put:
            written = {data.keys[number]: data.value(number, 1) for number in numbers}
            bench.verify(peer, {**dict(data.pairs), **written})
    figures = percentiles(laps)
    return Measurement(figures.pop("p99 us"), extras=figures)


def _single_laps(call: Callable[..., object], bench: Bench, numbers: list[int], is_put: bool) -> list[int]:
    data = bench.data
    keys = [data.keys[number] for number in numbers]
    with lap():
        if not is_put:
            return each(lambda place: call(keys[place]), len(keys))
        values = [data.value(number, 1) for number in numbers]
        return each(lambda place: call(keys[place], values[place]), len(keys))


def _ranges(bench: Bench, kind: type[Peer]) -> Measurement:
    starts = [bench.data.keys[number] for number in bench.data.draws(bench.settings.ranges, 6)]
    with bench.opened(kind) as peer, lap() as timed:
        rows = peer.ranges(starts, _RANGE_ROWS)
    return Measurement(len(starts) / timed.seconds, facts={"rows": rows})


def _scan(bench: Bench, kind: type[Peer]) -> Measurement:
    with bench.opened(kind) as peer, lap() as timed:
        rows, size = peer.scan()
    return Measurement(rows / timed.seconds, facts={"rows": rows, "bytes": size})


def _copied_rows(bench: Bench, of_holdfast: Measurement) -> float:
    """Rows a second if nothing but their bytes had to be copied."""
    pairs: list[Pair] = bench.data.pairs
    size = len(pairs) * (bench.settings.key_bytes + bench.settings.value_bytes)
    return len(pairs) / limits.copy_memory(size)


_COPY = Limit(title="memory copy of the rows", measure=_copied_rows)

WORKLOADS = [
    Workload(
        name="load-random",
        title="bulk load of all rows in random order, durable at the end",
        unit="rows/s",
        measure=partial(_load, is_sorted=False),
    ),
    Workload(
        name="load-sorted",
        title="bulk load of all rows in order, durable at the end",
        unit="rows/s",
        measure=partial(_load, is_sorted=True),
    ),
    Workload(
        name="get",
        title="point gets in one transaction",
        unit="gets/s",
        measure=lambda bench, kind: _get(bench, kind, bench.settings.cache_bytes),
    ),
    Workload(
        name="get-beyond-cache",
        title="point gets with a cache of an eighth of the data",
        unit="gets/s",
        measure=lambda bench, kind: _get(bench, kind, bench.settings.small_cache_bytes),
    ),
    Workload(name="put", title="point puts in one transaction", unit="puts/s", measure=_put),
    Workload(
        name="mix",
        title="half gets, half puts by Zipf's law, in one transaction",
        unit="operations/s",
        measure=_mix,
    ),
    Workload(
        name="single-get",
        title="p99 of a get in a transaction of its own, not synced",
        unit="us",
        more_is_better=False,
        measure=partial(_single, is_put=False),
    ),
    Workload(
        name="single-put",
        title="p99 of a put in a transaction of its own, not synced",
        unit="us",
        more_is_better=False,
        measure=partial(_single, is_put=True),
    ),
    Workload(name="ranges", title="ranges of 10 rows in one transaction", unit="ranges/s", measure=_ranges),
    Workload(name="scan", title="full scan in order", unit="rows/s", measure=_scan, limit=_COPY),
]
