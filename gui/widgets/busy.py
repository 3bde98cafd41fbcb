"""What is shown while something short is awaited that leaves nothing else to look at."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QProgressBar, QWidget

from gui.widgets.basics import column, label, row


class BusyPage(QFrame):
    """A sentence above a bar that moves."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "page")
        self._text = label("", "section")
        self._text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedWidth(260)
        self.setLayout(column(None, self._text, row(None, self._bar, None), None, gap=14))

    def show_words(self, text: str) -> None:
        self._text.setText(text)
        self._bar.setRange(0, 0)
        self.setAccessibleName(text)
