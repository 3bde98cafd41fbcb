"""Rescue: rows or whole tables of the past, put back into the live database in one transaction.

A named moment is set before anything is written, so that a rescue can itself be gone back on. All of it
is committed, or nothing is: another transaction that changed the same rows meanwhile, a unique index or a
column that must not be empty ends it with its coded error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.named import NamedPoint
from engine.backups.past import Past
from engine.errors import InvalidArgument, ReadOnlyDatabase, TableNotFound
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

_PORTION = 5_000
_KEYS = 1_000


class Conflicts(StrEnum):
    """What happens to rows that are there now and differ from what they were."""

    MISSING = "missing"
    """They stay: only rows that are gone are put back."""
    OVERWRITE = "overwrite"
    """Changed rows become what they were; rows added since stay."""
    EXACT = "exact"
    """Changed rows become what they were, and rows added since go: a table is as it was."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be rescued of one table, or tree."""

    name: str
    keys: tuple[bytes, ...] | None = None
    """Rows, by the bytes of their keys; None for all of them."""
    into: str = ""
    """Put it into a new table of this name, beside the one there is now; empty for its own."""


@dataclass(frozen=True, slots=True)
class RescuedTable:
    """What a rescue did, or would do, to one table."""

    name: str
    put_back: int = 0
    """Rows that were gone."""
    overwritten: int = 0
    """Changed rows that become what they were."""
    removed: int = 0
    """Rows added since, that go."""
    kept: int = 0
    """Changed rows that stay as they are now."""
    is_new: bool = False
    """The table is made anew."""

    @property
    def total(self) -> int:
        """Rows that are written."""
        return self.put_back + self.overwritten + self.removed


@dataclass(frozen=True, slots=True)
class Rescued:
    """A rescue that is committed."""

    tables: tuple[RescuedTable, ...]
    lsn: int
    """Of its commit."""
    before: NamedPoint
    """The moment before it: restore to it, or rescue from it, to go back on this."""
    seconds: float

    @property
    def total(self) -> int:
        return sum(table.total for table in self.tables)


def rescue_preview_task(
    past: Past, database: Database, choices: Iterable[Choice], conflicts: Conflicts = Conflicts.MISSING
) -> Task[tuple[RescuedTable, ...]]:
    """Count what a rescue would write; start the task, or run it. Writes nothing."""
    wanted = _checked(past, database, tuple(choices))

    def work(task: Task[tuple[RescuedTable, ...]]) -> tuple[RescuedTable, ...]:
        task.stage("Counting", total=_total(past, wanted), unit="rows")
        counted: list[RescuedTable] = []
        with past.begin() as old, database.transaction(read_only=True) as new:
            for choice in wanted:
                counted.append(_preview(task, _Place(past, database, choice, old, new), conflicts))
        return tuple(counted)

    return Task("Preview the rescue", work)


def rescue_task(
    past: Past, database: Database, choices: Iterable[Choice], conflicts: Conflicts = Conflicts.MISSING
) -> Task[Rescued]:
    """Put rows or tables of the past back, in one transaction; start the task, or run it.

    Committed on return; after an error, or a cancel, nothing is changed. Raises `UniqueViolation` (-52),
    `NotNullViolation`, `SchemaInvalid` (-59) where a table has other columns now, `WriteConflict` where
    somebody else changed the same rows meanwhile, `ReadOnlyDatabase`, and `InvalidArgument` (-2) at once for
    choices that make no sense.
    """
    wanted = _checked(past, database, tuple(choices))

    def work(task: Task[Rescued]) -> Rescued:
        began = time.monotonic()
        if database.status().read_only:
            raise ReadOnlyDatabase(path=str(database.path), reason="it was opened read-only")
        task.stage("Marking this moment")
        before = database.points.mark(_mark_name(database), "before a rescue")
        try:
            tables, lsn = _rescue(task, past, database, wanted, conflicts)
        except BaseException:
            # Nothing happened that anybody could want to go back on.
            database.points.remove(before.name)
            raise
        rows = sum(table.total for table in tables)
        database.events.publish("rows_rescued", rows=rows, tables=[table.name for table in tables], lsn=lsn)
        return Rescued(tables, lsn, before, time.monotonic() - began)

    return Task("Rescue", work)


def _rescue(
    task: Task[Any], past: Past, database: Database, choices: Sequence[Choice], conflicts: Conflicts
) -> tuple[tuple[RescuedTable, ...], int]:
    task.stage("Putting rows back", total=2 * _total(past, choices), unit="rows")
    txn = database.begin()
    try:
        with past.begin() as old:
            tables = tuple(
                _put_back(task, _Place(past, database, choice, old, txn), conflicts) for choice in choices
            )
        # A cancel that came with the last row still counts.
        task.proceed()
        return tables, txn.commit()
    finally:
        # Nothing to do after a commit.
        txn.abort()


class _Place:
    """A table, or tree, on both sides of one rescue."""

    def __init__(
        self, past: Past, database: Database, choice: Choice, old: bridge.Transaction, new: bridge.Transaction
    ) -> None:
        self.choice = choice
        self.name = choice.into or choice.name
        self.is_table = choice.name in past.store.tables()
        self._past, self._new = past, new
        self.there = old.table(choice.name) if self.is_table else old.tree(choice.name, create=False)
        names = database.store.tables() if self.is_table else database.trees()
        self.is_new = self.name not in names

    def here(self) -> Any:
        """That of now; where there is none, it is made as it was."""
        if not self.is_table:
            return self._new.tree(self.name, create=True)
        if not self.is_new:
            return self._new.table(self.name)
        schema = json.loads(self._past.store.table_schema(self.choice.name))
        schema.pop("rows", None)
        return self._new.create_table(json.dumps({**schema, "name": self.name}))


def _put_back(task: Task[Any], place: _Place, conflicts: Conflicts) -> RescuedTable:
    here = place.here()
    cleared = {"cleared": 0, "removed": 0, "kept": 0}
    overwrites = conflicts in (Conflicts.OVERWRITE, Conflicts.EXACT)
    for found in _passes(task, here, place, True, overwrites, conflicts is Conflicts.EXACT):
        cleared = {kind: cleared[kind] + found[kind] for kind in cleared}
    filled = sum(found["filled"] for found in _passes(task, here, place, False, False, False))
    return RescuedTable(
        place.name,
        put_back=filled - cleared["cleared"],
        overwritten=cleared["cleared"],
        removed=cleared["removed"],
        kept=cleared["kept"],
        is_new=place.is_new,
    )


def _passes(
    task: Task[Any], here: Any, place: _Place, clears: bool, changed: bool, added: bool
) -> Iterable[dict[str, Any]]:
    """One pass over a table, or over the chosen rows of it, in portions."""
    keys, after = place.choice.keys, None
    if keys is not None:
        for start in range(0, len(keys), _KEYS):
            found = here.put_back(place.there, clears, changed, added, list(keys[start : start + _KEYS]))
            task.advance(found["looked"])
            yield found
        return
    while True:
        found = here.put_back(place.there, clears, changed, added, None, after, _PORTION)
        task.advance(found["looked"])
        yield found
        after = found["next"]
        if after is None:
            return


def _preview(task: Task[Any], place: _Place, conflicts: Conflicts) -> RescuedTable:
    if place.is_new:
        rows = len(place.there) if place.choice.keys is None else len(place.choice.keys)
        task.advance(rows)
        return RescuedTable(place.name, put_back=rows, is_new=True)
    counts = {"kept": 0, "extra": 0, "missing": 0}
    for found in _passes(task, place.here(), place, True, False, False):
        counts = {kind: counts[kind] + found[kind] for kind in counts}
    overwrites = conflicts is not Conflicts.MISSING
    return RescuedTable(
        place.name,
        put_back=counts["missing"],
        overwritten=counts["kept"] if overwrites else 0,
        removed=counts["extra"] if conflicts is Conflicts.EXACT else 0,
        kept=0 if overwrites else counts["kept"],
    )


def _checked(past: Past, database: Database, choices: Sequence[Choice]) -> Sequence[Choice]:
    if not choices:
        raise InvalidArgument(argument="the choice", issue="nothing is chosen")
    tables, trees = set(past.store.tables()), set(past.store.trees())
    now = {*database.store.tables(), *database.trees()}
    targets = [choice.into or choice.name for choice in choices]
    if len(set(targets)) < len(targets):
        raise InvalidArgument(argument="the choice", issue="a table is chosen twice")
    for choice in choices:
        if choice.name not in tables | trees:
            raise TableNotFound(table=choice.name)
        if choice.into and choice.into in now:
            raise InvalidArgument(argument="the new name", issue=f"{choice.into} is there already")
        if choice.keys is not None and not choice.keys:
            raise InvalidArgument(argument="the choice", issue=f"no row of {choice.name} is chosen")
    return choices


def _total(past: Past, choices: Iterable[Choice]) -> int:
    total = 0
    with past.begin() as old:
        for choice in choices:
            is_table = choice.name in past.store.tables()
            thing = old.table(choice.name) if is_table else old.tree(choice.name, create=False)
            total += len(thing) if choice.keys is None else len(choice.keys)
    return total


def _mark_name(database: Database) -> str:
    """A name that is free: two rescues of one second have names of their own."""
    taken = {point.name for point in database.points.all()}
    name = f"before the rescue of {datetime.now():%Y-%m-%d %H:%M:%S}"
    return next(n for n in (name, *(f"{name} ({i})" for i in range(2, 1000))) if n not in taken)
