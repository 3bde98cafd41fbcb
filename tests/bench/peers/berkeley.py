"""Berkeley DB through berkeleydb: like Holdfast it has a log, locks and recovery."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from berkeleydb import db

from tests.bench.data import Operation, Pair
from tests.bench.files import sync_all
from tests.bench.peers.base import Peer, Session, size_of
from tests.bench.settings import Opening

_FILE = "bench.db"
_LOG_BUFFER = 16 << 20
_LOG_FILE = 64 << 20
_LOCKS = 500_000
_CHECKPOINT_KIB = 1 << 20
_CHECKPOINT_MINUTES = 5


class _Session(Session):
    def __init__(self, environment: Any, database: Any) -> None:
        self._environment = environment
        self._database = database

    def _again(self, work: Callable[[Any], None]) -> None:
        """Does `work` in a transaction, again where that lost to another one."""
        while True:
            txn = self._environment.txn_begin()
            try:
                work(txn)
            except db.DBLockDeadlockError:
                txn.abort()
            else:
                txn.commit()
                return

    def read(self, key: bytes) -> bytes | None:
        while True:
            try:
                found: bytes | None = self._database.get(key)
            except db.DBLockDeadlockError:
                continue
            return found

    def write(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                # The database was opened to commit each change by itself.
                self._database.put(key, value)
            except db.DBLockDeadlockError:
                continue
            return

    def write_batch(self, pairs: Sequence[Pair]) -> None:
        put = self._database.put

        def work(txn: Any) -> None:
            for key, value in pairs:
                put(key, value, txn)

        self._again(work)

    def modify(self, key: bytes, value: bytes) -> None:
        def work(txn: Any) -> None:
            self._database.get(key, txn=txn, flags=db.DB_RMW)
            self._database.put(key, value, txn)

        self._again(work)

    def range(self, start: bytes, count: int) -> int:
        while True:
            try:
                return _range(self._database, None, start, count)
            except db.DBLockDeadlockError:
                continue

    def close(self) -> None:
        """Nothing is held between calls."""


def _range(database: Any, txn: Any, start: bytes, count: int) -> int:
    cursor = database.cursor(txn)
    seen = 0
    try:
        row = cursor.set_range(start)
        step = cursor.next
        while row is not None:
            seen += 1
            if seen == count:
                break
            row = step()
    finally:
        cursor.close()
    return seen


class BerkeleyDb(Peer):
    name = "Berkeley DB"
    settings_stated = (
        "B-tree with transactions, log, locks and recovery; log buffer 16 MiB as Holdfast's; commits with or "
        "without sync; a checkpoint every 1 GiB of log or 5 minutes, Holdfast's defaults"
    )

    def __init__(self, directory: Path, opening: Opening) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._environment = _environment(directory, opening)
        self._database = self._open()
        self._closing = threading.Event()
        self._checkpoints = threading.Thread(target=self._make_checkpoints)
        self._keeps_log = opening.keeps_log
        if not self._keeps_log:
            self._checkpoints.start()

    def _open(self) -> Any:
        database = db.DB(self._environment)
        database.set_get_returns_none(2)
        flags = db.DB_CREATE | db.DB_THREAD | db.DB_AUTO_COMMIT
        database.open(_FILE, dbtype=db.DB_BTREE, flags=flags)
        return database

    def _make_checkpoints(self) -> None:
        while not self._closing.wait(1.0):
            self._environment.txn_checkpoint(_CHECKPOINT_KIB, _CHECKPOINT_MINUTES)

    @classmethod
    def version(cls) -> str:
        return ".".join(str(part) for part in db.version())

    def close(self) -> None:
        self._closing.set()
        if not self._keeps_log:
            self._checkpoints.join()
        self._database.close()
        self._environment.txn_checkpoint(0, 0, db.DB_FORCE)
        self._environment.close()

    def session(self) -> Session:
        return _Session(self._environment, self._database)

    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        self.put_each(pairs)
        self._environment.log_flush()

    def get_each(self, keys: Sequence[bytes]) -> int:
        found = 0
        txn = self._environment.txn_begin()
        get = self._database.get
        for key in keys:
            found += len(get(key, None, txn) or b"")
        txn.commit()
        return found

    def put_each(self, pairs: Sequence[Pair]) -> None:
        txn = self._environment.txn_begin()
        put = self._database.put
        for key, value in pairs:
            put(key, value, txn)
        txn.commit()

    def mix(self, operations: Sequence[Operation]) -> int:
        found = 0
        txn = self._environment.txn_begin()
        get, put = self._database.get, self._database.put
        for key, value in operations:
            if value is None:
                found += len(get(key, None, txn) or b"")
            else:
                put(key, value, txn)
        txn.commit()
        return found

    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        txn = self._environment.txn_begin()
        seen = sum(_range(self._database, txn, start, count) for start in starts)
        txn.commit()
        return seen

    def scan(self) -> tuple[int, int]:
        rows = size = 0
        cursor = self._database.cursor()
        row = cursor.first()
        step = cursor.next
        while row is not None:
            rows += 1
            size += len(row[0]) + len(row[1])
            row = step()
        cursor.close()
        return rows, size

    def rows(self) -> list[Pair]:
        return [(key, self._database.get(key)) for key in self._database.keys()]  # noqa: SIM118

    def sync(self) -> None:
        self._environment.log_flush()

    def log_bytes(self) -> int:
        figures = self._environment.log_stat()
        return (figures["cur_file"] - 1) * _LOG_FILE + figures["cur_offset"]

    def data_bytes(self) -> int:
        return size_of(self._directory, _FILE)

    def check(self) -> bool | None:
        self._environment.txn_checkpoint(0, 0, db.DB_FORCE)
        try:
            db.DB(self._environment).verify(_FILE)
        except db.DBVerifyBadError:
            return False
        return True

    def backup(self, target: Path) -> None:
        target.mkdir()
        self._environment.backup(str(target), db.DB_CREATE)
        sync_all(target)


def _environment(directory: Path, opening: Opening) -> Any:
    environment = db.DBEnv()
    environment.set_cachesize(opening.cache_bytes >> 30, opening.cache_bytes & ((1 << 30) - 1), 1)
    environment.set_lg_bsize(_LOG_BUFFER)
    environment.set_lg_max(_LOG_FILE)
    environment.set_lk_max_locks(_LOCKS)
    environment.set_lk_max_objects(_LOCKS)
    environment.set_lk_detect(db.DB_LOCK_MINWRITE)
    if not opening.durable:
        environment.set_flags(db.DB_TXN_NOSYNC, 1)
    parts = db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK
    environment.open(str(directory), parts | db.DB_CREATE | db.DB_THREAD | db.DB_RECOVER | db.DB_PRIVATE)
    return environment
