"""A card: a titled surface that holds one thing."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from gui.theme import Space
from gui.widgets.basics import ElidedLabel, Item, column, label, row


class Card(QFrame):
    """A bordered surface with an optional title; put content into `body`, small things into `head`."""

    def __init__(
        self,
        title: str = "",
        hint: str = "",
        parent: QWidget | None = None,
        margin: tuple[int, int, int, int] = (Space.L, Space.M, Space.L, Space.L),
    ) -> None:
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.body: QVBoxLayout = column(gap=Space.S)
        self.head: QHBoxLayout = row(gap=Space.S)
        self.title = label(title, "strong")
        # What it says gives way to the buttons beside it; the card never asks for room because of it.
        self.hint = ElidedLabel(hint, "caption", where=Qt.TextElideMode.ElideRight)
        outer = column(margin=margin, gap=Space.M)
        if title:
            self.head.addWidget(self.title)
            self.head.addWidget(self.hint, 1)
            outer.addLayout(self.head)
            self.setAccessibleName(title)
        outer.addLayout(self.body, 1)
        self.setLayout(outer)

    def add(self, *items: Item) -> None:
        """Put items into the body, one below the other."""
        for item in items:
            if item is None:
                self.body.addStretch(1)
            elif isinstance(item, int):
                self.body.addSpacing(item)
            elif isinstance(item, QWidget):
                self.body.addWidget(item)
            else:
                self.body.addLayout(item)
