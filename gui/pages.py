"""The pages of an open database, in the order of the navigation."""

from __future__ import annotations

from gui.activity.page import ActivityPage
from gui.alerts import AlertsPage
from gui.backups import BackupsPage
from gui.integrity import IntegrityPage
from gui.log import LogPage
from gui.mirrors import MirrorsPage
from gui.overview import OverviewPage
from gui.page import Page, Shell
from gui.recovery.page import RecoveryPage
from gui.tables.page import TablesPage


def database_pages(shell: Shell) -> list[Page]:
    """One of each, in order."""
    kinds = (
        OverviewPage,
        TablesPage,
        ActivityPage,
        LogPage,
        RecoveryPage,
        IntegrityPage,
        BackupsPage,
        MirrorsPage,
        AlertsPage,
    )
    return [kind(shell) for kind in kinds]
