"""The process that works until it is stopped: `python -m tests.crash.labourer PATH ORDERS`.

`ORDERS` is JSON, see `Orders`. It says, in lines of JSON: `opened`; `done THREAD NUMBER` when commit has
returned; `checkpoint` before one is taken; `refused CODE` when an error stopped a thread, which then stops;
`full` when so much log was written; `closed`. On standard input `close` ends it with a clean shutdown.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

import engine
from engine.bridge import Transaction
from engine.config import load
from engine.database import Database
from engine.errors import DiskFull, HoldfastError, from_exception
from tests.crash.workload import LEDGER, UNFINISHED, Shape, carry_out, prepare
from tests.crash.writer import Channel

WRONG = 4
_GREED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process is to do."""

    log_bytes: int
    """It says `full` after so much log."""
    threads: int = 1
    records: int = 20
    value_bytes: int = 1000
    cache: str = ""
    """The size of the cache, where it is not that of the settings."""
    losers: int = 0
    """Transactions that never end, each with `loser_changes` changes."""
    loser_changes: int = 100
    checkpoints: bool = False
    """Without a pause, on a thread of its own."""
    memory_bytes: int = 0
    """Once full: may take only so much more, and takes it."""
    stops: bool = True
    """Ends its work when it is full."""

    @property
    def shape(self) -> Shape:
        return Shape(self.threads, self.records, self.value_bytes)


class Labourer:
    """The threads at work on one database."""

    def __init__(self, database: Database, orders: Orders, channel: Channel) -> None:
        self._database, self._orders, self._tell = database, orders, channel.tell
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[Transaction] = []

    def start(self) -> None:
        for thread in range(self._orders.threads):
            self._begin(lambda thread=thread: self._work(thread))
        if self._orders.checkpoints:
            self._begin(self._take_checkpoints)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def hold_losers(self) -> None:
        """Begin those that never end; what they have changed is on the disk afterwards."""
        with self._database.transaction() as txn:
            txn.tree(UNFINISHED)
        for loser in range(self._orders.losers):
            txn = self._database.begin()
            tree = txn.tree(UNFINISHED)
            for change in range(self._orders.loser_changes):
                tree[b"%06d-%08d" % (loser, change)] = b"never committed" * 4
            self._open.append(txn)
        self._database.flush()

    def be_greedy(self) -> None:
        """Take all the memory there is, then go on."""
        import resource

        limit = psutil.Process().memory_info().vms + self._orders.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        held: list[bytes] = []
        for size in (_GREED_BYTES, _GREED_BYTES >> 4, _GREED_BYTES >> 8):
            try:
                while True:
                    held.append(b"m" * size)
            except MemoryError:
                # Full for pieces of this size: now for a transaction that needs some as well.
                pass
            try:
                with self._database.transaction() as txn:
                    txn.tree(UNFINISHED)[b"greed"] = b"g" * size
                    txn.abort()
            except (MemoryError, HoldfastError) as error:
                held.clear()
                self._tell("refused", from_exception(error).code)
                return

    def _begin(self, work: object) -> None:
        def guarded() -> None:
            try:
                work()  # type: ignore[operator]
            except (HoldfastError, MemoryError) as error:
                self._tell("refused", from_exception(error).code)
            except BaseException:
                self._tell("wrong", traceback.format_exc())

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, thread: int) -> None:
        orders, database = self._orders, self._database
        with database.transaction(read_only=True) as txn:
            noted = txn.tree(LEDGER).get(b"%04d" % thread)
        number = 0 if noted is None else int(noted) + 1
        is_told = False
        while not self._over.is_set():
            if not is_told and database.status().log.bytes_written >= orders.log_bytes:
                self._tell("full")
                if orders.stops:
                    return
                is_told = True
            for _ in range(max(1, 400 // orders.records)):
                with database.transaction("read_committed") as txn:
                    carry_out(txn, thread, number, orders.shape)
                self._tell("done", thread, number)
                number += 1

    def _take_checkpoints(self) -> None:
        while not self._over.is_set():
            self._tell("checkpoint")
            self._database.checkpoint()
            time.sleep(0.01)


def main(path: str, orders: Orders) -> int:
    """Work as ordered until it is killed or told to close."""
    channel = Channel()
    try:
        settings = load(Path(path))
        settings = settings.changed(cache_size=orders.cache) if orders.cache else settings
        database = engine.open(path, config=settings)
        if LEDGER not in database.trees():
            with database.transaction() as txn:
                prepare(txn, orders.shape)
        channel.tell("opened")
        labourer = Labourer(database, orders, channel)
        labourer.start()
        if orders.stops:
            labourer.join()
            # Where the disk is full by now, there is no room for any.
            with suppress(DiskFull):
                labourer.hold_losers()
        if orders.memory_bytes:
            labourer.be_greedy()
        channel.tell("ready")
        for line in sys.stdin:
            if line == "close\n":
                labourer.stop()
                database.close()
                channel.tell("closed")
                return 0
    except BaseException:
        channel.tell("wrong", traceback.format_exc())
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Orders(**json.loads(sys.argv[2]))))
