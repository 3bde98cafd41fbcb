"""What every peer answers to. Each is driven as its own documentation advises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.bench.data import Operation, Pair
from tests.bench.settings import Opening


class Session(ABC):
    """What one thread does, each call in a transaction of its own."""

    @abstractmethod
    def read(self, key: bytes) -> bytes | None: ...

    @abstractmethod
    def write(self, key: bytes, value: bytes) -> None: ...

    @abstractmethod
    def write_batch(self, pairs: Sequence[Pair]) -> None: ...

    @abstractmethod
    def modify(self, key: bytes, value: bytes) -> None:
        """Read a row, then write it, in one transaction."""

    @abstractmethod
    def range(self, start: bytes, count: int) -> int:
        """Read up to `count` rows from `start` on; returns how many there were."""

    @abstractmethod
    def close(self) -> None:
        """Called by the thread that used it."""


class Peer(ABC):
    """One open database of one kind."""

    name: ClassVar[str]
    settings_stated: ClassVar[str]
    """How it is set beyond what holds for all, in one line."""
    has_log: ClassVar[bool] = True
    """False where an unclean end leaves nothing to redo."""

    @abstractmethod
    def __init__(self, directory: Path, opening: Opening) -> None:
        """Opens the database in `directory`; makes it where there is none; recovers it where needed."""

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def session(self) -> Session: ...

    @abstractmethod
    def load(self, pairs: Sequence[Pair], is_sorted: bool) -> None:
        """Fills the empty database; all of it is on the disk when this returns."""

    @abstractmethod
    def get_each(self, keys: Sequence[bytes]) -> int:
        """Gets in one transaction; returns the bytes of all values found."""

    @abstractmethod
    def put_each(self, pairs: Sequence[Pair]) -> None:
        """Single puts in one transaction, and its commit."""

    @abstractmethod
    def mix(self, operations: Sequence[Operation]) -> int:
        """Gets and puts in one transaction; returns the bytes of all values found."""

    @abstractmethod
    def ranges(self, starts: Sequence[bytes], count: int) -> int:
        """Short ranges in one transaction; returns how many rows they had."""

    @abstractmethod
    def scan(self) -> tuple[int, int]:
        """Reads every row in order; returns how many, and the bytes of their keys and values."""

    @abstractmethod
    def rows(self) -> list[Pair]:
        """Every row in order."""

    @abstractmethod
    def sync(self) -> None:
        """Puts all that was committed on the medium."""

    def recovery_told(self) -> dict[str, float]:
        """Of the recovery that opened it: `records` of log, distinct `pages`, `peak_mb` of memory.

        Empty where there was none, or where the peer does not tell.
        """
        return {}

    @abstractmethod
    def log_bytes(self) -> int:
        """The size of the log files."""

    @abstractmethod
    def data_bytes(self) -> int:
        """The size of what a check reads."""

    def check(self) -> bool | None:
        """Whether the whole database is sound; `None` where the binding has no such thing."""
        return None

    @abstractmethod
    def backup(self, target: Path) -> None:
        """Copies the open database to `target`, which does not exist, and syncs the copy."""

    @classmethod
    def restored(cls, target: Path, work: Path, opening: Opening) -> Peer:
        """Opens a backup; `work` is a directory that it may use."""
        return cls(target, opening)


def size_of(directory: Path, pattern: str = "**/*") -> int:
    """The bytes of the files in a directory that match."""
    return sum(path.stat().st_size for path in directory.glob(pattern) if path.is_file())
