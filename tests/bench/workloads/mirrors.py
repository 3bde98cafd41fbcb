"""What a mirror costs the database that it is of, and how far it lags under load."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, Measurement
from tests.bench.clock import each, together
from tests.bench.peers.base import Peer
from tests.bench.workload import Goal, Workload, only_holdfast

_LOOK_S = 0.01
_THREADS = 8
_LIMIT_S = 30.0
"""A mirror takes over by itself within this time."""


def _commits(bench: Bench, peer: Any) -> float:
    """Durable commits of one put a second, by eight threads."""
    data, count = bench.data, max(bench.settings.commits, 1)

    def run(thread: int, ready: Any) -> None:
        session = peer.session()
        try:
            ready()
            rows = [(thread + n * _THREADS) % len(data.keys) for n in range(count)]
            each(lambda place: session.write(data.keys[rows[place]], data.value(rows[place], 1)), count)
        finally:
            session.close()

    return count * _THREADS / together(_THREADS, run)


class _Watch:
    """Looks at the lag of a mirror until it is told to stop."""

    def __init__(self, database: Any, mirror: Path) -> None:
        self._database, self._mirror = database, mirror
        self._over = threading.Event()
        self.most_bytes, self.most_s = 0, 0.0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            info = self._database.mirrors.find(self._mirror)
            self.most_bytes = max(self.most_bytes, info.lag_bytes)
            self.most_s = max(self.most_s, info.lag_s)


def _mirrored(bench: Bench, kind: type[Peer], synchronous: bool) -> Measurement:
    with bench.copied(kind, bench.opening(durable=True)) as peer, bench.place() as place:
        database: Any = vars(peer)["database"]
        mirror = place / "mirror.holdfast"
        alone = [_commits(bench, peer)]
        database.mirrors.add(mirror, synchronous=synchronous)
        database.mirrors.level_task(mirror).run()
        with _Watch(database, mirror) as watch:
            value = _commits(bench, peer)
        database.mirrors.level_task(mirror).run()
        database.mirrors.remove(mirror, remove_files=True)
        # Before and after, for the machine may have become busier.
        alone.append(_commits(bench, peer))
        bench.verify(peer)
    without = sum(alone) / len(alone)
    extras = {
        "commits/s without": without,
        "% of that": 100 * value / without,
        "most lag, bytes": float(watch.most_bytes),
        "most lag, ms": 1000 * watch.most_s,
    }
    return Measurement(value, extras=extras)


def _fail_over(bench: Bench, kind: type[Peer]) -> Measurement:
    """Seconds from the failure of the disk until the mirror has taken over by itself, recovered and checked.

    Every write of this process fails for a moment, as those to a disk that dies do.
    """
    import resource

    with bench.copied(kind, bench.opening(durable=True)) as peer, bench.place() as place:
        database: Any = vars(peer)["database"]
        mirror = place / "mirror.holdfast"
        database.config = database.config.changed(mirror_fail_over="automatic")
        database.mirrors.add(mirror)
        _commits(bench, peer)
        database.mirrors.level_task(mirror).run()
        over = threading.Event()
        database.events.subscribe(lambda _event: over.set(), ("failed_over", "fail_over_failed"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        began = time.perf_counter()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        try:
            _write_until_it_fails(database)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if not over.wait(2 * _LIMIT_S) or database.guard.result is None:
            raise RuntimeError("no mirror took over")
        seconds = time.perf_counter() - began
    extras = {
        "limit, s": _LIMIT_S,
        "% of the limit": 100 * seconds / _LIMIT_S,
        "of it the fail over, s": database.guard.result.seconds,
    }
    return Measurement(seconds, extras=extras)


def _write_until_it_fails(database: Any) -> None:
    from engine.errors import HoldfastError

    try:
        while True:
            with database.transaction() as txn:
                txn.tree("rows")[b"last"] = b"x" * 4096
    except HoldfastError:
        # That is what it is for.
        return


def _cannot_fail_over(kind: type[Peer]) -> str:
    return only_holdfast(kind) or ("no disk can be made to fail here" if sys.platform == "win32" else "")


WORKLOADS = [
    Workload(
        name="fail-over",
        title="from the failure of the disk until a mirror has taken over by itself",
        unit="s",
        more_is_better=False,
        measure=_fail_over,
        without=_cannot_fail_over,
        minor=True,
        goals=(Goal("", _LIMIT_S),),
    ),
    Workload(
        name="mirror",
        title="durable commits by 8 threads while a mirror follows",
        unit="commits/s",
        measure=partial(_mirrored, synchronous=False),
        without=only_holdfast,
        minor=True,
    ),
    Workload(
        name="mirror-synchronous",
        title="the same, each waiting until the mirror has it",
        unit="commits/s",
        measure=partial(_mirrored, synchronous=True),
        without=only_holdfast,
        minor=True,
    ),
]
