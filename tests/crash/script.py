"""What the writing threads do: transactions drawn from a seed, the same on both sides of the pipe.

`draw(seed, thread, number)` is a pure function, so a writer needs to tell only the number of a
transaction, and whoever hears it knows every key and every byte. Each thread writes keys of its
own, spread among those of the others, so that threads meet in pages and each one's state can
still be told exactly. Counters are the exception: all threads raise them.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import NamedTuple

THREADS = 8
ACCOUNTS, DOCUMENTS, JOURNAL, COUNTERS, LEDGER = "accounts", "documents", "journal", "counters", "ledger"
TREES = (ACCOUNTS, DOCUMENTS, JOURNAL, COUNTERS, LEDGER)
"""The trees that are always there; each thread also makes and drops one of its own."""
COUNTER_COUNT = 6
TABLE = "things"
"""The table that is always there, with all its indexes; each thread also has one of its own."""

_ACCOUNTS_PER_THREAD = 400
_DOCUMENTS_PER_THREAD = 60
_ROWS_PER_THREAD = 150
_SHEET_ROWS = 100
_JOURNAL_LENGTH, _JOURNAL_ENTRIES = 300, 4


class Content(NamedTuple):
    """A value: so many bytes that follow from a text."""

    source: str
    length: int

    def data(self) -> bytes:
        return hashlib.shake_128(self.source.encode()).digest(self.length)


class Row(NamedTuple):
    """One row of a typed table, in the order of its columns."""

    id: int
    name: str
    code: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Put:
    tree: str
    key: bytes
    content: Content


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key where it is there."""

    tree: str
    key: bytes


@dataclass(frozen=True, slots=True)
class PutRow:
    table: str
    id: int
    source: str

    def row(self) -> Row:
        """Names repeat, so that the index holds many rows under one name; codes never do."""
        dice = random.Random(self.source)
        name = f"name {dice.randrange(40)}"
        return Row(self.id, name, f"{self.source} {self.id}", dice.randbytes(dice.choice((0, 20, 300, 3000))))


@dataclass(frozen=True, slots=True)
class DeleteRow:
    table: str
    id: int


@dataclass(frozen=True, slots=True)
class SetIndex:
    """Have the index on names of a table, or not."""

    table: str
    wanted: bool


@dataclass(frozen=True, slots=True)
class DropTable:
    """Drop the thread's own table where it is there."""

    table: str


@dataclass(frozen=True, slots=True)
class Raise:
    """Add one to a counter that all threads write."""

    counter: int

    @property
    def key(self) -> bytes:
        return b"%d" % self.counter


@dataclass(frozen=True, slots=True)
class Note:
    """Write into the ledger which transaction of the thread this is."""

    thread: int
    number: int

    @property
    def key(self) -> bytes:
        return ledger_key(self.thread)

    @property
    def value(self) -> bytes:
        return b"%d" % self.number


@dataclass(frozen=True, slots=True)
class DropTree:
    """Drop the thread's own tree where it is there."""

    tree: str


@dataclass(frozen=True, slots=True)
class Savepoint:
    pass


@dataclass(frozen=True, slots=True)
class RollBack:
    """Undo what was done since the savepoint."""


Step = (
    Put | Delete | PutRow | DeleteRow | SetIndex | DropTable | Raise | Note | DropTree | Savepoint | RollBack
)


@dataclass(frozen=True, slots=True)
class Script:
    """One transaction. Where it commits, its last step notes its number in the ledger."""

    thread: int
    number: int
    isolation: str
    steps: tuple[Step, ...]
    commits: bool

    def effects(self) -> list[Step]:
        """The steps that count once it is committed: what was rolled back is left out."""
        kept: list[Step] = []
        at_savepoint = 0
        for step in self.steps:
            if isinstance(step, Savepoint):
                at_savepoint = len(kept)
            elif isinstance(step, RollBack):
                del kept[at_savepoint:]
            else:
                kept.append(step)
        return kept


def ledger_key(thread: int) -> bytes:
    return b"thread %d" % thread


def scratch_tree(thread: int) -> str:
    """The tree that only this thread knows, and drops now and then."""
    return f"scratch {thread}"


def sheet(thread: int) -> str:
    """The table that only this thread knows; its index comes and goes, and so does the table."""
    return f"sheet {thread}"


def draw(seed: int, thread: int, number: int) -> Script:
    """The transaction of this number: 1 to 20 operations, some undone, a tenth of them aborted."""
    return _Draw(seed, thread, number).script()


class _Draw:
    def __init__(self, seed: int, thread: int, number: int) -> None:
        self.name = f"{seed}/{thread}/{number}"
        self.thread, self.number = thread, number
        self.dice = random.Random(self.name)
        self.made = 0

    def script(self) -> Script:
        isolation = self.dice.choices(("read_committed", "repeatable_read", "serializable"), (30, 67, 3))[0]
        steps = [self.operation() for _ in range(self.dice.randint(1, 19))]
        if self.dice.random() < 0.2:
            self.roll_back_in_the_middle(steps)
        if isolation != "read_committed" and self.dice.random() < 0.2:
            # Read committed would lose updates: it may read what another one is about to replace.
            counters = self.dice.sample(range(COUNTER_COUNT), self.dice.randint(1, 2))
            steps += [Raise(counter) for counter in counters]
        commits = self.dice.random() >= 0.1
        return Script(self.thread, self.number, isolation, (*steps, Note(self.thread, self.number)), commits)

    def roll_back_in_the_middle(self, steps: list[Step]) -> None:
        first = self.dice.randint(0, len(steps))
        last = self.dice.randint(first, len(steps))
        steps.insert(last, RollBack())
        steps.insert(first, Savepoint())

    def operation(self) -> Step:
        roll = self.dice.random()
        if roll < 0.35:
            return self.change(ACCOUNTS, self.spread_key(_ACCOUNTS_PER_THREAD), 0.3)
        if roll < 0.5:
            return self.change(DOCUMENTS, self.spread_key(_DOCUMENTS_PER_THREAD), 0.4, large=True)
        if roll < 0.7:
            return self.journal()
        if roll < 0.9:
            return self.row()
        if roll < 0.91:
            return DropTree(scratch_tree(self.thread))
        return self.change(scratch_tree(self.thread), b"%06d" % self.dice.randrange(200), 0.3)

    def change(self, tree: str, key: bytes, deleted: float, *, large: bool = False) -> Step:
        if self.dice.random() < deleted:
            return Delete(tree, key)
        return Put(tree, key, Content(self.source(), self.length(large)))

    def source(self) -> str:
        self.made += 1
        return f"{self.name}/{self.made}"

    def length(self, large: bool) -> int:
        """0 bytes to several pages, now and then 100 KiB."""
        roll = self.dice.random()
        if roll < 0.05:
            return 0
        if large and roll < 0.08:
            return 100 << 10
        if large and roll < 0.4:
            return self.dice.randint(2_000, 30_000)
        return self.dice.randint(1, 200) if roll < 0.8 else self.dice.randint(200, 2_000)

    def spread_key(self, count: int) -> bytes:
        """One of the thread's own keys, which lie between those of the other threads; some are long."""
        number = self.dice.randrange(count) * THREADS + self.thread
        return b"%08x" % (number * 2_654_435_761 % 2**32) + b"x" * (number % 5 * number % 61)

    def journal(self) -> Step:
        """Entries one after the other, round and round, while those that would be met again go."""
        is_old = self.dice.random() < 0.4
        number = self.number + (self.dice.randint(1, 40) if is_old else 0)
        key = b"%08d/%d/%d" % (number % _JOURNAL_LENGTH, self.thread, self.dice.randrange(_JOURNAL_ENTRIES))
        return (
            Delete(JOURNAL, key) if is_old else Put(JOURNAL, key, Content(self.source(), self.length(False)))
        )

    def row(self) -> Step:
        roll = self.dice.random()
        own = sheet(self.thread)
        if roll < 0.02:
            return DropTable(own)
        if roll < 0.08:
            return SetIndex(own, self.dice.random() < 0.6)
        if roll < 0.4:
            return self.change_row(own, self.dice.randrange(_SHEET_ROWS))
        return self.change_row(TABLE, self.dice.randrange(_ROWS_PER_THREAD) * THREADS + self.thread)

    def change_row(self, table: str, row_id: int) -> Step:
        if self.dice.random() < 0.35:
            return DeleteRow(table, row_id)
        return PutRow(table, row_id, self.source())
