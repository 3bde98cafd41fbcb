"""RocksDB through rocksdict, whose binding has write batches but no transactions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from rocksdict import (
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from tests.bench.data import Operation, Pair
from tests.bench.files import sync_all
from tests.bench.peers.base import Peer, Session, size_of
from tests.bench.settings import Opening

_BATCH = 10_000


def _options(opening: Opening) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_compression_type(DBCompressionType.none())
    # A quarter of the memory takes new rows up, the rest holds blocks.
    write_buffers = opening.cache_bytes // 4
    if opening.keeps_log:
        options.set_write_buffer_size(1 << 32)
        options.set_max_total_wal_size(1 << 40)
    else:
        options.set_write_buffer_size(max(write_buffers // 2, 1 << 16))
    table = BlockBasedOptions()
    table.set_block_cache(Cache(opening.cache_bytes - write_buffers))
    options.set_block_based_table_factory(table)
    options.increase_parallelism(2)
    return options


class _Session(Session):
    def __init__(self, database: Rdict, wishes: WriteOptions, modifying: threading.Lock) -> None:
        self._database = database
        self._wishes = wishes
        self._modifying = modifying

    def read(self, key: bytes) -> bytes | None:
        found: bytes | None = self._database.get(key)
        return found

    def write(self, key: bytes, value: bytes) -> None:
        self._database[key] = value

    def write_batch(self, pairs: Sequence[Pair]) -> None:
        _write(self._database, pairs, self._wishes)

    def modify(self, key: bytes, value: bytes) -> None:
        with self._modifying:
            self._database.get(key)
            self._database[key] = value

    def range(self, start: bytes, count: int) -> int:
        return _range(self._database, start, count)

    def close(self) -> None:
        """Nothing is held between calls."""


def _range(database: Rdict, start: bytes, count: int) -> int:
    left = count
    for _ in database.items(from_key=start):
        left -= 1
        if not left:
            break
    return count - left


def _write(database: Rdict, pairs: Sequence[Pair], wishes: WriteOptions) -> None:
    batch = WriteBatch(raw_mode=True)
    put = batch.put
    for key, value in pairs:
        put(key, value)
    database.write(batch, write_opt=wishes)


class RocksDb(Peer):
    name = "RocksDB"
    settings_stated = (
        "a quarter of the cache as write buffers; the log synced or not; the binding has no transactions: "
        "puts of one transaction are one write batch, mixed operations go singly, modifications under a mutex"
    )

    def __init__(self, directory: Path, opening: Opening) -> None:
        self._directory = directory
        self._database = Rdict(str(directory), _options(opening))
        self._wishes = WriteOptions()
        self._wishes.sync = opening.durable
        self._database.set_write_options(self._wishes)
        self._modifying = threading.Lock()

    @classmethod
    def version(cls) -> str:
        return f"rocksdict {metadata.version('rocksdict')}"

    def close(self) -> None:
        self._database.close()

    def session(self) -> Session:
        return _Session(self._database, self._wishes, self._modifying)

    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        wishes = WriteOptions()
        for start in range(0, len(pairs), _BATCH):
            _write(self._database, pairs[start : start + _BATCH], wishes)
        self._database.flush_wal(True)

    def get_each(self, keys: Sequence[bytes]) -> int:
        found = 0
        get = self._database.get
        for key in keys:
            found += len(get(key) or b"")
        return found

    def put_each(self, pairs: Sequence[Pair]) -> None:
        _write(self._database, pairs, self._wishes)

    def mix(self, operations: Sequence[Operation]) -> int:
        found = 0
        database = self._database
        get = database.get
        for key, value in operations:
            if value is None:
                found += len(get(key) or b"")
            else:
                database[key] = value
        return found

    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        return sum(_range(self._database, start, count) for start in starts)

    def scan(self) -> tuple[int, int]:
        rows = size = 0
        for key, value in self._database.items():
            rows += 1
            size += len(key) + len(value)
        return rows, size

    def rows(self) -> list[Pair]:
        return list(self._database.items())

    def sync(self) -> None:
        self._database.flush_wal(True)

    def log_bytes(self) -> int:
        return size_of(self._directory, "*.log")

    def data_bytes(self) -> int:
        return size_of(self._directory, "*.sst")

    def backup(self, target: Path) -> None:
        Checkpoint(self._database).create_checkpoint(str(target))
        sync_all(target)
