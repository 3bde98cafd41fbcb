"""What is told of snapshots: values that cross to the interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One named moment."""

    name: str
    taken_at: float
    is_scheduled: bool
    lsn: int
    """Everything that was committed before it is in the snapshot."""
    committed_at: float
    """The last commit in it, in Unix seconds; 0 where none is known."""
    pages: int
    """Pages kept in it: those that were overwritten before a later snapshot began."""
    bytes: int
    """What its files take."""
    data_bytes: int
    """The size of the data file at that moment."""
    is_whole: bool
    """False where its files, or those of a later snapshot that it needs, are damaged."""
    is_open: bool
    """Somebody looks at it now."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> SnapshotInfo:
        """From what the kernel says."""
        return cls(
            name=raw["name"],
            taken_at=raw["taken_at"],
            is_scheduled=raw["scheduled"],
            lsn=raw["lsn"],
            committed_at=raw["committed_at"],
            pages=raw["pages"],
            bytes=raw["bytes"],
            data_bytes=raw["data_bytes"],
            is_whole=raw["whole"],
            is_open=raw["is_open"],
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that was made of a snapshot."""

    snapshot: str
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Reverted:
    """A database that went back to a snapshot, in place."""

    snapshot: str
    path: Path
    pages: int
    """Pages that were put back."""
    before: str
    """The snapshot that was taken beforehand: going back to it undoes this."""
