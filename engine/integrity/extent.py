"""What damage keeps from being read: how many rows, and between which keys.

Rows are walked from both ends until a read fails. What lies between the two failures is what
cannot be reached; with several damaged pages in one tree that is everything from the first to
the last of them. Keys are stored values: they are told to whoever asks, and kept nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, HoldfastError
from engine.tasks import Task

if TYPE_CHECKING:
    from engine import bridge
    from engine.database import Database
    from engine.integrity.findings import Finding

_STEP = 65_536
_BATCH = 4096
_LONGEST_KEY = 60


@dataclass(frozen=True, slots=True)
class Extent:
    """The part of one tree or table that cannot be read."""

    name: str
    total: int
    before: int
    """Rows that can be read from the beginning on."""
    after: int
    """Rows that can be read from the end backwards, down to the damage."""
    last_before: str
    """The last key before the damage, as text; empty where the damage is at the beginning."""
    first_after: str

    @property
    def unreadable(self) -> int:
        """Rows between the two, at most; 0 where everything can be read."""
        return max(0, self.total - self.before - self.after)

    @property
    def range_words(self) -> str:
        """The key range in words."""
        if not self.unreadable:
            return "every key can be read"
        low = f"after {self.last_before}" if self.last_before else "from the first key"
        return f"{low}, " + (f"before {self.first_after}" if self.first_after else "to the last key")


def extent_task(database: Database, finding: Finding) -> Task[Extent | None]:
    """Find out what `finding` keeps from being read; None where no tree of data is known to be its.

    Reads the tree from both ends. Damaged pages that can be repaired are, as in any read.
    """

    def work(task: Task[Extent | None]) -> Extent | None:
        name = finding.tree
        if name is None or finding.table is not None or name == "catalogue":
            return None
        with database.transaction(read_only=True) as txn:
            found = _of_table(txn, name, task) if _is_table(database, name) else _of_tree(txn, name, task)
        database.integrity.note_rows(finding, found.unreadable)
        return found

    return Task("Extent of the damage", work)


def _is_table(database: Database, name: str) -> bool:
    return name in database.store.tables()


def _of_table(txn: bridge.Transaction, name: str, task: Task[Any]) -> Extent:
    table = txn.table(name)
    ends = []
    for is_backwards in (False, True):
        count, step, position = 0, _STEP, None
        while step:
            task.proceed()
            try:
                walked, reached = table.skip(step, position, reverse=is_backwards)
            except Cancelled:
                raise
            except HoldfastError:
                # The damage is within the next `step` rows: come closer.
                step //= 2
                continue
            count, position = count + walked, reached or position
            task.advance(walked)
            if walked < step:
                break
        key = "" if position is None else ", ".join(_text(part) for part in table.key_of(position))
        ends.append((count, key))
    return _extent(name, len(table), ends)


def _of_tree(txn: bridge.Transaction, name: str, task: Task[Any]) -> Extent:
    tree = txn.tree(name, create=False)
    ends = []
    for is_backwards in (False, True):
        count, last = 0, b""
        try:
            for key in tree.keys(reverse=is_backwards):
                count, last = count + 1, key
                if count % _BATCH == 0:
                    task.advance(_BATCH)
        except Cancelled:
            raise
        except HoldfastError:
            # Where the damage begins, seen from this side.
            pass
        ends.append((count, _text(last) if count else ""))
    return _extent(name, len(tree), ends)


def _extent(name: str, total: int, ends: list[tuple[int, str]]) -> Extent:
    (before, low), (after, high) = ends
    # Where all can be read, both walks saw everything.
    after = min(after, max(0, total - before))
    return Extent(name, total, before, after, low, high)


def _text(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 1]}…"
