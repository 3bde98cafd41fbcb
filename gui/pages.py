"""The pages of an open database, in the order of the navigation."""

from __future__ import annotations

from gui.activity.page import ActivityPage
from gui.log import LogPage
from gui.overview import OverviewPage
from gui.page import Page, Shell
from gui.tables.page import TablesPage


def database_pages(shell: Shell) -> list[Page]:
    """One of each, in order."""
    kinds = (OverviewPage, TablesPage, ActivityPage, LogPage)
    return [kind(shell) for kind in kinds]
