"""What tables can be exported to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.errors import InvalidArgument


class ExportKind(StrEnum):
    SQLITE = "sqlite"
    CSV = "csv"
    JSONL = "jsonl"

    @property
    def label(self) -> str:
        """How people call it."""
        return {"sqlite": "SQLite", "csv": "CSV", "jsonl": "JSON lines"}[self.value]


_ENDINGS = {
    ".sqlite": ExportKind.SQLITE,
    ".sqlite3": ExportKind.SQLITE,
    ".db": ExportKind.SQLITE,
    ".db3": ExportKind.SQLITE,
    ".csv": ExportKind.CSV,
    ".tsv": ExportKind.CSV,
    ".jsonl": ExportKind.JSONL,
    ".ndjson": ExportKind.JSONL,
}


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written."""

    path: Path
    kind: ExportKind
    tables: tuple[str, ...]
    rows: int
    seconds: float


def export_kind(path: Path, kind: ExportKind | str | None = None) -> ExportKind:
    """The kind asked for, or the one that the file's ending stands for.

    Raises `InvalidArgument` (-2) where neither tells.
    """
    if kind is None:
        found = _ENDINGS.get(path.suffix.lower())
        if found is None:
            known = ", ".join(sorted(_ENDINGS))
            raise InvalidArgument(argument="the target", issue=f"its ending must be one of {known}")
        return found
    try:
        return ExportKind(kind)
    except ValueError:
        known = ", ".join(entry.value for entry in ExportKind)
        raise InvalidArgument(argument="the kind", issue=f"it must be one of {known}") from None
