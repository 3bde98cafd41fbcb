"""Holdfast through its public Python interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from engine import Isolation, bridge
from engine.backups.backup import PART_BYTES
from engine.backups.restore import restore_task
from engine.config import Config
from tests.bench.data import Operation, Pair
from tests.bench.peers.base import Peer, Session, size_of
from tests.bench.settings import Opening

_TREE = "bench"
_NEVER = {"checkpoint_interval": "30 d", "checkpoint_log_volume": "64 GiB"}


def _checkpoints(opening: Opening) -> dict[str, str | int]:
    if opening.keeps_log or opening.checkpoints_off:
        return dict(_NEVER)
    if opening.checkpoint_log_bytes:
        return {"checkpoint_log_volume": opening.checkpoint_log_bytes}
    return {}


def opened(path: Path, opening: Opening, **settings: Any) -> engine.Database:
    """A database with settings of its own, for work that only Holdfast can do."""
    config = Config().changed(cache_size=opening.cache_bytes, max_memory_usage="8 GiB", **settings)
    return engine.open(path, config=config)


class _Session(Session):
    def __init__(self, database: engine.Database) -> None:
        self._begin = database.begin
        self._run = database.run

    def read(self, key: bytes) -> bytes | None:
        with self._begin(Isolation.READ_COMMITTED, read_only=True) as txn:
            found: bytes | None = txn.tree(_TREE).get(key)
        return found

    def write(self, key: bytes, value: bytes) -> None:
        with self._begin(Isolation.READ_COMMITTED) as txn:
            txn.tree(_TREE)[key] = value

    def write_batch(self, pairs: Sequence[Pair]) -> None:
        with self._begin(Isolation.READ_COMMITTED) as txn:
            txn.tree(_TREE).put_many(pairs)

    def modify(self, key: bytes, value: bytes) -> None:
        def change(txn: bridge.Transaction) -> None:
            tree = txn.tree(_TREE)
            tree.get(key)
            tree[key] = value

        self._run(change, attempts=1000)

    def range(self, start: bytes, count: int) -> int:
        seen = 0
        with self._begin(Isolation.READ_COMMITTED, read_only=True) as txn:
            for _ in txn.tree(_TREE).items(start):
                seen += 1
                if seen == count:
                    break
        return seen

    def close(self) -> None:
        """Nothing is held between calls."""


class Holdfast(Peer):
    name = "Holdfast"
    settings_stated = "sync mode durable or off; checkpoints and page checksums as by default"

    def __init__(self, directory: Path, opening: Opening) -> None:
        settings = Config().changed(
            cache_size=opening.cache_bytes,
            max_memory_usage="8 GiB",
            sync_mode="durable" if opening.durable else "off",
            # What is timed is a whole recovery, not how soon the first row can be had.
            recover_on_demand=False,
            **_checkpoints(opening),
        )
        self._directory = directory
        self.database = engine.open(directory, config=settings)
        if _TREE not in self.database.trees():
            with self.database.transaction() as txn:
                txn.tree(_TREE)

    @classmethod
    def version(cls) -> str:
        return "of this tree"

    def close(self) -> None:
        self.database.close()

    def session(self) -> Session:
        return _Session(self.database)

    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        with self.database.transaction() as txn:
            txn.drop_tree(_TREE)
        with self.database.transaction() as txn:
            txn.tree(_TREE).put_many(pairs)
        self.database.flush()

    def get_each(self, keys: Sequence[bytes]) -> int:
        found = 0
        with self.database.transaction(read_only=True) as txn:
            get = txn.tree(_TREE).get
            for key in keys:
                found += len(get(key) or b"")
        return found

    def put_each(self, pairs: Sequence[Pair]) -> None:
        with self.database.transaction() as txn:
            tree = txn.tree(_TREE)
            for key, value in pairs:
                tree[key] = value

    def mix(self, operations: Sequence[Operation]) -> int:
        found = 0
        with self.database.transaction() as txn:
            tree = txn.tree(_TREE)
            get = tree.get
            for key, value in operations:
                if value is None:
                    found += len(get(key) or b"")
                else:
                    tree[key] = value
        return found

    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        seen = 0
        with self.database.transaction(read_only=True) as txn:
            tree = txn.tree(_TREE)
            for start in starts:
                left = count
                for _ in tree.items(start):
                    left -= 1
                    if not left:
                        break
                seen += count - left
        return seen

    def scan(self) -> tuple[int, int]:
        rows = size = 0
        with self.database.transaction(read_only=True) as txn:
            for key, value in txn.tree(_TREE).items():
                rows += 1
                size += len(key) + len(value)
        return rows, size

    def rows(self) -> list[Pair]:
        with self.database.transaction(read_only=True) as txn:
            return list(txn.tree(_TREE).items())

    def sync(self) -> None:
        self.database.flush()

    def recovery_told(self) -> dict[str, float]:
        report = self.database.recovery_report
        if report is None:
            return {}
        peak = max(stage.memory_bytes or 0 for stage in report.stages)
        told = {"records": report.analysis["records"], "pages": report.analysis["dirty_pages"]}
        return {**told, "peak_mb": peak / 1e6}

    def log_bytes(self) -> int:
        return self.database.status().log.bytes_written

    def data_bytes(self) -> int:
        return size_of(self._directory, "database.holdfast")

    def check(self) -> bool | None:
        return self.database.check().ok

    def backup(self, target: Path) -> None:
        self.database.backups.full_task(target).run()

    def backup_unproved(self, target: Path) -> None:
        """A full backup, written and synced, before it is read back."""
        target.mkdir()
        self.database.store.backup(str(target), part_bytes=PART_BYTES)

    @classmethod
    def restored(cls, target: Path, work: Path, opening: Opening) -> Peer:
        restore_task(target, work / "restored.holdfast").run()
        return cls(work / "restored.holdfast", opening)
