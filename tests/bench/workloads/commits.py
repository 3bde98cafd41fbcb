"""Many small transactions: durable ones, and many threads at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.bench import limits
from tests.bench.bench import Bench, Measurement
from tests.bench.clock import each, lap, percentiles, together
from tests.bench.data import Pair
from tests.bench.peers.base import Peer, Session
from tests.bench.workload import Limit, Workload, only_holdfast


def _commits(bench: Bench, kind: type[Peer], threads: int) -> Measurement:
    """Each thread puts rows of its own, one in each durable transaction."""
    data = bench.data
    count = bench.settings.commits if threads == 1 else max(bench.settings.commits * 8 // threads, 1)
    mine = [[row % len(data.keys) for row in range(t, t + count * threads, threads)] for t in range(threads)]
    pairs = [[(data.keys[row], data.value(row, 1)) for row in rows] for rows in mine]
    with bench.copied(kind, bench.opening(durable=True)) as peer:
        before = peer.log_bytes()
        seconds, laps = _write_all(peer, pairs)
        logged = peer.log_bytes() - before
        written = dict(pair for part in pairs for pair in part)
        bench.verify(peer, {**dict(data.pairs), **written})
    done = count * threads
    extras = {"commits": done, "log bytes per commit": max(logged, 0) / done, **percentiles(laps)}
    return Measurement(done / seconds, extras=extras)


def _write_all(peer: Peer, pairs: list[list[Pair]]) -> tuple[float, list[int]]:
    def work(session: Session, thread: int) -> list[int]:
        write, mine = session.write, pairs[thread]
        return each(lambda place: write(*mine[place]), len(mine))

    return _in_threads(peer, len(pairs), work)


def _in_threads(
    peer: Peer, threads: int, work: Callable[[Session, int], list[int]]
) -> tuple[float, list[int]]:
    """Seconds of all threads together, and the nanoseconds of every operation."""
    laps: list[list[int]] = [[] for _ in range(threads)]

    def run(thread: int, ready: Callable[[], object]) -> None:
        session = peer.session()
        try:
            ready()
            laps[thread] = work(session, thread)
        finally:
            session.close()

    seconds = together(threads, run)
    return seconds, [one for part in laps for one in part]


def _batches(bench: Bench, kind: type[Peer]) -> Measurement:
    data, size = bench.data, bench.settings.batch_rows
    numbers = data.draws(bench.settings.batches * size, 7)
    pairs = [(data.keys[number], data.value(number, 1)) for number in numbers]
    with bench.copied(kind, bench.opening(durable=True)) as peer:
        session = peer.session()
        with lap() as timed:
            for start in range(0, len(pairs), size):
                session.write_batch(pairs[start : start + size])
        session.close()
        bench.verify(peer, {**dict(data.pairs), **dict(pairs)})
    return Measurement(len(pairs) / timed.seconds)


def _threads(bench: Bench, kind: type[Peer]) -> Measurement:
    settings, data = bench.settings, bench.data
    operations = [data.mixed(settings.operations_per_thread, 100 + t) for t in range(settings.threads)]

    def work(session: Session, thread: int) -> list[int]:
        read, write, mine = session.read, session.write, operations[thread]

        def one(place: int) -> None:
            key, value = mine[place]
            if value is None:
                read(key)
            else:
                write(key, value)

        return each(one, len(mine))

    with bench.copied(kind) as peer:
        seconds, laps = _in_threads(peer, settings.threads, work)
        rows, _ = peer.scan()
        bench.verify(peer)
    return Measurement(len(laps) / seconds, extras=percentiles(laps), facts={"rows": rows})


def _inside(bench: Bench, kind: type[Peer]) -> Measurement:
    """The same mixture by threads of the kernel, which no interpreter stops."""
    from tests.bench.peers.holdfast import Holdfast

    settings = bench.settings
    spec = {
        "threads": settings.threads,
        "operations": settings.threads * settings.operations_per_thread,
        "keys": settings.rows,
        "value_bytes": settings.value_bytes,
        "read_share": 0.5,
    }
    with bench.place() as place:
        peer = Holdfast(place / "inside.holdfast", bench.opening())
        # The first time the tree grows; what counts is work on rows that are there.
        peer.database.load_task({**spec, "read_share": 0.0, "batch": 100}).run()
        done = peer.database.load_task(spec).run()
        peer.close()
    extras = {
        f"{name} {figure.replace('_us', ' us').replace('max', 'worst')}": float(value)
        for name, figures in done["latency"].items()
        for figure, value in figures.items()
        if figure != "count"
    }
    return Measurement(done["per_second"], extras=extras, facts={"operations": done["operations"]})


def _bare_commits(bench: Bench, of_holdfast: Measurement) -> float:
    """Bare writes and syncs a second of as many bytes as a commit puts into the log."""
    count = int(of_holdfast.extras["commits"])
    size = max(round(of_holdfast.extras["log bytes per commit"]), 1)
    with bench.place() as place:
        return count / limits.writes_and_syncs(place, count, size)


WORKLOADS = [
    Workload(
        name="commits-1",
        title="durable commits of one put, 1 thread",
        unit="commits/s",
        measure=partial(_commits, threads=1),
        limit=Limit(title="bare write and sync of as many bytes", measure=_bare_commits),
    ),
    Workload(
        name="commits-16",
        title="durable commits of one put, 16 threads",
        unit="commits/s",
        measure=partial(_commits, threads=16),
        limit=Limit(title="bare write and sync of as many bytes, one by one", measure=_bare_commits),
    ),
    Workload(
        name="batches",
        title="durable transactions of 1,000 puts",
        unit="rows/s",
        measure=_batches,
    ),
    Workload(
        name="threads-16",
        title="16 threads, each operation in a transaction of its own: half gets, half puts, not synced",
        unit="operations/s",
        measure=_threads,
    ),
    Workload(
        name="threads-16-inside",
        title="the same mixture by 16 threads inside the kernel",
        unit="operations/s",
        measure=_inside,
        without=only_holdfast,
        minor=True,
    ),
]
