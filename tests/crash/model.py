"""What must be in the database: every acknowledged transaction, and nothing that is neither that nor
was in flight. A transaction in flight may be there as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.crash.contents import CODES, NAMES, Contents, digest, row_digest
from tests.crash.script import (
    COUNTERS,
    LEDGER,
    TABLE,
    TREES,
    Content,
    Delete,
    DeleteRow,
    DropTable,
    DropTree,
    Note,
    Put,
    PutRow,
    Raise,
    Script,
    SetIndex,
    Step,
    draw,
)

_content_digest = lru_cache(maxsize=100_000)(lambda content: digest(content.data()))
_row_digest = lru_cache(maxsize=100_000)(lambda step: row_digest(step.row()))


@dataclass(slots=True)
class Settled:
    """What became of the transactions that were in flight when the process was killed."""

    found: int = 0
    not_found: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Sheet:
    """A table: the newest change of each row, and which indexes it has."""

    indexes: set[str] = field(default_factory=set)
    rows: dict[int, PutRow] = field(default_factory=dict)

    def order(self, index: str) -> list[int]:
        """The keys of the rows as the index shows them."""
        rows = [change.row() for change in self.rows.values()]
        columns = {NAMES: lambda row: (row.name, row.id), CODES: lambda row: row.code}
        return [row.id for row in sorted(rows, key=columns[index])]


class Model:
    """The state that follows from the acknowledged transactions of all threads."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._trees: dict[str, dict[bytes, Content | bytes]] = {name: {} for name in TREES}
        self._counters: dict[bytes, int] = {}
        self._tables = {TABLE: Sheet(indexes={NAMES, CODES})}
        self._stands: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}
        self.acknowledged = 0

    @property
    def in_flight(self) -> int:
        """How many transactions are about to commit, as far as anybody was told."""
        return len(self._in_flight)

    def intend(self, thread: int, number: int) -> None:
        """The thread has called, or is about to call, commit."""
        self._in_flight[thread] = number

    def give_up(self, thread: int) -> None:
        """The commit was refused, and the thread was told so."""
        del self._in_flight[thread]

    def acknowledge(self, thread: int, number: int) -> None:
        """Commit has returned: from now on the transaction must be there."""
        intended = self._in_flight.pop(thread, None)
        assert intended == number, f"thread {thread} acknowledges {number} and intended {intended}"
        self.acknowledged += 1
        self._apply(draw(self._seed, thread, number))

    def settle(self, stands: Mapping[int, int]) -> Settled:
        """After a kill: the ledger says which of the transactions in flight are there."""
        settled = Settled()
        for thread, number in list(self._in_flight.items()):
            if stands.get(thread) == number:
                settled.found += 1
                self._apply(draw(self._seed, thread, number))
            else:
                settled.not_found += 1
            del self._in_flight[thread]
        for thread in sorted({*stands, *self._stands}):
            expected, found = self._stands.get(thread), stands.get(thread)
            if expected != found:
                settled.problems.append(f"thread {thread} stands at {found}, and it must be {expected}")
        return settled

    def contents(self) -> Contents:
        """What the database must hold when nothing is in flight."""
        expected = Contents(stands=dict(self._stands))
        for name, records in self._trees.items():
            expected.trees[name] = {key: _value_digest(value) for key, value in records.items()}
        expected.trees[COUNTERS] = {key: digest(b"%d" % count) for key, count in self._counters.items()}
        for name, table in self._tables.items():
            expected.tables[name] = {row_id: _row_digest(change) for row_id, change in table.rows.items()}
            expected.indexes.update((f"{name}.{index}", table.order(index)) for index in table.indexes)
        return expected

    def _apply(self, script: Script) -> None:
        for step in script.effects():
            self._do(step)
        self._stands[script.thread] = script.number

    def _do(self, step: Step) -> None:
        match step:
            case Put(tree, key, content):
                self._trees.setdefault(tree, {})[key] = content
            case Delete(tree, key):
                # Naming a tree makes it, even where the key is not there.
                self._trees.setdefault(tree, {}).pop(key, None)
            case PutRow(table, row_id):
                self._table(table).rows[row_id] = step
            case DeleteRow(table, row_id):
                self._table(table).rows.pop(row_id, None)
            case SetIndex(table, wanted):
                indexes = self._table(table).indexes
                indexes.add(NAMES) if wanted else indexes.discard(NAMES)
            case DropTable(table):
                self._tables.pop(table, None)
            case Raise():
                self._counters[step.key] = self._counters.get(step.key, 0) + 1
            case Note():
                self._trees[LEDGER][step.key] = step.value
            case DropTree(tree):
                self._trees.pop(tree, None)

    def _table(self, name: str) -> Sheet:
        """Naming a table makes it, as naming a tree does."""
        return self._tables.setdefault(name, Sheet())


def _value_digest(value: Content | bytes) -> str:
    return digest(value) if isinstance(value, bytes) else _content_digest(value)


def differences(expected: Contents, found: Contents) -> list[str]:
    """Everything that is missing, stray or other than it must be, in words; empty where all is well."""
    told = _compare_all("tree", expected.trees, found.trees)
    told += _compare_all("table", expected.tables, found.tables)
    for name in sorted({*expected.indexes, *found.indexes}):
        wanted, got = expected.indexes.get(name), found.indexes.get(name)
        if got is None or wanted is None:
            told.append(f"index {name}: {'missing' if got is None else 'stray'}")
        elif got != wanted:
            told.append(f"index {name}: it does not show the rows that it must show in that order")
    return told


def _compare_all(
    kind: str, expected: Mapping[str, Mapping[Any, str]], found: Mapping[str, Mapping[Any, str]]
) -> list[str]:
    told: list[str] = []
    for name in sorted({*expected, *found}):
        if name not in found:
            told.append(f"{kind} {name}: missing, with {len(expected[name])} records")
        elif name not in expected:
            told.append(f"{kind} {name}: stray, with {len(found[name])} records")
        else:
            told += _compare(f"{kind} {name}", expected[name], found[name])
    return told


def _compare(where: str, expected: Mapping[Any, str], found: Mapping[Any, str]) -> Iterator[str]:
    for key in sorted({*expected, *found}):
        wanted, got = expected.get(key), found.get(key)
        if wanted == got:
            continue
        if got is None:
            yield f"{where}, {key!r}: missing, it must hold {wanted} (length:digest)"
        elif wanted is None:
            yield f"{where}, {key!r}: stray, it holds {got} (length:digest)"
        else:
            yield f"{where}, {key!r}: it holds {got}, and must hold {wanted} (length:digest)"
