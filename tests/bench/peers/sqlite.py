"""SQLite through the standard library."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.bench.data import Operation, Pair
from tests.bench.files import sync_file
from tests.bench.peers.base import Peer, Session, size_of
from tests.bench.settings import Opening

_GET = "SELECT value FROM bench WHERE key = ?"
_PUT = "INSERT INTO bench VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_RANGE = "SELECT key, value FROM bench WHERE key >= ? ORDER BY key LIMIT ?"
_SCAN = "SELECT key, value FROM bench ORDER BY key"
_FILE = "bench.sqlite"


def _connect(directory: Path, opening: Opening) -> sqlite3.Connection:
    connection = sqlite3.connect(
        directory / _FILE, isolation_level=None, check_same_thread=False, timeout=120, cached_statements=32
    )
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs the log at each commit; NORMAL would sync at checkpoints only.
    connection.execute(f"PRAGMA synchronous = {'FULL' if opening.durable else 'OFF'}")
    connection.execute(f"PRAGMA cache_size = -{opening.cache_bytes // 1024}")
    if opening.keeps_log:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


class _Session(Session):
    def __init__(self, connection: sqlite3.Connection, writing: threading.Lock) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._writing = writing

    def read(self, key: bytes) -> bytes | None:
        row = self._execute(_GET, (key,)).fetchone()
        return row[0] if row else None

    def write(self, key: bytes, value: bytes) -> None:
        with self._writing:
            self._execute(_PUT, (key, value))

    def write_batch(self, pairs: Sequence[Pair]) -> None:
        with self._writing:
            self._execute("BEGIN IMMEDIATE")
            self._connection.executemany(_PUT, pairs)
            self._execute("COMMIT")

    def modify(self, key: bytes, value: bytes) -> None:
        with self._writing:
            self._execute("BEGIN IMMEDIATE")
            self._execute(_GET, (key,)).fetchone()
            self._execute(_PUT, (key, value))
            self._execute("COMMIT")

    def range(self, start: bytes, count: int) -> int:
        return len(self._execute(_RANGE, (start, count)).fetchall())

    def close(self) -> None:
        self._connection.close()


class Sqlite(Peer):
    name = "SQLite"
    settings_stated = (
        "log mode (WAL), synchronous FULL or OFF, table WITHOUT ROWID, prepared statements; threads have "
        "connections of their own and take turns to write, for waiting inside SQLite sleeps"
    )

    def __init__(self, directory: Path, opening: Opening) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._opening = opening
        self._writing = threading.Lock()
        self._connection = _connect(directory, opening)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS bench (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
        )

    @classmethod
    def version(cls) -> str:
        return sqlite3.sqlite_version

    def close(self) -> None:
        self._connection.close()

    def session(self) -> Session:
        # Memory for all of them together is that of one, as with the others.
        share = Opening(
            cache_bytes=self._opening.cache_bytes // 16,
            durable=self._opening.durable,
            keeps_log=self._opening.keeps_log,
        )
        return _Session(_connect(self._directory, share), self._writing)

    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO bench VALUES (?, ?)", pairs)
        self._connection.execute("COMMIT")

    def get_each(self, keys: Sequence[bytes]) -> int:
        found = 0
        execute = self._connection.execute
        execute("BEGIN")
        for key in keys:
            row = execute(_GET, (key,)).fetchone()
            if row:
                found += len(row[0])
        execute("COMMIT")
        return found

    def put_each(self, pairs: Sequence[Pair]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for pair in pairs:
            execute(_PUT, pair)
        execute("COMMIT")

    def mix(self, operations: Sequence[Operation]) -> int:
        found = 0
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for key, value in operations:
            if value is None:
                row = execute(_GET, (key,)).fetchone()
                if row:
                    found += len(row[0])
            else:
                execute(_PUT, (key, value))
        execute("COMMIT")
        return found

    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        seen = 0
        execute = self._connection.execute
        execute("BEGIN")
        for start in starts:
            for _ in execute(_RANGE, (start, count)):
                seen += 1
        execute("COMMIT")
        return seen

    def scan(self) -> tuple[int, int]:
        rows = size = 0
        for key, value in self._connection.execute(_SCAN):
            rows += 1
            size += len(key) + len(value)
        return rows, size

    def rows(self) -> list[Pair]:
        return list(self._connection.execute(_SCAN))

    def sync(self) -> None:
        """Nothing is held back: what was not synced is in the system's cache."""

    def log_bytes(self) -> int:
        return size_of(self._directory, f"{_FILE}-wal")

    def data_bytes(self) -> int:
        return size_of(self._directory, _FILE)

    def check(self) -> bool | None:
        answer: str = self._connection.execute("PRAGMA integrity_check").fetchone()[0]
        return answer == "ok"

    def backup(self, target: Path) -> None:
        target.mkdir()
        copy = sqlite3.connect(target / _FILE)
        self._connection.backup(copy, pages=-1)
        copy.close()
        sync_file(target / _FILE)
