"""Reading pages of a table from an open database. Runs on an engine thread, knows no Qt.

Every read is a short transaction of its own, so that an idle window pins no snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.types import Isolation
from gui.models.cells import CELL_BYTES
from gui.models.row_cache import PAGE_ROWS, Fetched, FetchPlan, Position, Row, TableQuery

COUNT_ROWS = 8 * PAGE_ROWS
"""Rows per step of a count: quick, and stopped within a millisecond."""

Cancelled = Callable[[], bool]


class FetchCancelled(Exception):
    """The view has moved on; nobody waits for this page any more."""


def fetch(database: Any, query: TableQuery, plan: FetchPlan, cancelled: Cancelled) -> Fetched:
    """Walk to the planned page, read it, and tell what was learnt on the way.

    Raises `FetchCancelled` when `cancelled` says so between two steps.
    """
    with database.transaction(Isolation.REPEATABLE_READ, read_only=True) as txn:
        table = txn.table(query.table)
        reader = _Reader(table, query, cancelled)
        result = Fetched()
        if not query.is_bounded:
            result.total = len(table)
        anchor = reader.walk_back(plan, result) if plan.backward else reader.walk(plan, result)
        if result.ended_at is None:
            reader.read(plan, anchor, result)
        return result


def count(database: Any, query: TableQuery, cancelled: Cancelled) -> int:
    """The exact number of rows of a bounded query, by reading its keys."""
    with database.transaction(Isolation.REPEATABLE_READ, read_only=True) as txn:
        reader = _Reader(txn.table(query.table), query, cancelled)
        rows, anchor = 0, None
        while True:
            skipped, anchor = reader.skip(COUNT_ROWS, anchor, query.reverse)
            rows += skipped
            if skipped < COUNT_ROWS:
                return rows


class _Reader:
    """One table within one short transaction."""

    def __init__(self, table: Any, query: TableQuery, cancelled: Cancelled) -> None:
        self._table = table
        self._query = query
        self._cancelled = cancelled

    def _page(self, after: Position | None) -> list[tuple[Position, tuple[Any, ...]]]:
        if self._cancelled():
            raise FetchCancelled
        query = self._query
        found: list[tuple[Position, tuple[Any, ...]]] = self._table.page(
            after=after,
            limit=PAGE_ROWS,
            index=query.index,
            reverse=query.reverse,
            start=query.start,
            stop=query.stop,
            cell_limit=CELL_BYTES,
        )
        return found

    def skip(self, rows: int, after: Position | None, reverse: bool) -> tuple[int, Position | None]:
        """Walk over rows within the kernel; how many there were, and the last position."""
        if self._cancelled():
            raise FetchCancelled
        query = self._query
        skipped, last = self._table.skip(
            rows, after=after, index=query.index, reverse=reverse, start=query.start, stop=query.stop
        )
        return skipped, last

    def walk(self, plan: FetchPlan, result: Fetched) -> Position | None:
        """Forward from the known anchor to the planned page's, noting those between."""
        anchor = plan.anchor
        for page in range(plan.start_page, plan.first):
            skipped, anchor = self.skip(PAGE_ROWS, anchor, self._query.reverse)
            if skipped < PAGE_ROWS or anchor is None:
                result.ended_at = page * PAGE_ROWS + skipped
                return None
            result.anchors[page + 1] = anchor
        return anchor

    def walk_back(self, plan: FetchPlan, result: Fetched) -> Position | None:
        """Backward from an anchor, or from the end, to the planned page's anchor."""
        if plan.first == 0:
            return None
        behind = plan.rows_behind
        if plan.anchor is None and result.total is not None:
            behind = max(1, result.total - plan.first * PAGE_ROWS)
        # The anchor of a page is the row before its first, so the first step is as long as brings
        # the walk to such a row.
        page = plan.first + behind // PAGE_ROWS
        step, anchor = behind % PAGE_ROWS + 1, plan.anchor
        while True:
            skipped, anchor = self.skip(step, anchor, not self._query.reverse)
            if skipped < step or anchor is None:
                return None
            result.anchors[page] = anchor
            if page == plan.first:
                return anchor
            page, step = page - 1, PAGE_ROWS

    def read(self, plan: FetchPlan, anchor: Position | None, result: Fetched) -> None:
        """The planned pages themselves, with their values."""
        for page in range(plan.first, plan.first + plan.wanted):
            found = self._page(anchor)
            result.pages[page] = tuple(
                Row(tuple(self._table.key_of(position)), tuple(values)) for position, values in found
            )
            if len(found) < PAGE_ROWS:
                result.ended_at = page * PAGE_ROWS + len(found)
                return
            anchor = found[-1][0]
            result.anchors[page + 1] = anchor
        if result.total is not None:
            # The engine's count is of this very snapshot; a full last page means there may be more.
            result.total = max(result.total, (plan.first + plan.wanted) * PAGE_ROWS)
