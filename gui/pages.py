"""The pages of an open database, in the order of the navigation."""

from __future__ import annotations

from gui.activity.page import ActivityPage
from gui.log import LogPage
from gui.overview import OverviewPage
from gui.page import Page, Shell


def database_pages(shell: Shell) -> list[Page]:
    """One of each, in order."""
    return [OverviewPage(shell), ActivityPage(shell), LogPage(shell)]
