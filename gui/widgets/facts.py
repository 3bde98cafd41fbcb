"""Facts about one thing: a name on the left, what is to be said of it on the right."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel

from gui.theme import Space
from gui.widgets.basics import label


class Facts(QGridLayout):
    """Lines by their keys; `titles` stand for the same keys."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self.setHorizontalSpacing(Space.L)
        self.setVerticalSpacing(Space.XS)
        self.setColumnStretch(1, 1)
        self.titles: dict[str, QLabel] = {}
        self.lines: dict[str, QLabel] = {}
        for place, (key, title) in enumerate(titles.items()):
            self.titles[key], self.lines[key] = label(title, "caption"), label("", wrap=True)
            self.titles[key].setBuddy(self.lines[key])
            self.addWidget(self.titles[key], place, 0, Qt.AlignmentFlag.AlignTop)
            self.addWidget(self.lines[key], place, 1)
