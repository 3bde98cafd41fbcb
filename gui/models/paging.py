"""Reading pages of a table from an open database. Runs on an engine thread, knows no Qt.

Every read is a short transaction of its own, so that an idle window pins no snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.types import Isolation
from gui.models.cells import CELL_BYTES
from gui.models.row_cache import PAGE_ROWS, Fetched, FetchPlan, Position, Row, TableQuery

WALK_ROWS = 16 * PAGE_ROWS
"""Rows per step of a walk: large enough to be quick, small enough to stop within milliseconds."""

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
        while chunk := reader.positions(anchor, WALK_ROWS, query.reverse):
            rows += len(chunk)
            anchor = chunk[-1]
        return rows


class _Reader:
    """One table within one short transaction."""

    def __init__(self, table: Any, query: TableQuery, cancelled: Cancelled) -> None:
        self._table = table
        self._query = query
        self._cancelled = cancelled

    def positions(self, after: Position | None, limit: int, reverse: bool) -> list[Position]:
        return [position for position, _ in self._page(after, limit, reverse, cell_limit=1)]

    def _page(self, after: Position | None, limit: int, reverse: bool, cell_limit: int) -> Any:
        if self._cancelled():
            raise FetchCancelled
        query = self._query
        return self._table.page(
            after=after,
            limit=limit,
            index=query.index,
            reverse=reverse,
            start=query.start,
            stop=query.stop,
            cell_limit=cell_limit,
        )

    def walk(self, plan: FetchPlan, result: Fetched) -> Position | None:
        """Forward from the known anchor to the planned page's, noting those between."""
        page, anchor = plan.start_page, plan.anchor
        while page < plan.first:
            steps = min(plan.first - page, WALK_ROWS // PAGE_ROWS)
            found = self.positions(anchor, steps * PAGE_ROWS, self._query.reverse)
            for step in range(1, len(found) // PAGE_ROWS + 1):
                result.anchors[page + step] = found[step * PAGE_ROWS - 1]
            if len(found) < steps * PAGE_ROWS:
                result.ended_at = page * PAGE_ROWS + len(found)
                return None
            anchor = found[-1]
            page += steps
        return anchor

    def walk_back(self, plan: FetchPlan, result: Fetched) -> Position | None:
        """Backward from an anchor, or from the end, to the planned page's anchor."""
        behind = plan.rows_behind
        if plan.anchor is None and result.total is not None:
            behind = max(1, result.total - plan.first * PAGE_ROWS)
        # One row further than the page's first: that row's position is the anchor.
        left, anchor = behind + 1, plan.anchor
        if plan.first == 0:
            return None
        start = plan.first * PAGE_ROWS + behind
        while left:
            found = self.positions(anchor, min(left, WALK_ROWS), not self._query.reverse)
            if not found:
                return None
            for offset, position in enumerate(found):
                number = start - 1 - offset
                if (number + 1) % PAGE_ROWS == 0:
                    result.anchors[(number + 1) // PAGE_ROWS] = position
            start -= len(found)
            left -= len(found)
            anchor = found[-1]
        return anchor

    def read(self, plan: FetchPlan, anchor: Position | None, result: Fetched) -> None:
        """The planned pages themselves, with their values."""
        for page in range(plan.first, plan.first + plan.wanted):
            found = self._page(anchor, PAGE_ROWS, self._query.reverse, CELL_BYTES)
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
