"""What every page of the main window is."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from gui.tasks import EngineSession
from gui.theme import Space
from gui.widgets import PageHeader, column


class Page(QFrame):
    """A page under the navigation: a header, and a body that shows one database.

    `attach` and `detach` come on the interface thread when a database was opened and before it
    is closed. `entered` and `left` say when the page is looked at, so that nothing is fetched
    or drawn for nobody.
    """

    page_id = ""
    icon_name = ""

    def __init__(self, title: str, subtitle: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "page")
        self.setObjectName(f"page-{self.page_id}")
        self.setAccessibleName(title)
        self.title = title
        self.session: EngineSession | None = None
        self.header = PageHeader(title, subtitle)
        self.body: QVBoxLayout = column(margin=(Space.XL, 0, Space.XL, Space.XL), gap=Space.M)
        self.setLayout(column(self.header, gap=0))
        self.layout().addLayout(self.body, 1)

    def attach(self, session: EngineSession) -> None:
        """A database was opened."""
        self.session = session

    def detach(self) -> None:
        """The database is about to be closed; let go of it."""
        self.session = None

    def entered(self) -> None:
        """The page has come into view."""

    def left(self) -> None:
        """Another page has come into view."""
