"""Edits that wait for a person's word: staged, shown, then written together or dropped.

Nothing is locked and no transaction is open while edits are staged. Writing compares each
row with what the person saw; a row that someone else has changed since stops everything.
Knows no Qt; `write` runs on an engine thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.types import Isolation, TableInfo
from gui.models.cells import is_cut
from gui.models.row_cache import Row

Key = tuple[Any, ...]
Values = tuple[Any, ...]


class Kind(StrEnum):
    """What a staged edit does to its row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One staged edit of one row."""

    kind: Kind
    key: Key | None
    """None for a new row."""
    seen: Values | None
    """The row as it was shown when the edit began; None for a new row."""
    values: dict[str, Any]
    """The columns that get a new value."""


class EditConflict(Exception):
    """Rows were changed or deleted by someone else since they were shown; nothing was written."""

    def __init__(self, keys: list[Key], changed: int, gone: int) -> None:
        super().__init__(f"{changed} rows changed, {gone} rows gone")
        self.keys = keys
        self.changed = changed
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did."""

    inserted: int
    updated: int
    deleted: int
    commit_lsn: int

    @property
    def rows(self) -> int:
        return self.inserted + self.updated + self.deleted


class StagedEdits:
    """The edits of one table that wait."""

    def __init__(self, table: TableInfo) -> None:
        self.table = table
        self._columns = [column.name for column in table.columns]
        self._updates: dict[Key, dict[str, Any]] = {}
        self._seen: dict[Key, Values] = {}
        self._deletes: set[Key] = set()
        self._inserts: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._updates.keys() - self._deletes) + len(self._deletes) + len(self._inserts)

    @property
    def inserts(self) -> int:
        """How many new rows wait."""
        return len(self._inserts)

    def counts(self) -> dict[Kind, int]:
        return {
            Kind.INSERT: len(self._inserts),
            Kind.UPDATE: len(self._updates.keys() - self._deletes),
            Kind.DELETE: len(self._deletes),
        }

    def add_row(self) -> int:
        """Begin a new row; returns its place among the new ones."""
        self._inserts.append({})
        return len(self._inserts) - 1

    def insert_value(self, place: int, column: int) -> Any:
        """The value typed into a new row, or None."""
        return self._inserts[place].get(self._columns[column])

    def set_insert(self, place: int, column: int, value: Any) -> None:
        self._inserts[place][self._columns[column]] = value

    def drop_insert(self, place: int) -> None:
        del self._inserts[place]

    def set_value(self, row: Row, column: int, value: Any) -> None:
        """Stage a new value of a cell; setting back what was there withdraws it."""
        name = self._columns[column]
        original = row.values[column]
        changed = self._updates.setdefault(row.key, {})
        self._seen.setdefault(row.key, row.values)
        if not is_cut(original) and type(value) is type(original) and value == original:
            changed.pop(name, None)
        else:
            changed[name] = value
        if not changed:
            del self._updates[row.key]
            if row.key not in self._deletes:
                del self._seen[row.key]

    def value(self, row: Row, column: int) -> Any:
        """The cell with its staged value, where it has one."""
        staged = self._updates.get(row.key)
        if staged and self._columns[column] in staged:
            return staged[self._columns[column]]
        return row.values[column]

    def is_changed(self, row: Row, column: int) -> bool:
        return self._columns[column] in self._updates.get(row.key, ())

    def is_deleted(self, key: Key) -> bool:
        return key in self._deletes

    def mark_deleted(self, row: Row, deleted: bool = True) -> None:
        """Stage, or withdraw, the deletion of a row."""
        if deleted:
            self._seen.setdefault(row.key, row.values)
            self._deletes.add(row.key)
            return
        self._deletes.discard(row.key)
        if row.key not in self._updates:
            self._seen.pop(row.key, None)

    def clear(self) -> None:
        self._updates.clear()
        self._seen.clear()
        self._deletes.clear()
        self._inserts.clear()

    def changes(self) -> Iterator[Change]:
        """All edits in the order in which they are written: deletes, updates, inserts."""
        for key in self._deletes:
            yield Change(Kind.DELETE, key, self._seen[key], {})
        for key, values in self._updates.items():
            if key not in self._deletes:
                yield Change(Kind.UPDATE, key, self._seen[key], dict(values))
        for values in self._inserts:
            yield Change(Kind.INSERT, None, None, dict(values))

    def incomplete(self) -> list[tuple[int, str]]:
        """New rows that lack a value which their column demands: (place, column)."""
        needed = [
            column.name
            for column in self.table.columns
            if column.not_null and not self._fills_itself(column.name)
        ]
        return [
            (place, name)
            for place, row in enumerate(self._inserts)
            for name in needed
            if row.get(name) is None
        ]

    def _fills_itself(self, name: str) -> bool:
        """Whether the engine numbers this column where it is left empty."""
        column = next(c for c in self.table.columns if c.name == name)
        return self.table.primary_key == (name,) and column.type == "integer"


def write(database: Any, table: TableInfo, changes: list[Change]) -> Written:
    """Write all edits in one transaction. Raises `EditConflict` and then has written nothing."""
    with database.transaction(Isolation.REPEATABLE_READ) as txn:
        rows = txn.table(table.name)
        _refuse_conflicts(rows, changes)
        counts = dict.fromkeys(Kind, 0)
        for change in changes:
            _write_one(rows, change)
            counts[change.kind] += 1
    status = database.status()
    return Written(counts[Kind.INSERT], counts[Kind.UPDATE], counts[Kind.DELETE], status.log.durable_lsn)


def _refuse_conflicts(rows: Any, changes: list[Change]) -> None:
    conflicts: list[Key] = []
    gone = 0
    for change in changes:
        if change.key is None or change.seen is None:
            continue
        current = rows.get(change.key)
        if current is None:
            gone += 1
        elif all(_is_same(seen, now) for seen, now in zip(change.seen, current, strict=True)):
            continue
        conflicts.append(change.key)
    if conflicts:
        raise EditConflict(conflicts, len(conflicts) - gone, gone)


def _is_same(seen: Any, now: Any) -> bool:
    """Whether a value is still what was shown; of a long one only the beginning was."""
    if is_cut(seen):
        return type(seen) is type(now) and now[: len(seen)] == seen
    if isinstance(seen, float) and seen != seen:
        return isinstance(now, float) and now != now
    return type(seen) is type(now) and seen == now


def _write_one(rows: Any, change: Change) -> None:
    if change.kind is Kind.INSERT:
        rows.insert(change.values)
    elif change.kind is Kind.DELETE:
        rows.delete(change.key)
    else:
        rows.update(change.key, change.values)
