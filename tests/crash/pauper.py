"""The process that has too little memory: `python -m tests.crash.pauper PATH ORDERS`.

`ORDERS` is JSON: `work`, one of `WORKS` or `OPENINGS`; `spare_bytes`, so many more addresses than it has
once it is ready; and `value_bytes`. It says, in lines of JSON: `did WORK CODE` with the code of the error,
0 for none; `committed NUMBER` once a commit has returned; `ended`. What it commits is numbered, so that
who looks afterwards knows what must be there.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil

import engine
from engine import catalogue
from engine.backups.restore import restore_task
from engine.config import Config
from engine.data.importing import plan_import
from engine.database import Database
from engine.errors import HoldfastError, from_exception
from engine.opening import recover_task
from engine.recovery.fallbacks import salvage_task
from engine.tasks import Task
from tests.crash.writer import Channel

TREE = "ledger"
WRONG = 4
_BATCH = 4000


def value_of(number: int, size: int) -> bytes:
    """What commit `number` puts under its key; ends with the number."""
    return (b"%08d" % number) * (size // 8)


def key_of(number: int) -> bytes:
    return b"%08d" % number


class Pauper:
    """One piece of work on an open database."""

    def __init__(self, database: Database, size: int, channel: Channel) -> None:
        self._database, self._size, self._tell = database, size, channel.tell
        self._folder = Path(database.path).parent
        with database.transaction(read_only=True) as txn:
            self._next = len(txn.tree(TREE, create=False))
        # The kernel is to lack memory, not who makes what it is given.
        self._values = [value_of(self._next + number, size) for number in range(3)]
        self._rows = [(b"batch %08d" % row, b"b" * (size // _BATCH)) for row in range(_BATCH)]
        self._source = self._folder / "rows.csv"
        with self._source.open("w", encoding="utf-8") as file:
            file.write("id,text\n")
            file.writelines(f"{row},{'t' * 200}\n" for row in range(size // 100))

    def put(self) -> None:
        """Long values, each in a transaction of its own, and one that is given up."""
        for value in self._values:
            with self._database.transaction() as txn:
                txn.tree(TREE)[key_of(self._next)] = value
            self._tell("committed", self._next)
            self._next += 1
        with self._database.transaction() as txn:
            txn.tree(TREE)[b"never"] = self._values[0]
            txn.abort()

    def get(self) -> None:
        """Long values one by one."""
        with self._database.transaction(read_only=True) as txn:
            tree = txn.tree(TREE, create=False)
            for number in range(self._next):
                if not tree[key_of(number)].endswith(key_of(number)):
                    raise AssertionError(f"{number} has another value")

    def scan(self) -> None:
        """All of them in order, and backwards."""
        with self._database.transaction(read_only=True) as txn:
            tree = txn.tree(TREE, create=False)
            for reverse in (False, True):
                if sum(1 for _ in tree.items(reverse=reverse)) != self._next:
                    raise AssertionError("a scan met another number of records")

    def batch(self) -> None:
        """Many records at once, and all of them taken back."""
        with self._database.transaction() as txn:
            txn.tree("batch").put_many(self._rows)
            txn.abort()

    def load(self) -> None:
        """A file into a new table."""
        self._database.tables.import_task(plan_import(self._source)).run()

    def check(self) -> None:
        if not self._database.check().ok:
            raise AssertionError("a check has found problems")

    def backup(self) -> None:
        self._database.backups.full_task(self._folder / "backups").run()

    def snapshot(self) -> None:
        self._database.snapshots.take_task(f"at {self._next}").run()

    def checkpoint(self) -> None:
        self._database.checkpoint()


WORKS = ("put", "get", "scan", "batch", "load", "check", "backup", "snapshot", "checkpoint")
LATE = Config(recover_on_demand=False)


def _recover(path: str) -> None:
    recover_task(path, LATE).run().close()


def _salvage(path: str) -> None:
    salvage_task(path, Path(path).parent / "salvaged.holdfast").run()


def _restore(path: str) -> None:
    backups = Path(path).parent / "backups"
    restored: Task[object] = restore_task(backups, Path(path).parent / "restored.holdfast")  # type: ignore[assignment]
    restored.run()


OPENINGS: dict[str, Callable[[str], object]] = {
    "open": lambda path: engine.open(path).close(),
    "recover": _recover,
    "salvage": _salvage,
    "restore": _restore,
}
"""What is done with a database that nobody has open, most of them after a kill."""


def limit(spare_bytes: int) -> None:
    """From here on the process may have only so many more addresses."""
    import resource

    most = psutil.Process().memory_info().vms + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _code_of(error: BaseException) -> int:
    try:
        return from_exception(error).code
    except MemoryError:
        # The interpreter has not even the memory for the words.
        return -27


def _attempt(work: Callable[[], object], name: str, channel: Channel) -> None:
    code = 0
    try:
        work()
    except (HoldfastError, MemoryError) as error:
        code = _code_of(error)
    except RuntimeError as error:
        # What the interpreter says where a thread finds no room.
        if "can't start new thread" not in str(error):
            raise
        code = -27
    channel.tell("did", name, code)


def main(path: str, work: str, spare_bytes: int, value_bytes: int) -> int:
    """Open the database, take the memory away, and work."""
    channel = Channel()
    status = 0
    try:
        if work in OPENINGS:
            catalogue.entries()
            limit(spare_bytes)
            _attempt(lambda: OPENINGS[work](path), work, channel)
        else:
            database = engine.open(path)
            pauper = Pauper(database, value_bytes, channel)
            limit(spare_bytes)
            _attempt(getattr(pauper, work), work, channel)
            _attempt(database.close, "close", channel)
        channel.tell("ended")
    except BaseException:
        channel.tell("wrong", traceback.format_exc())
        status = WRONG
    # The interpreter's own end needs memory too, and is not what is looked at.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], **json.loads(sys.argv[2])))
