"""What it costs to keep copies, and to come back from them: Holdfast against what the disk can do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

from tests.bench import limits
from tests.bench.bench import Bench, Measurement
from tests.bench.clock import lap
from tests.bench.files import copy, sync_file
from tests.bench.peers.base import Peer, size_of
from tests.bench.peers.holdfast import Holdfast, opened
from tests.bench.peers.sqlite import Sqlite
from tests.bench.workload import WRITING_AS_MUCH, Goal, Workload, only_holdfast

_SHARE = 0.01
"""Of the rows that are changed before an increment."""


def _restore(bench: Bench, kind: type[Peer]) -> Measurement:
    """A full backup is made a database again, recovered and checked."""
    from engine.backups.restore import restore_task

    with bench.opened(kind) as peer, bench.place() as place:
        peer.backup(place / "backup")
        size = peer.data_bytes()
        with lap() as timed:
            restore_task(place / "backup", place / "restored.holdfast").run()
        restored = kind(place / "restored.holdfast", bench.opening())
        rows, _ = restored.scan()
        restored.close()
    extras = {"MB": size / 1e6, "MB/s": size / 1e6 / timed.seconds}
    return Measurement(timed.seconds, extras=extras, facts={"rows": rows})


def _increment(bench: Bench, kind: type[Peer]) -> Measurement:
    """The bytes of an increment after neighbouring rows on a hundredth of the pages have changed."""
    with bench.place() as place:
        directory = copy(bench.base(kind), place / "copy.holdfast")
        with opened(directory, bench.opening()) as database:
            size = size_of(directory, "database.holdfast")
            full = database.backups.full_task(place / "chain").run()
            rows = sorted(bench.data.keys)[: max(int(len(bench.data.keys) * _SHARE), 1)]
            with database.transaction() as txn:
                txn.tree("bench").put_many((key, bench.data.value(1, 2)) for key in rows)
            with lap() as timed:
                made = database.backups.increment_task(place / "chain").run()
    share = 100 * made.bytes / full.bytes
    extras = {"seconds": timed.seconds, "MB": made.bytes / 1e6, "% of the full one": share}
    return Measurement(100 * made.bytes / size, extras=extras)


def _copies(bench: Bench, kind: type[Peer]) -> Measurement:
    """A backup and its restore beside SQLite's, a copy of the data file and bare writing, each synced.

    A backup is read back and checked before it counts; what it takes until it is durable is told
    apart, for that is what a copy and bare writing do. Taken in turns, there and back again: what
    drifts on the machine drops out.
    """
    from engine.backups.restore import restore_task

    with bench.opened(kind) as peer, bench.opened(Sqlite) as sqlite, bench.place() as place:
        assert isinstance(peer, Holdfast)
        data, size = bench.base(kind) / "database.holdfast", peer.data_bytes()
        seconds: dict[str, list[float]] = {
            name: [] for name in ("backup", "taking", "restore", "cp", "writing", "sqlite")
        }

        def timed(name: str, work: Callable[[Path], object]) -> None:
            with bench.place() as scratch, lap() as clock:
                work(scratch)
            seconds[name].append(clock.seconds)

        peer.backup(place / "backup")
        turns: list[tuple[str, Callable[[Path], object]]] = [
            ("backup", lambda scratch: peer.backup(scratch / "backup")),
            ("cp", lambda scratch: _copy_file(data, scratch / "copy")),
            ("taking", partial(_taken, peer)),
            ("writing", lambda scratch: limits.write_and_sync(scratch, size)),
            ("sqlite", lambda scratch: sqlite.backup(scratch / "backup")),
            ("restore", lambda scratch: restore_task(place / "backup", scratch / "restored").run()),
        ]
        for name, work in (*turns, *reversed(turns)):
            timed(name, work)
        kept = size_of(place / "backup")
    took = {name: mean(laps) for name, laps in seconds.items()}
    extras = {
        "MB": size / 1e6,
        "MB of the backup": kept / 1e6,
        "cp s": took["cp"],
        "writing s": took["writing"],
        "SQLite's backup s": took["sqlite"],
        "restore s": took["restore"],
        "backup before its proof s": took["taking"],
        "backup before its proof, times as fast as writing": took["writing"] / took["taking"],
        "backup, times as fast as cp": took["cp"] / took["backup"],
        "backup, times as fast as writing": took["writing"] / took["backup"],
        "restore, times as fast as cp": took["cp"] / took["restore"],
        "restore, times as fast as writing": took["writing"] / took["restore"],
        "backup, times as fast as SQLite's": took["sqlite"] / took["backup"],
        "restore, times as fast as SQLite's backup": took["sqlite"] / took["restore"],
    }
    return Measurement(took["backup"], extras=extras)


def _taken(peer: Holdfast, scratch: Path) -> None:
    peer.backup_unproved(scratch / "backup")


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync_file(target)


WORKLOADS = [
    Workload(
        name="restore",
        title="restore of a full backup, recovered and checked",
        unit="s",
        more_is_better=False,
        measure=_restore,
        limit=WRITING_AS_MUCH,
        without=only_holdfast,
    ),
    Workload(
        name="increment",
        title="size of an increment after 1 % of the rows, neighbours, have changed",
        unit="% of the database",
        more_is_better=False,
        measure=_increment,
        without=only_holdfast,
        minor=True,
        goals=(Goal("", 3.0),),
    ),
    Workload(
        name="copies",
        title="hot backup and restore beside SQLite's, cp and bare writing, all synced, in turns",
        unit="s",
        more_is_better=False,
        measure=_copies,
        without=only_holdfast,
        minor=True,
    ),
]
