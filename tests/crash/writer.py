"""The process that is killed: opens a database, says what it holds, and writes until it dies.

Run as `python -m tests.crash.writer PATH SEED WAY`. The way is "whole", "early" (it opens the database
after analysis, and the recovery goes on meanwhile), "blind" (early, and it writes at once, without
having read what the database holds; the next life will) or "mirrored" (whole, and each commit waits for a
new mirror beside it). It speaks in lines of JSON on standard output,
each a list that begins with its kind:

    opening                           engine.open is about to be called
    opened SECONDS RECOVERY           it returned; what the recovery did, or null
    redone                            the recovery that went on meanwhile is through
    stands STANDS                     blind: the newest transaction of each thread
    contents PART                     what the database holds
    checked PROBLEMS                  what the check found
    ready
    intent THREAD NUMBER              the transaction is about to commit
    done THREAD NUMBER                commit has returned
    refused THREAD                    commit has raised that the transaction lost to another one
    figures NAMES                     counters since the database was opened
    wrong TEXT                        something that must not happen; the process ends
    closed

and listens on standard input: `go` begins the writing, `close` ends it with a clean shutdown.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import engine
from engine import bridge
from engine.config import Config
from engine.database import Database
from engine.errors import Deadlock, SnapshotTooOld, TableNotFound, TreeNotFound, WriteConflict
from tests.crash import contents
from tests.crash.script import (
    COUNTERS,
    LEDGER,
    THREADS,
    Delete,
    DeleteRow,
    DropTable,
    DropTree,
    Note,
    Put,
    PutRow,
    Raise,
    RollBack,
    Savepoint,
    Script,
    SetIndex,
    Step,
    draw,
)

CONFIG = Config().changed(
    cache_size="512 KiB",  # 64 pages: most of the data is not in memory
    segment_size="1 MiB",
    log_buffer="1 MiB",
    checkpoint_log_volume="4 MiB",
    lock_timeout="20 s",
)
WRONG = 4
"""The exit status of a process that met something that must not happen."""

UNFINISHED = "unfinished"
"""The tree of a transaction that is never committed."""

_UNFINISHED_RECORDS = 1000
_BETWEEN_UNFINISHED_S = 0.0005
_FIGURES_EVERY_S = 0.02
_CHECKPOINT_EVERY_S = 0.15
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1
_MIRROR_S = 60.0
_LOOK_S = 0.01
_LOST_TO_ANOTHER = (Deadlock, WriteConflict, SnapshotTooOld)


class Channel:
    """Standard output as a pipe of lines, each written with one call: a kill cuts at most the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = os.dup(sys.stdout.fileno())

    def tell(self, kind: str, *values: Any) -> None:
        line = memoryview(json.dumps([kind, *values]).encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._file, line) :]


class Writer:
    """The threads at work on one open database."""

    def __init__(self, database: Database, seed: int, channel: Channel) -> None:
        self._database, self._seed, self._tell = database, seed, channel.tell
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, stands: dict[int, int]) -> None:
        """Each thread goes on after the transaction that the ledger names."""
        for thread in range(THREADS):
            self._begin(self._write, thread, stands.get(thread, -1) + 1)
        self._begin(self._never_commit)
        self._begin(self._take_checkpoints)
        self._begin(self._tell_figures)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Any, *arguments: Any) -> None:
        def guarded() -> None:
            try:
                work(*arguments)
            except BaseException:
                self._tell("wrong", traceback.format_exc())
                os._exit(WRONG)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _write(self, thread: int, number: int) -> None:
        while not self._over.is_set():
            script = draw(self._seed, thread, number)
            pause = _FIRST_PAUSE_S
            while not self._attempt(script):
                # Drawn at random, so that the same two do not meet again.
                self._over.wait(random.uniform(0, pause))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            number += 1

    def _attempt(self, script: Script) -> bool:
        """Carry a transaction out; False where it lost to another one and is to be done again."""
        txn = self._database.begin(script.isolation)
        try:
            for step in script.steps:
                carry_out(txn, step)
        except _LOST_TO_ANOTHER:
            txn.abort()
            return False
        if not script.commits:
            txn.abort()
            return True
        self._tell("intent", script.thread, script.number)
        try:
            txn.commit()
        except _LOST_TO_ANOTHER:
            self._tell("refused", script.thread)
            return False
        self._tell("done", script.thread, script.number)
        return True

    def _never_commit(self) -> None:
        """A long transaction that recovery has to undo, or its own thread: nothing of it may ever be seen."""
        while not self._over.is_set():
            txn = self._database.begin()
            with suppress(*_LOST_TO_ANOTHER):
                tree = txn.tree(UNFINISHED)
                for number in range(_UNFINISHED_RECORDS):
                    tree[b"%06d" % number] = b"never committed" * 10
                    if self._over.wait(_BETWEEN_UNFINISHED_S):
                        break
            txn.abort()

    def _take_checkpoints(self) -> None:
        while not self._over.wait(_CHECKPOINT_EVERY_S):
            self._database.checkpoint()

    def _tell_figures(self) -> None:
        while not self._over.wait(_FIGURES_EVERY_S):
            self._tell("figures", figures(self._database))


def carry_out(txn: bridge.Transaction, step: Step) -> None:
    """One operation of a script."""
    match step:
        case Put(tree, key, content):
            txn.tree(tree)[key] = content.data()
        case Delete(tree, key):
            txn.tree(tree).pop(key, None)
        case PutRow(table, row_id):
            _put_row(_table(txn, table), row_id, step)
        case DeleteRow(table, row_id):
            _table(txn, table).delete(row_id)
        case SetIndex(table, wanted):
            _table(txn, table)
            contents.set_index(txn, table, contents.NAMES, wanted=wanted)
        case DropTable(table):
            with suppress(TableNotFound):
                txn.drop_table(table)
        case Raise():
            counters = txn.tree(COUNTERS)
            counters[step.key] = b"%d" % (int(counters.get(step.key, b"0")) + 1)
        case Note():
            txn.tree(LEDGER)[step.key] = step.value
        case DropTree(tree):
            with suppress(TreeNotFound):
                txn.drop_tree(tree)
        case Savepoint():
            txn.savepoint("middle")
        case RollBack():
            txn.rollback_to("middle")


def _put_row(table: bridge.Table, row_id: int, step: PutRow) -> None:
    row = step.row()
    if not table.update(row_id, {"name": row.name, "code": row.code, "data": row.data}):
        table.insert(row)


def _table(txn: bridge.Transaction, name: str) -> bridge.Table:
    try:
        return txn.table(name)
    except TableNotFound:
        return txn.create_table(contents.schema(name))


def figures(database: Database) -> dict[str, int]:
    """What happened since the database was opened."""
    status = database.status()
    return {
        "evictions": status.cache.evictions,
        "pages_written": status.cache.pages_written,
        "rotations": status.log.rotations,
        "checkpoints": status.checkpoint.count,
        "splits": status.splits,
        "log_bytes": status.log.bytes_written,
        "conflicts": status.transactions.conflicts,
        "deadlocks": status.transactions.deadlocks,
    }


def open_and_tell(path: str, way: str, channel: Channel) -> tuple[Database, dict[int, int]]:
    """Open the database, recovering it, and say all that it holds; where each thread stands."""
    channel.tell("opening")
    began = time.monotonic()
    settings = CONFIG.changed(recover_on_demand=way in ("early", "blind"))
    if way == "mirrored":
        # No commit goes on without the mirror, however slow the machine is.
        settings = settings.changed(mirror_loss_action="wait", mirror_timeout=_MIRROR_S)
    database = engine.open(path, config=settings, recovery="auto")
    report = database.recovery_report
    recovery = None
    if report is not None:
        losers = len(report.analysis["losers"])
        undone = report.undo.get("records", 0)
        early = report.on_demand
        recovery = {"seconds": report.seconds, "losers": losers, "undone": undone, "is_early": early}
    channel.tell("opened", time.monotonic() - began, recovery)
    if recovery is not None and recovery["is_early"]:
        database.events.subscribe(lambda _: channel.tell("redone"), kinds=["recovery_completed"])
    contents.prepare(database)
    if way == "blind":
        stands = contents.stands(database)
        channel.tell("stands", list(stands.items()))
        channel.tell("ready")
        return database, stands
    stands = {}
    for part in contents.read(database):
        channel.tell("contents", part)
        if part[0] == "stands":
            stands = dict(part[2])
    channel.tell("checked", [asdict(problem) for problem in database.check().problems])
    if way == "mirrored":
        mirror_anew(database)
    channel.tell("ready")
    return database, stands


def mirror_of(path: Path) -> Path:
    """Where the mirror of the database in `path` lies: they have numbers."""
    name, _, number = path.stem.rpartition(" ")
    return path.with_name(f"{name} {int(number) + 1}{path.suffix}")


def mirror_anew(database: Database) -> None:
    """Keep one mirror, a new one; returns once commits wait for it."""
    for info in database.mirrors.list():
        database.mirrors.remove(info.path)
    place = mirror_of(database.path)
    database.mirrors.add(place, synchronous=True)
    due = time.monotonic() + _MIRROR_S
    while not database.mirrors.find(place).in_step:
        assert time.monotonic() < due, database.mirrors.find(place)
        time.sleep(_LOOK_S)


def main(path: str, seed: int, way: str) -> None:
    """Work as told until killed, told to close, or left alone."""
    faulthandler.enable()
    channel = Channel()
    try:
        database, stands = open_and_tell(path, way, channel)
        writer = Writer(database, seed, channel)
        for line in sys.stdin:
            if line == "go\n":
                writer.start(stands)
            elif line == "close\n":
                writer.stop()
                database.close()
                channel.tell("closed")
                return
    except BaseException:
        channel.tell("wrong", traceback.format_exc())
        _end(WRONG)
    # Whoever listened is gone: nothing more can be proved.
    _end(0)


def _end(status: int) -> NoReturn:
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
