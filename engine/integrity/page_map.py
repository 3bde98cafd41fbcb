"""What each page of the database is, for a picture of the whole.

The data file is looked at past the cache, so that a page that is damaged on the disk shows even
while a whole copy of it is in memory. Nothing is changed, and nothing is repaired by looking.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled, HoldfastError
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

MOST_LOOKED_AT = 262_144
"""Pages that are looked at; of a larger database one of so many is, and each that is known to be damaged."""

_AT_ONCE = 256


class PageState(IntEnum):
    """Ordered by how much it matters: a cell that stands for many pages shows the highest."""

    FREE = 0
    """Given back, or never written: what is new may still be in memory only."""
    TREE = 1
    OVERFLOW = 2
    MAP = 3
    """The first page, and those that say which pages are in use."""
    REPAIRED = 4
    DAMAGED = 5
    SET_APART = 6


_KINDS = {
    "free": PageState.FREE,
    "leaf": PageState.TREE,
    "inner": PageState.TREE,
    "overflow": PageState.OVERFLOW,
    "spacemap": PageState.MAP,
    "store": PageState.MAP,
}


@dataclass(frozen=True, slots=True)
class PageMap:
    """The state of the pages at one moment."""

    at: float
    pages: int
    stride: int
    """1 where every page was looked at; else one of so many was."""
    states: bytes
    """A `PageState` for each page that was looked at; place times `stride` is the page's number."""
    trees: array[int]
    """The number of the tree that each belongs to; 0 for none."""
    marked: dict[int, PageState] = field(default_factory=dict)
    """Damaged, repaired and set-apart pages by number, also those that the stride leaves out."""

    def counts(self) -> dict[PageState, int]:
        """How many pages are in each state; estimated where not all were looked at."""
        found = Counter(self.states)
        plain = {state: found[state] * self.stride for state in PageState if state < PageState.REPAIRED}
        marks = Counter(self.marked.values())
        return {**plain, **{state: marks[state] for state in PageState if state >= PageState.REPAIRED}}

    def with_findings(self, damaged: Set[int], repaired: Set[int]) -> PageMap:
        """The same with what is known by now of single pages; itself where nothing has changed."""
        marked = dict(self.marked)
        for page in (page for page in damaged | repaired if page < self.pages):
            before = marked.get(page, PageState.FREE)
            marked[page] = max(before, PageState.DAMAGED) if page in damaged else PageState.REPAIRED
        if marked == self.marked:
            return self
        states = bytearray(self.states)
        for page, state in marked.items():
            place, rest = divmod(page, self.stride)
            if not rest and place < len(states):
                states[place] = state
        return replace(self, states=bytes(states), marked=marked)

    def state_of(self, page: int) -> PageState | None:
        """The state of one page; None where it was not looked at."""
        if page in self.marked:
            return self.marked[page]
        place, rest = divmod(page, self.stride)
        return PageState(self.states[place]) if not rest and place < len(self.states) else None

    def cell(self, first: int, last: int) -> Mapping[PageState, int]:
        """How many of the pages first <= page < last are in each state."""
        places = self.states[-(-first // self.stride) : -(-last // self.stride)]
        return {PageState(state): count for state, count in Counter(places).items()}


def page_map_task(database: Database) -> Task[PageMap]:
    """Look at every page; start the task, or run it. Cancel leaves nothing behind."""
    return Task("Page map", lambda task: _look(database, task))


def _look(database: Database, task: Task[Any]) -> PageMap:
    pages = database.status().pages
    stride = max(1, -(-pages // MOST_LOOKED_AT))
    task.stage("Pages", total=-(-pages // stride), unit="pages")
    states, trees = bytearray(), array("I")
    marked: dict[int, PageState] = {}
    known = _known(database)
    for number, page in enumerate(range(0, pages, stride)):
        state, tree = _state(database, page)
        if state is PageState.DAMAGED:
            state = marked[page] = max(state, known.get(page, state))
        elif page in known:
            state = marked[page] = known[page]
        states.append(state)
        trees.append(tree)
        if number % _AT_ONCE == 0:
            task.advance(min(_AT_ONCE, len(states)))
    marked.update({page: state for page, state in known.items() if page not in marked and page < pages})
    return PageMap(time.time(), pages, stride, bytes(states), trees, marked)


def _known(database: Database) -> dict[int, PageState]:
    """What the findings and the engine know of single pages; the gravest word last."""
    integrity = database.integrity
    known = {
        finding.page: PageState.REPAIRED
        for finding in integrity.findings(closed=True)
        if finding.page is not None and finding.outcome.startswith("repaired")
    }
    known.update({f.page: PageState.DAMAGED for f in integrity.findings() if f.page is not None})
    known.update({int(apart["page"]): PageState.SET_APART for apart in database.store.pages_set_apart()})
    return known


def _state(database: Database, page: int) -> tuple[PageState, int]:
    info = look_at_page(database, page)
    if info is None:
        return PageState.DAMAGED, 0
    if info["ok"]:
        return _KINDS[info["kind"]], int(info["tree"])
    # A page of zeros was never written, or lies in memory only: whether it is damage, a check tells.
    return (PageState.FREE if is_zeroed(info) else PageState.DAMAGED), 0


def look_at_page(database: Database, page: int) -> dict[str, Any] | None:
    """One page as the data file has it, seen twice where it seems damaged; None where it cannot be read.

    A page that is being written may look torn for a moment, so one look is no proof.
    """
    info: dict[str, Any] | None = None
    for _ in range(2):
        try:
            info = database.store.page_info(page)
        except Cancelled:
            raise
        except HoldfastError as error:
            if error.code not in _UNREADABLE:
                raise
            info = None
        if info is not None and (info["ok"] or is_zeroed(info)):
            break
    return info


_UNREADABLE = (-10, -20, -21, -22)


def is_zeroed(info: Mapping[str, Any]) -> bool:
    """Whether what was read of a page is only zeros."""
    return not info["ok"] and "zeroed" in str(info["problem"])
