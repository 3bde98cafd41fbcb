"""The core workloads of the Yahoo! Cloud Serving Benchmark (Cooper et al. 2010), on one thread.

Each operation is a transaction of its own and is not synced. Rows are drawn by Zipf's law;
workload D reads what was inserted last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from tests.bench.bench import Bench, Measurement
from tests.bench.clock import lap
from tests.bench.data import Data
from tests.bench.peers.base import Peer, Session
from tests.bench.workload import Workload

_LONGEST_SCAN = 100
_SALT = 50

Step = Callable[[Session], int]
"""Does one operation; returns bytes or rows that were read."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of operations in one workload; they add up to 1."""

    letter: str
    title: str
    read: float = 0.0
    update: float = 0.0
    insert: float = 0.0
    scan: float = 0.0
    modify: float = 0.0
    reads_latest: bool = False

    @property
    def shares(self) -> list[float]:
        return [self.read, self.update, self.insert, self.scan, self.modify]


MIXTURES = [
    Mixture("A", "half reads, half updates", read=0.5, update=0.5),
    Mixture("B", "95 % reads, 5 % updates", read=0.95, update=0.05),
    Mixture("C", "reads only", read=1.0),
    Mixture("D", "95 % reads of the latest, 5 % inserts", read=0.95, insert=0.05, reads_latest=True),
    Mixture("E", "95 % ranges of 1 to 100 rows, 5 % inserts", scan=0.95, insert=0.05),
    Mixture("F", "half reads, half read and write of one row", read=0.5, modify=0.5),
]


def _read(key: bytes, session: Session) -> int:
    return len(session.read(key) or b"")


def _write(key: bytes, value: bytes, session: Session) -> int:
    session.write(key, value)
    return 0


def _modify(key: bytes, value: bytes, session: Session) -> int:
    session.modify(key, value)
    return 0


def _range(key: bytes, count: int, session: Session) -> int:
    return session.range(key, count)


def steps(mixture: Mixture, data: Data, count: int) -> tuple[list[Step], dict[bytes, bytes]]:
    """The operations, ready to be done, and the rows that they leave changed."""
    generator = np.random.default_rng((data.settings.seed, _SALT, ord(mixture.letter)))
    kinds = generator.choice(5, count, p=mixture.shares).tolist()
    ranks = data.zipf_draws(count, _SALT)
    lengths = generator.integers(1, _LONGEST_SCAN + 1, count).tolist()
    made: list[Step] = []
    written: dict[bytes, bytes] = {}
    newest = len(data.keys) - 1
    for kind, rank, length in zip(kinds, ranks, lengths, strict=True):
        if kind == 2:
            newest += 1
        number = newest if kind == 2 else max(newest - rank, 0) if mixture.reads_latest else rank
        key = data.key(number)
        if kind in (1, 2, 4):
            written[key] = value = data.value(number, 1)
            made.append(partial(_modify if kind == 4 else _write, key, value))
        else:
            made.append(partial(_read, key) if kind == 0 else partial(_range, key, length))
    return made, written


def _measure(bench: Bench, kind: type[Peer], mixture: Mixture) -> Measurement:
    made, written = steps(mixture, bench.data, bench.settings.operations // (5 if mixture.scan else 1) or 1)
    with bench.copied(kind) if written else bench.opened(kind) as peer:
        session = peer.session()
        read = 0
        with lap() as timed:
            for step in made:
                read += step(session)
        session.close()
        bench.verify(peer, {**dict(bench.data.pairs), **written})
    return Measurement(len(made) / timed.seconds, facts={"read": read})


WORKLOADS = [
    Workload(
        name=f"ycsb-{mixture.letter.lower()}",
        title=f"YCSB {mixture.letter}: {mixture.title}, 1 thread, not synced",
        unit="operations/s",
        measure=partial(_measure, mixture=mixture),
    )
    for mixture in MIXTURES
]
