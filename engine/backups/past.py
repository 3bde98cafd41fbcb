"""A database as it was: a scratch copy of a point in its past, beside the one that is open.

The newest backup before the point is restored into a scratch folder and the log rolled forward to just
there. Nothing of the database is written. What differs is found by reading both in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from engine import bridge
from engine.backups.backup import newest
from engine.backups.keys import BackupKey
from engine.backups.point import Point, Reached, restore_point_task
from engine.backups.rehearsal import scratch_place
from engine.config import Config
from engine.errors import SchemaInvalid, TableNotFound, from_exception
from engine.files import scratch_folder
from engine.tasks import Task
from engine.types import TableInfo

if TYPE_CHECKING:
    from engine.database import Database

_PREFIX = ".holdfast-past-"
_PORTION = 20_000
"""Records compared in one call: so few that a cancel is answered at once."""
_MOST_LOOKED = 200_000
"""Records that one page of differences looks at; where they are far between, the page is short."""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """What differs between a table, or a tree, then and now."""

    name: str
    is_table: bool
    then: int | None
    """Its rows; None where it was not there."""
    now: int | None
    added: int = 0
    """Since then: rows that are there now and were not."""
    changed: int = 0
    removed: int = 0
    """Rows that were there and are not now."""
    problem: str = ""
    """Why its rows cannot be compared."""

    @property
    def is_same(self) -> bool:
        return not (self.added or self.changed or self.removed or self.problem) and self.then == self.now


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row then and now; None where it was or is not there."""

    key_bytes: bytes
    """What it is chosen by."""
    key: tuple[Any, ...]
    then: tuple[Any, ...] | None
    now: tuple[Any, ...] | None

    @property
    def kind(self) -> str:
        """added | changed | removed, since then, or same."""
        if self.then is None:
            return "added"
        if self.now is None:
            return "removed"
        return "same" if self.then == self.now else "changed"


@dataclass(frozen=True, slots=True)
class DifferencePage:
    rows: tuple[RowDifference, ...]
    after: bytes | None
    """Where to go on; None at the end."""


class Past:
    """A database as it was at a point, open read-only in a scratch folder. Close it: the folder goes.

    Any thread may use it.
    """

    def __init__(self, store: bridge.Store, reached: Reached, kept: ExitStack) -> None:
        self.store = store
        self.reached = reached
        self._kept = kept

    def tables(self) -> dict[str, TableInfo]:
        """Its tables, by name."""
        return {name: bridge.table_info(self.store, name) for name in sorted(self.store.tables())}

    def trees(self) -> list[str]:
        """Its trees that are no tables."""
        return self.store.trees()

    def begin(self) -> bridge.Transaction:
        """A transaction that reads it, for a `with` block."""
        return self.store.begin("repeatable_read", True)

    def close(self) -> None:
        """May be called twice."""
        self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def past_task(
    source: str | Path,
    point: Point,
    logs: Iterable[str | Path] = (),
    *,
    scratch: str | Path | None = None,
    key: BackupKey | None = None,
) -> Task[Past]:
    """Restore a database to a point, in a scratch folder, and open it there.

    Start the task, or run it; close what it gives. `source` is a folder of backups. `scratch` is where the
    scratch folder is made; else it is the system's place for temporary files, or the folder of the
    backups, whichever has room. Encrypted ones need `key`, or the key file that is noted with them. Raises
    `DiskFull` (-11) beforehand, `PointNotReached` (-91), `BackupLocked` (-93), and what a restore raises.
    After an error, or a cancel, nothing is left.
    """
    chain = Path(source).expanduser().absolute()

    def work(task: Task[Past]) -> Past:
        wanted = None if scratch is None else Path(scratch)
        parent = scratch_place(newest(chain), wanted, "restore the past in")
        try:
            with ExitStack() as stack:
                folder = stack.enter_context(scratch_folder(parent, _PREFIX))
                restored, reached = task.carry(
                    restore_point_task(chain, folder / "past.holdfast", point, logs, key=key)
                )
                store = bridge.open_store(restored.path, Config(), read_only=True)
                stack.callback(store.close)
                return Past(store, reached, stack.pop_all())
        except OSError as error:
            raise from_exception(error, "restore the past in") from error

    return Task("Look at the past", work)


def difference_task(past: Past, database: Database) -> Task[tuple[TableDifference, ...]]:
    """Count, table by table, what was added, changed and removed since; all of it of one moment of now.

    Start the task, or run it. Nothing is written. Raises `SnapshotTooOld` where so much was committed
    meanwhile that this moment is gone.
    """

    def work(task: Task[tuple[TableDifference, ...]]) -> tuple[TableDifference, ...]:
        sides = _sides(past, database)
        total = sum(max(then or 0, now or 0) for _, then, now in sides.values())
        task.stage("Comparing", total=total, unit="rows")
        found: list[TableDifference] = []
        with past.begin() as old, database.transaction(read_only=True) as new:
            for name, (is_table, then, now) in sides.items():
                found.append(_compare(task, old, new, name, is_table, then, now))
        return tuple(found)

    return Task("Compare with the past", work)


def differing_rows(
    past: Past,
    database: Database,
    name: str,
    after: bytes | None = None,
    limit: int = 200,
    cell_limit: int = 200,
) -> DifferencePage:
    """One page of the rows of a table, or tree, that differ, in the order of their keys.

    Long cells are cut to `cell_limit` bytes; 0 for whole ones. A page may be short, or empty, and still
    say where to go on. Raises `SchemaInvalid` (-59) where the columns are other ones now.
    """
    is_table, was_there, is_there = _where(past, database, name)
    rows: list[RowDifference] = []
    with past.begin() as old, database.transaction(read_only=True) as new:
        if not (was_there and is_there):
            one = old if was_there else new
            return _one_side(_thing(one, name, is_table), is_table, is_there, after, limit, cell_limit)
        there, here = _thing(old, name, is_table), _thing(new, name, is_table)
        looked = 0
        while len(rows) < limit and looked < _MOST_LOOKED:
            found = here.compare(there, after, _PORTION, limit - len(rows), cell_limit)
            rows += (RowDifference(*row) for row in found["found"])
            looked += sum(found[kind] for kind in ("same", "added", "changed", "removed"))
            after = found["next"]
            if after is None:
                break
    return DifferencePage(tuple(rows), after)


def rows_then(
    past: Past,
    database: Database,
    name: str,
    after: bytes | None = None,
    limit: int = 200,
    cell_limit: int = 200,
) -> DifferencePage:
    """One page of the rows of a table, or tree, as they were, each with what it is now.

    As `differing_rows`, and rows that are the same are among them; those added since are not. Of a table
    that was not there then the page is empty.
    """
    is_table, was_there, is_there = _where(past, database, name)
    if not was_there:
        return DifferencePage((), None)
    with past.begin() as old, database.transaction(read_only=True) as new:
        page = _one_side(_thing(old, name, is_table), is_table, False, after, limit, cell_limit)
        if is_there:
            here = _thing(new, name, is_table)
            rows = tuple(replace(row, now=_now(here, row, is_table, cell_limit)) for row in page.rows)
            page = DifferencePage(rows, page.after)
    return page


def _now(here: Any, row: RowDifference, is_table: bool, cell_limit: int) -> tuple[Any, ...] | None:
    if not is_table:
        value = here.get(row.key_bytes)
        return None if value is None else (value[: cell_limit or None],)
    page = here.page(None, 1, start=row.key, cell_limit=cell_limit)
    return page[0][1] if page and page[0][0] == (row.key_bytes,) else None


def columns_of(past: Past, database: Database, name: str) -> tuple[str, ...]:
    """The names of a table's columns; of a tree its one."""
    for store in (database.store, past.store):
        if name in store.tables():
            return tuple(column.name for column in bridge.table_info(store, name).columns)
    return ("value",)


def _thing(txn: bridge.Transaction, name: str, is_table: bool) -> Any:
    return txn.table(name) if is_table else txn.tree(name, create=False)


def _where(past: Past, database: Database, name: str) -> tuple[bool, bool, bool]:
    """Whether it is a table, whether it was there, and whether it is there now."""
    stores = (past.store, database.store)
    tables = [name in store.tables() for store in stores]
    found = tables if any(tables) else [name in store.trees() for store in stores]
    if not any(found):
        raise TableNotFound(table=name)
    return any(tables), found[0], found[1]


def _sides(past: Past, database: Database) -> dict[str, tuple[bool, int | None, int | None]]:
    """Every table and tree of both: whether it is a table, its rows then and now.

    A tree that has the name of a table is left out.
    """
    then, now = _rows_of(past.store), _rows_of(database.store)
    sides: dict[str, tuple[bool, int | None, int | None]] = {}
    for key in sorted({*then, *now}, key=lambda key: (not key[1], key[0])):
        sides.setdefault(key[0], (key[1], then.get(key), now.get(key)))
    return sides


def _rows_of(store: bridge.Store) -> Mapping[tuple[str, bool], int]:
    rows = {(name, True): bridge.table_info(store, name).rows for name in store.tables()}
    with store.begin("read_committed", True) as txn:
        rows.update({(name, False): len(txn.tree(name, create=False)) for name in store.trees()})
    return rows


def _compare(
    task: Task[Any],
    old: bridge.Transaction,
    new: bridge.Transaction,
    name: str,
    is_table: bool,
    then: int | None,
    now: int | None,
) -> TableDifference:
    if then is None or now is None:
        task.advance(max(then or 0, now or 0))
        return TableDifference(name, is_table, then, now, added=now or 0, removed=then or 0)
    there, here = _thing(old, name, is_table), _thing(new, name, is_table)
    counts = {"added": 0, "changed": 0, "removed": 0}
    after = None
    while True:
        try:
            found = here.compare(there, after, _PORTION)
        except SchemaInvalid:
            problem = "its columns are other ones now"
            return TableDifference(name, is_table, then, now, problem=problem)
        counts = {kind: counts[kind] + found[kind] for kind in counts}
        task.advance(sum(found[kind] for kind in ("same", *counts)))
        after = found["next"]
        if after is None:
            return TableDifference(
                name, is_table, then, now, counts["added"], counts["changed"], counts["removed"]
            )


def _one_side(
    thing: Any, is_table: bool, is_new: bool, after: bytes | None, limit: int, cell_limit: int
) -> DifferencePage:
    """The rows of a table that is on one side only."""
    found: list[tuple[bytes, tuple[Any, ...], tuple[Any, ...]]] = []
    if is_table:
        page = thing.page(None if after is None else (after,), limit, cell_limit=cell_limit)
        found = [(position[0], thing.key_of(position), row) for position, row in page]
    else:
        # The next key after one is that with a zero byte more.
        for key, value in thing.items(None if after is None else after + b"\0", None):
            found.append((key, (key,), (value[: cell_limit or None],)))
            if len(found) == limit:
                break
    rows = tuple(
        RowDifference(key_bytes, key, None if is_new else row, row if is_new else None)
        for key_bytes, key, row in found
    )
    return DifferencePage(rows, rows[-1].key_bytes if len(rows) == limit else None)
