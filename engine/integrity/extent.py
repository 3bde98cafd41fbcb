"""What damage keeps from being read: how many rows, and between which keys.

At once: the parent of a damaged page names the keys that it lies between, and its neighbours tell
about how many rows it holds. Exactly: rows are walked from both ends until a read fails. What lies
between the two failures is what cannot be reached; with several damaged pages in one tree that is
everything from the first to the last of them. Keys are stored values: they are told to whoever asks,
and kept nowhere.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import Cancelled, HoldfastError
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database
    from engine.integrity.findings import Finding

_STEP = 65_536
_BATCH = 4096
_LONGEST_KEY = 60

_log = logging.getLogger(__name__)


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
    estimate: int | None = None
    """About how many rows cannot be read, where they were not counted; `before` and `after` are 0 then."""

    @property
    def unreadable(self) -> int:
        """Rows between the two, at most; 0 where everything can be read."""
        if self.estimate is not None:
            return self.estimate
        return max(0, self.total - self.before - self.after)

    @property
    def range_words(self) -> str:
        """The key range in words."""
        if not self.unreadable:
            return "every key can be read"
        low = f"after {self.last_before}" if self.last_before else "from the first key"
        return f"{low}, " + (f"before {self.first_after}" if self.first_after else "to the last key")


@dataclass(frozen=True, slots=True)
class Reach:
    """The part of a tree that one damaged page keeps out of reach, as its parent has it."""

    page: int
    tree: str
    low: bytes | None = field(repr=False)
    """Stored keys from this one on; None from the first. Kept nowhere."""
    high: bytes | None = field(repr=False)
    records: int | None
    """About how many; None where no neighbour tells."""


def reach_of(database: Database, pages: Iterable[int]) -> dict[int, Reach]:
    """What each damaged page keeps out of reach, for those that a parent names. Reads inner pages only.

    Never raises: a finding is told all the same where that cannot be found out.
    """
    try:
        return {int(raw["page"]): Reach(**raw) for raw in database.store.reach_of_pages(sorted(set(pages)))}
    except HoldfastError as error:
        _log.info("what damage keeps from being read cannot be told: %s", error.title)
        return {}


def extent_at_once(database: Database, finding: Finding) -> Extent | None:
    """About how many rows `finding` keeps from being read, and between which keys, without a walk.

    None where no tree of data is known to be its, or where it is about no page of a tree.
    """
    reach = reach_of(database, () if finding.page is None else (finding.page,)).get(finding.page or 0)
    if reach is None:
        return None
    database.integrity.note_reach(finding, reach)
    if reach.tree == "catalogue" or database.integrity.table_of_index(reach.tree) is not None:
        return None
    with database.transaction(read_only=True) as txn:
        is_table = _is_table(database, reach.tree)
        held = txn.table(reach.tree) if is_table else txn.tree(reach.tree, create=False)
        low, high = _beside(held, reach.low, before=True), _beside(held, reach.high, before=False)
        total = len(held)
    rows = total if reach.records is None else min(max(reach.records, 1), total)
    return Extent(reach.tree, total, 0, 0, low, high, rows)


def _beside(held: bridge.Table | bridge.Tree, bound: bytes | None, *, before: bool) -> str:
    """The key of the record next to a bound of the damage, as text; empty where the damage is at the end.

    Where what lies there is damaged too, that is said.
    """
    if bound is None:
        return ""
    try:
        if isinstance(held, bridge.Table):
            key = held.key_beside(bound, before=before)
            return "" if key is None else _named(held, key)
        keys = held.keys(None, bound, reverse=True) if before else held.keys(bound)
        return _text(next(iter(keys), b""))
    except Cancelled:
        raise
    except HoldfastError:
        return "other damage"


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
        key = "" if position is None else _named(table, table.key_of(position))
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


def _named(table: bridge.Table, key: tuple[object, ...]) -> str:
    """A key with the names of its columns: "id 1200"."""
    schema = json.loads(table.schema)
    names = schema["primary_key"] or ["row"]
    return ", ".join(f"{name} {_text(part)}" for name, part in zip(names, key, strict=True))


def _text(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST_KEY else f"{text[: _LONGEST_KEY - 1]}…"
