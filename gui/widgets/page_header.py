"""The head of every page: what it is, one line on what it shows, and its actions."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QWidget

from gui.theme import Space
from gui.widgets.basics import ElidedLabel, Pill, column, label, row


class PageHeader(QFrame):
    """Title, a line below it, and room for buttons at the right."""

    def __init__(self, title: str, subtitle: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "page")
        self._title = label(title, "title")
        self._subtitle = ElidedLabel(subtitle, "muted")
        self.state = Pill()
        self.state.hide()
        self._actions = row(gap=Space.S)
        words = column(row(self._title, self.state, None, gap=Space.M), self._subtitle, gap=2)
        whole = row(gap=Space.L, margin=(Space.XL, Space.L + 2, Space.XL, Space.M))
        whole.addLayout(words, 1)
        whole.addLayout(self._actions)
        self.setLayout(whole)

    def set_title(self, text: str) -> None:
        self._title.setText(text)

    def set_subtitle(self, text: str) -> None:
        self._subtitle.setText(text)

    def add_action(self, widget: QWidget) -> None:
        """Put a button at the right; the last one added stands outermost."""
        self._actions.addWidget(widget)
