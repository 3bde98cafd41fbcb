"""LMDB through lmdb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lmdb

from tests.bench.data import Operation, Pair
from tests.bench.files import sync_file
from tests.bench.peers.base import Peer, Session, size_of
from tests.bench.settings import Opening

_MAP_BYTES = 16 << 30


class _Session(Session):
    def __init__(self, environment: lmdb.Environment) -> None:
        self._begin = environment.begin

    def read(self, key: bytes) -> bytes | None:
        with self._begin() as txn:
            found: bytes | None = txn.get(key)
        return found

    def write(self, key: bytes, value: bytes) -> None:
        with self._begin(write=True) as txn:
            txn.put(key, value)

    def write_batch(self, pairs: Sequence[Pair]) -> None:
        with self._begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(pairs)

    def modify(self, key: bytes, value: bytes) -> None:
        with self._begin(write=True) as txn:
            txn.get(key)
            txn.put(key, value)

    def range(self, start: bytes, count: int) -> int:
        seen = 0
        with self._begin() as txn, txn.cursor() as cursor:
            if cursor.set_range(start):
                for _ in cursor:
                    seen += 1
                    if seen == count:
                        break
        return seen

    def close(self) -> None:
        """Nothing is held between calls."""


class Lmdb(Peer):
    name = "LMDB"
    settings_stated = "a memory map, no cache of its own and no log; sync on or off; no write map"
    has_log = False

    def __init__(self, directory: Path, opening: Opening) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._environment = lmdb.open(
            str(directory),
            map_size=_MAP_BYTES,
            sync=opening.durable,
            metasync=opening.durable,
            max_readers=256,
        )

    @classmethod
    def version(cls) -> str:
        return ".".join(str(part) for part in lmdb.version())

    def close(self) -> None:
        self._environment.close()

    def session(self) -> Session:
        return _Session(self._environment)

    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        with self._environment.begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(pairs, append=is_sorted)
        self._environment.sync(True)

    def get_each(self, keys: Sequence[bytes]) -> int:
        found = 0
        with self._environment.begin() as txn:
            get = txn.get
            for key in keys:
                found += len(get(key) or b"")
        return found

    def put_each(self, pairs: Sequence[Pair]) -> None:
        with self._environment.begin(write=True) as txn:
            put = txn.put
            for key, value in pairs:
                put(key, value)

    def mix(self, operations: Sequence[Operation]) -> int:
        found = 0
        with self._environment.begin(write=True) as txn:
            get, put = txn.get, txn.put
            for key, value in operations:
                if value is None:
                    found += len(get(key) or b"")
                else:
                    put(key, value)
        return found

    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        seen = 0
        with self._environment.begin() as txn, txn.cursor() as cursor:
            for start in starts:
                left = count
                if cursor.set_range(start):
                    for _ in cursor:
                        left -= 1
                        if not left:
                            break
                seen += count - left
        return seen

    def scan(self) -> tuple[int, int]:
        rows = size = 0
        with self._environment.begin() as txn, txn.cursor() as cursor:
            for key, value in cursor:
                rows += 1
                size += len(key) + len(value)
        return rows, size

    def rows(self) -> list[Pair]:
        with self._environment.begin() as txn, txn.cursor() as cursor:
            return list(cursor)

    def sync(self) -> None:
        self._environment.sync(True)

    def log_bytes(self) -> int:
        return 0

    def data_bytes(self) -> int:
        return size_of(self._directory, "data.mdb")

    def backup(self, target: Path) -> None:
        target.mkdir()
        self._environment.copy(str(target))
        sync_file(target / "data.mdb")
