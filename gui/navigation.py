"""The navigation: which database, and its pages."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QLabel, QPushButton, QWidget

from gui.page import Page
from gui.theme import Space, icon, pixmap
from gui.widgets import ElidedLabel, button, column, row, rule


class Navigation(QFrame):
    """Buttons for the pages, the name of the database above them, the theme below."""

    page_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sidebar")
        self.setFixedWidth(208)
        self._buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        mark = QLabel()
        mark.setPixmap(pixmap("holdfast", 28, "text", 2.0))
        self._name = ElidedLabel("Holdfast", "strong")
        self._place = ElidedLabel("", "caption")
        head = row(mark, gap=Space.S + 2, margin=(Space.XS, 0, 0, 0))
        head.addLayout(column(self._name, self._place, gap=0), 1)
        self._pages = column(gap=2)
        self._feet = column(gap=2)
        whole = column(head, Space.XS, rule(), Space.XS, self._pages, None, self._feet, gap=Space.S)
        whole.setContentsMargins(Space.M, Space.L, Space.M, Space.M)
        self.setLayout(whole)
        self.show_database("", "")

    def add_page(self, page: Page, at_foot: bool = False) -> None:
        """A button for a page."""
        made = button(page.title, lambda: self.page_chosen.emit(page.page_id), "nav", page.icon_name)
        made.setIconSize(QSize(28, 18))
        made.setIcon(icon(page.icon_name, "text_muted", "accent"))
        made.setCheckable(True)
        made.setCursor(Qt.CursorShape.ArrowCursor)
        self._group.addButton(made)
        self._buttons[page.page_id] = made
        (self._feet if at_foot else self._pages).addWidget(made)

    def add_foot(self, widget: QWidget) -> None:
        self._feet.addWidget(widget)

    def show_page(self, page_id: str) -> None:
        """Mark the page that is in view."""
        chosen = self._buttons.get(page_id)
        self._group.setExclusive(chosen is not None)
        for made in self._buttons.values():
            made.setChecked(made is chosen)

    def show_database(self, name: str, place: str) -> None:
        """Name the open database; empty where there is none."""
        self._name.setText(name or "Holdfast")
        self._place.setText(place or self.tr("No database open"))

    def set_enabled_pages(self, page_ids: set[str]) -> None:
        for page_id, made in self._buttons.items():
            made.setEnabled(page_id in page_ids)
