"""A bounded copy of a table's rows, found by key.

Rows are numbered from 0 in the order of the query. They come in pages of `PAGE_ROWS`. An
*anchor* of page `p` is the position (key or index entry) of the row before its first; whoever
knows it reads the page with one short descent, however far down the table it lies. Anchors are
found by walking from the nearest known one, forward or backward, and are kept: no stretch of
the table is walked twice. Nothing here touches the engine or Qt.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PAGE_ROWS = 256
KEPT_PAGES = 96

Position = tuple[Any, ...]


class Row(NamedTuple):
    """One row as the grid shows it; long values are cut (see `gui.models.cells`)."""

    key: tuple[Any, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class TableQuery:
    """Which rows of a table, and in which order. Bounds apply to the key or the index."""

    table: str
    index: str | None = None
    reverse: bool = False
    start: tuple[Any, ...] | None = None
    stop: tuple[Any, ...] | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it leaves rows out, so that their number is not known beforehand."""
        return self.start is not None or self.stop is not None


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """How to reach a page: walk `pages` pages from an anchor, then read `wanted` pages."""

    first: int
    """The page to read first."""
    wanted: int
    """How many pages to read from there."""
    start_page: int
    """The page whose anchor is known; the walk begins there."""
    anchor: Position | None
    """Its position; None is the end of the table that the walk begins at."""
    backward: bool = False
    rows_behind: int = 0
    """Backward only: rows between the start of page `first` and the anchor."""


@dataclass(slots=True)
class Fetched:
    """What a fetch brought: pages, and the anchors met on the way."""

    pages: dict[int, tuple[Row, ...]] = field(default_factory=dict)
    anchors: dict[int, Position] = field(default_factory=dict)
    total: int | None = None
    """The number of rows, where it is known."""
    ended_at: int | None = None
    """The number of rows as found by meeting the end."""


class RowCache:
    """Pages and anchors of one query. Used by one thread only."""

    def __init__(self, kept_pages: int = KEPT_PAGES) -> None:
        self._kept = kept_pages
        self._pages: OrderedDict[int, tuple[Row, ...]] = OrderedDict()
        self._anchors: dict[int, Position] = {}
        self._anchored: list[int] = []
        self.total: int | None = None
        self._reached = 0

    @property
    def row_count(self) -> int:
        """The rows to offer: their number, or what was met so far plus one page to look into."""
        if self.total is not None:
            return self.total
        return self._reached + PAGE_ROWS

    @property
    def reached(self) -> int:
        """Rows met so far; a lower bound where the total is unknown."""
        return self._reached if self.total is None else self.total

    def row(self, number: int) -> Row | None:
        """The row if it is here; a page that is asked for stays longer."""
        page, offset = divmod(number, PAGE_ROWS)
        rows = self._pages.get(page)
        if rows is None or offset >= len(rows):
            return None
        self._pages.move_to_end(page)
        return rows[offset]

    def has_page(self, page: int) -> bool:
        return page in self._pages

    def plan(self, page: int, wanted: int = 1) -> FetchPlan:
        """The shortest way to `page` from what is known."""
        place = bisect_right(self._anchored, page)
        before = self._anchored[place - 1] if place else 0
        forward_pages = page - before
        forward = FetchPlan(page, wanted, before, self._anchors.get(before))
        if forward_pages == 0:
            return forward
        after = self._anchored[place] if place < len(self._anchored) else None
        if after is not None and after - page < forward_pages:
            behind = (after - page) * PAGE_ROWS - 1
            return FetchPlan(page, wanted, after, self._anchors[after], True, behind)
        if after is None and self.total is not None:
            behind = self.total - page * PAGE_ROWS
            if 0 < behind < forward_pages * PAGE_ROWS:
                return FetchPlan(page, wanted, page, None, True, behind)
        return forward

    def store(self, fetched: Fetched) -> None:
        """Take over what a fetch brought and drop the pages used longest ago."""
        for page, position in fetched.anchors.items():
            if page not in self._anchors:
                insort(self._anchored, page)
            self._anchors[page] = position
        for page, rows in fetched.pages.items():
            self._pages[page] = rows
            self._pages.move_to_end(page)
            self._reached = max(self._reached, page * PAGE_ROWS + len(rows))
        if fetched.ended_at is not None:
            self.total = fetched.ended_at
        elif fetched.total is not None:
            self.total = fetched.total
        if fetched.anchors:
            self._reached = max(self._reached, max(fetched.anchors) * PAGE_ROWS)
        while len(self._pages) > self._kept:
            self._pages.popitem(last=False)

    def missing(self, pages: Iterable[int]) -> list[int]:
        """Those of `pages` that hold rows by what is known and are not here."""
        last = max(0, (self.row_count - 1) // PAGE_ROWS)
        return [page for page in pages if 0 <= page <= last and page not in self._pages]

    def anchors_between(self, first: int, last: int) -> int:
        """How many anchors lie in `first..last`."""
        return bisect_right(self._anchored, last) - bisect_left(self._anchored, first)

    def clear(self) -> None:
        """Forget everything, as after a change of the table."""
        self._pages.clear()
        self._anchors.clear()
        self._anchored.clear()
        self.total = None
        self._reached = 0
