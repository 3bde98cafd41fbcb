"""What must be in the database: every acknowledged transaction, and nothing that is neither that nor
was in flight. A transaction in flight may be there as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.crash.contents import Contents, digest, row_digest
from tests.crash.script import (
    COUNTERS,
    LEDGER,
    TREES,
    Content,
    Delete,
    DeleteRow,
    DropTree,
    Note,
    Put,
    PutRow,
    Raise,
    Script,
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


class Model:
    """The state that follows from the acknowledged transactions of all threads."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._trees: dict[str, dict[bytes, Content | bytes]] = {name: {} for name in TREES}
        self._counters: dict[bytes, int] = {}
        self._rows: dict[int, PutRow] = {}
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
        rows = [step.row() for step in self._rows.values()]
        expected.rows = {row_id: _row_digest(step) for row_id, step in self._rows.items()}
        expected.indexes["things_name"] = [row.id for row in sorted(rows, key=lambda row: (row.name, row.id))]
        expected.indexes["things_code"] = [row.id for row in sorted(rows, key=lambda row: row.code)]
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
            case PutRow(row_id):
                self._rows[row_id] = step
            case DeleteRow(row_id):
                self._rows.pop(row_id, None)
            case Raise():
                self._counters[step.key] = self._counters.get(step.key, 0) + 1
            case Note():
                self._trees[LEDGER][step.key] = step.value
            case DropTree(tree):
                self._trees.pop(tree, None)


def _value_digest(value: Content | bytes) -> str:
    return digest(value) if isinstance(value, bytes) else _content_digest(value)


def differences(expected: Contents, found: Contents) -> list[str]:
    """Everything that is missing, stray or other than it must be, in words; empty where all is well."""
    told = []
    for name in sorted({*expected.trees, *found.trees}):
        if name not in found.trees:
            told.append(f"tree {name}: missing, with {len(expected.trees[name])} records")
        elif name not in expected.trees:
            told.append(f"tree {name}: stray, with {len(found.trees[name])} records")
        else:
            told += _compare(f"tree {name}", expected.trees[name], found.trees[name])
    told += _compare("table", expected.rows, found.rows)
    for index, order in expected.indexes.items():
        if found.indexes.get(index, []) != order:
            told.append(f"index {index}: it does not show the rows that it must show in that order")
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
