"""Every workload, in the order in which a run does them."""

from __future__ import annotations

from tests.bench.workload import Workload
from tests.bench.workloads import commits, copies, damage, mirrors, rest, rows, snapshots, upkeep, ycsb

WORKLOADS: list[Workload] = [
    *rows.WORKLOADS,
    *commits.WORKLOADS,
    *ycsb.WORKLOADS,
    *upkeep.WORKLOADS,
    *snapshots.WORKLOADS,
    *copies.WORKLOADS,
    *damage.WORKLOADS,
    *mirrors.WORKLOADS,
    *rest.WORKLOADS,
]


def named(names: list[str]) -> list[Workload]:
    """The workloads of these names (or whose names begin so); all where none is given.

    Raises KeyError for a name that fits none.
    """
    for name in names:
        if not any(workload.name.startswith(name) for workload in WORKLOADS):
            raise KeyError(name)
    return [w for w in WORKLOADS if not names or any(w.name.startswith(name) for name in names)]
