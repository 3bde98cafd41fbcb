"""What it costs to keep copies, to find damage and to mend it: Holdfast against what the disk can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.bench import Bench, Measurement
from tests.bench.clock import lap
from tests.bench.files import copy
from tests.bench.peers.base import Peer, size_of
from tests.bench.settings import Opening
from tests.bench.workload import WRITING_AS_MUCH, Workload, only_holdfast

if TYPE_CHECKING:
    from engine import Database

_SHARE = 0.01
"""Of the rows that are changed before an increment."""


def _open(path: Path, opening: Opening, **settings: Any) -> Database:
    import engine
    from engine.config import Config

    config = Config().changed(cache_size=opening.cache_bytes, max_memory_usage="8 GiB", **settings)
    return engine.open(path, config=config)


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
        with _open(directory, bench.opening()) as database:
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


def _damage(directory: Path, page: int) -> None:
    with (directory / "database.holdfast").open("r+b") as file:
        file.seek(page * 8192 + 300)
        file.write(b"what a disk made up!")


def _leaf(database: Database) -> int:
    """The last page of rows in the file."""
    return next(page for page in reversed(range(database.status().pages)) if _is_leaf(database, page))


def _is_leaf(database: Database, page: int) -> bool:
    info = database.store.page_info(page)
    return bool(info["ok"] and info["kind"] == "leaf" and info["tree"] > 1)


def _page_repair(bench: Bench, kind: type[Peer]) -> Measurement:
    """One page whose history has left the log, from the backup and the archive since."""
    from engine.errors import ChecksumMismatch
    from engine.integrity.findings import Checker
    from engine.integrity.repair import repair_found_page

    with bench.place() as place:
        directory = copy(bench.base(kind), place / "copy.holdfast")
        with _open(directory, bench.opening(), archive_log=True) as database:
            database.backups.full_task(database.keeper.folder).run()
            for part in range(10):
                keys = bench.data.keys[part::10]
                with database.transaction() as txn:
                    txn.tree("bench").put_many((key, bench.data.value(1, part)) for key in keys)
            logged = database.status().log.bytes_written
            for _ in range(3):
                database.store.rotate_log()
                database.checkpoint()
            page = _leaf(database)
        _damage(directory, page)
        with _open(directory, bench.opening(), archive_log=True) as database:
            code = ChecksumMismatch.code
            finding = database.integrity.report_page(page, code, "damaged by the benchmark", Checker.CHECK)
            assert finding is not None
            with lap() as timed:
                line = repair_found_page(database, finding)
            assert line.verified
    return Measurement(timed.seconds, extras={"log MB since the backup": logged / 1e6})


def _detection(bench: Bench, kind: type[Peer]) -> Measurement:
    """From the damage of a page that nobody reads to the finding, by a round of the background check."""
    from engine.integrity.scrubber import scrub_task

    with bench.place() as place:
        directory = copy(bench.base(kind), place / "copy.holdfast")
        with _open(directory, bench.opening()) as database:
            page, pages = _leaf(database), database.status().pages
        _damage(directory, page)
        with _open(directory, bench.opening()) as database:
            with lap() as timed:
                scrub_task(database).run()
            found = [*database.integrity.findings(), *database.integrity.findings(closed=True)]
            assert any(finding.page == page for finding in found)
    return Measurement(timed.seconds, extras={"pages": pages, "pages/s": pages / timed.seconds})


def _scrub_cost(bench: Bench, kind: type[Peer]) -> Measurement:
    """How much longer the same work takes while the background check covers the database, in percent.

    Taken in turns: without, with, with, without.
    """
    seconds = {True: 0.0, False: 0.0}
    for is_on in (False, True, True, False):
        with bench.place() as place:
            directory = copy(bench.base(kind), place / "copy.holdfast")
            settings = {"sync_mode": "off", "enable_continuous_validation": is_on}
            with _open(directory, bench.opening(), **settings) as database:
                if is_on:
                    database.integrity.scrubber.begin_round()
                spec = {"threads": 1, "keys": bench.settings.rows, "value_bytes": 150, "read_share": 0.5}
                done = database.load_task({**spec, "operations": 4 * bench.settings.rows}).run()
        seconds[is_on] += float(done["seconds"])
    extras = {"seconds without": seconds[False] / 2}
    return Measurement((seconds[True] / seconds[False] - 1) * 100, extras=extras)


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
    ),
    Workload(
        name="page-repair",
        title="repair of a page whose log is gone, from a backup and the archive",
        unit="s",
        more_is_better=False,
        measure=_page_repair,
        without=only_holdfast,
        minor=True,
    ),
    Workload(
        name="detection",
        title="from the damage of a page to its finding, by the background check",
        unit="s",
        more_is_better=False,
        measure=_detection,
        without=only_holdfast,
        minor=True,
    ),
    Workload(
        name="scrub",
        title="time that the background check adds to half gets, half puts, not synced",
        unit="%",
        more_is_better=False,
        measure=_scrub_cost,
        without=only_holdfast,
        minor=True,
    ),
]
