"""How soon damage is found and mended, and what looking for it costs."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.bench import Bench, Measurement
from tests.bench.clock import lap
from tests.bench.files import copy
from tests.bench.peers.base import Peer
from tests.bench.peers.holdfast import opened
from tests.bench.workload import Goal, Workload, only_holdfast

if TYPE_CHECKING:
    from engine import Database

_MOST_S = 20.0
"""Of a round, to see what it takes of the processor."""
_COVERED_S = 300.0
"""The background check covers the whole database within this time, where the disk allows it."""
_TABLE = {
    "name": "rows",
    "columns": [
        {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
        {"name": "words", "type": "text", "declared": "TEXT", "not_null": False},
    ],
    "primary_key": ["id"],
    "indexes": [],
}


def _damage(directory: Path, page: int) -> None:
    with (directory / "database.holdfast").open("r+b") as file:
        file.seek(page * 8192 + 300)
        file.write(b"what a disk made up!")


def _leaf(database: Database) -> int:
    """The last page of rows in the file: of the tree that was made last."""
    pages = database.status().pages
    found = ((page, database.store.page_info(page)) for page in reversed(range(pages)))
    leaves = [(int(info["tree"]), page) for page, info in found if info["ok"] and info["kind"] == "leaf"]
    return max(leaves)[1]


def _forget_log(database: Database) -> None:
    """No log that is in use reaches back to a full image of any page."""
    for _ in range(3):
        database.store.rotate_log()
        database.checkpoint()


def _page_repair(bench: Bench, kind: type[Peer]) -> Measurement:
    """One page whose history has left the log, from the backup and the archive since."""
    from engine.errors import ChecksumMismatch
    from engine.integrity.findings import Checker
    from engine.integrity.repair import repair_found_page

    with bench.place() as place:
        directory = copy(bench.base(kind), place / "copy.holdfast")
        with opened(directory, bench.opening(), archive_log=True) as database:
            database.backups.full_task(database.keeper.folder).run()
            for part in range(10):
                keys = bench.data.keys[part::10]
                with database.transaction() as txn:
                    txn.tree("bench").put_many((key, bench.data.value(1, part)) for key in keys)
            logged = database.status().log.bytes_written
            _forget_log(database)
            page = _leaf(database)
        _damage(directory, page)
        with opened(directory, bench.opening(), archive_log=True) as database:
            code = ChecksumMismatch.code
            finding = database.integrity.report_page(page, code, "damaged by the benchmark", Checker.CHECK)
            assert finding is not None
            with lap() as timed:
                line = repair_found_page(database, finding)
            assert line.verified
    return Measurement(timed.seconds, extras={"log MB since the backup": logged / 1e6})


def _index_repair(bench: Bench, kind: type[Peer]) -> Measurement:
    """An index with a page that nothing reaches is built anew from its table, and everything is checked."""
    from engine.integrity.plan import advise_task
    from engine.integrity.repair import repair_task

    rows = bench.settings.rows
    with bench.place() as place:
        directory = place / "indexed.holdfast"
        with opened(directory, bench.opening(), segment_size="1 MiB") as database:
            with database.transaction() as txn:
                txn.create_table(json.dumps(_TABLE))
                words = ((row, f"{bench.data.keys[row].decode()} of row {row}") for row in range(rows))
                txn.table("rows").insert_many(words)
                txn.create_index("rows", "rows_words", ["words"])
            _forget_log(database)
            page = _leaf(database)
        _damage(directory, page)
        with opened(directory, bench.opening()) as database:
            database.check()
            plan = advise_task(database, database.integrity.findings()).run()
            assert [index.index for index in plan.indexes] == ["rows_words"]
            with lap() as timed:
                report = repair_task(database, plan).run()
            assert report.check.ok
    return Measurement(timed.seconds, extras={"rows": rows, "rows/s": rows / timed.seconds})


def _detection(bench: Bench, kind: type[Peer]) -> Measurement:
    """From the damage of a page that nobody reads to the finding, by a round of the background check.

    The round goes at the pace that the settings ask for; the share of the processor is that of its thread
    while it finds nothing.
    """
    from engine.integrity.scrubber import scrub_task

    with bench.place() as place:
        directory = copy(bench.base(kind), place / "copy.holdfast")
        with opened(directory, bench.opening(), enable_continuous_validation=False) as database:
            page, pages = _leaf(database), database.status().pages
            share = _share_of_processor(database)
        _damage(directory, page)
        with opened(directory, bench.opening(), enable_continuous_validation=False) as database:
            with lap() as timed:
                scrub_task(database).run()
            found = [*database.integrity.findings(), *database.integrity.findings(closed=True)]
            assert any(finding.page == page for finding in found)
    extras = {
        "pages": pages,
        "pages/s": pages / timed.seconds,
        "% of processor": 100 * share,
    }
    return Measurement(timed.seconds, extras=extras)


def _share_of_processor(database: Database) -> float:
    """What the thread of the background check takes while it reads pages."""
    ended = threading.Event()
    with closing(database.events.subscribe(lambda _event: ended.set(), ("scrub_round_finished",))):
        database.integrity.scrubber.begin_round()
        (thread,) = [one for one in threading.enumerate() if one.name == "holdfast-scrubber"]
        with lap() as timed:
            before = _processor_s(thread)
            ended.wait(_MOST_S)
            used = _processor_s(thread) - before
        database.integrity.scrubber.pause()
    return used / timed.seconds


def _processor_s(thread: threading.Thread) -> float:
    """What a thread has taken by now; the whole process where a thread has no clock."""
    if not hasattr(time, "pthread_getcpuclockid") or thread.ident is None:
        return time.process_time()
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _scrub_cost(bench: Bench, kind: type[Peer]) -> Measurement:
    """How much longer the same work takes while the background check covers the database, in percent.

    Taken in turns: without, with, with, without.
    """
    seconds = {True: 0.0, False: 0.0}
    for is_on in (False, True, True, False):
        with bench.place() as place:
            directory = copy(bench.base(kind), place / "copy.holdfast")
            settings = {"sync_mode": "off", "enable_continuous_validation": is_on}
            with opened(directory, bench.opening(), **settings) as database:
                if is_on:
                    database.integrity.scrubber.begin_round()
                spec = {"threads": 1, "keys": bench.settings.rows, "value_bytes": 150, "read_share": 0.5}
                done = database.load_task({**spec, "operations": 4 * bench.settings.rows}).run()
        seconds[is_on] += float(done["seconds"])
    extras = {"seconds without": seconds[False] / 2}
    return Measurement((seconds[True] / seconds[False] - 1) * 100, extras=extras)


WORKLOADS = [
    Workload(
        name="page-repair",
        title="repair of a page whose log is gone, from a backup and the archive",
        unit="s",
        more_is_better=False,
        measure=_page_repair,
        without=only_holdfast,
        minor=True,
        goals=(Goal("", 10.0),),
    ),
    Workload(
        name="index-repair",
        title="repair of an index with a page that nothing reaches, from its table, and the check of all",
        unit="s",
        more_is_better=False,
        measure=_index_repair,
        without=only_holdfast,
        minor=True,
        goals=(Goal("", 300.0),),
    ),
    Workload(
        name="detection",
        title="from the damage of a page to its finding, by the background check",
        unit="s",
        more_is_better=False,
        measure=_detection,
        without=only_holdfast,
        minor=True,
        goals=(Goal("", _COVERED_S), Goal("% of processor", 1.0)),
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
