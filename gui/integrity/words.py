"""Findings, pages and repairs in words. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from engine.integrity.findings import Checker, Finding, Priority
from engine.integrity.page_map import PageState
from gui.theme import Tone
from gui.widgets import formats

if TYPE_CHECKING:
    from engine.integrity.extent import Extent


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("integrity", text)


PRIORITY_TONES = {
    Priority.P0: Tone.BAD,
    Priority.P1: Tone.BAD,
    Priority.P2: Tone.WARN,
    Priority.P3: Tone.NEUTRAL,
}


def priority_words(priority: Priority) -> str:
    """What a priority stands for."""
    return {
        Priority.P0: tr("damaged data"),
        Priority.P1: tr("broken references"),
        Priority.P2: tr("an index, which can be rebuilt"),
        Priority.P3: tr("lost room, no lost data"),
    }[priority]


def checker_words(checker: Checker) -> str:
    """Who found it."""
    return {
        Checker.CHECK: tr("a check"),
        Checker.SCRUBBER: tr("the background check"),
        Checker.READ: tr("a read"),
    }[checker]


def rows_words(finding: Finding) -> str:
    """How many rows it keeps from being read."""
    if finding.rows is None:
        return tr("not counted yet")
    if not finding.rows:
        return tr("none")
    words = tr("about {n}") if finding.is_estimate else tr("up to {n}")
    return words.format(n=formats.count(finding.rows))


def extent_words(extent: Extent) -> str:
    """How many rows of how many."""
    words = tr("up to {n} of {total}") if extent.estimate is None else tr("about {n} of {total}")
    return words.format(n=formats.count(extent.unreadable), total=formats.count(extent.total))


def keys_words(extent: Extent) -> str:
    """Between which keys of which table or tree."""
    return tr("{tree}: {keys}").format(tree=extent.name, keys=extent.range_words)


def state_words(state: PageState) -> str:
    """A state of pages, as the legend has it."""
    return {
        PageState.FREE: tr("free or not yet written"),
        PageState.TREE: tr("tables and trees"),
        PageState.OVERFLOW: tr("long values"),
        PageState.MAP: tr("space maps"),
        PageState.REPAIRED: tr("repaired"),
        PageState.DAMAGED: tr("damaged"),
        PageState.SET_APART: tr("set apart"),
    }[state]


def cell_words(first: int, last: int, counts: Mapping[PageState, int]) -> str:
    """A cell of the map: which pages, and what they are. `last` is not among them."""
    what = ", ".join(
        f"{formats.count(count)} {state_words(state)}"
        for state, count in sorted(counts.items(), reverse=True)
        if count
    )
    if last - first == 1:
        only = next(iter(counts), None)
        return tr("Page {n}: {what}").format(
            n=formats.count(first), what=tr("not looked at") if only is None else state_words(only)
        )
    return tr("Pages {first} to {last}: {what}").format(
        first=formats.count(first), last=formats.count(last - 1), what=what or tr("not looked at")
    )
