"""What a page shows while it has nothing to show: why, and what to do about it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget

from gui.theme import Space, pixmap
from gui.widgets.basics import column, label, row

_TEXT_WIDTH = 440


class EmptyState(QWidget):
    """An icon, a line, a sentence, and the buttons that change the state of things."""

    def __init__(
        self, icon_name: str, title: str, text: str, *buttons: QPushButton, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self._picture = QLabel()
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title = label(title, "section")
        self._title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text = label(text, "muted", wrap=True)
        self._text.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self._text.setFixedWidth(_TEXT_WIDTH)
        self._text.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Minimum)
        self._make_room()
        actions = row(None, *buttons, None)
        middle = column(self._picture, self._title, self._text, Space.S, actions, gap=Space.S)
        middle.setAlignment(self._text, Qt.AlignmentFlag.AlignHCenter)
        whole = column(None, middle, None, margin=Space.XL)
        self.setLayout(whole)
        self._draw()

    def set_words(self, title: str, text: str) -> None:
        self._title.setText(title)
        self._text.setText(text)
        self._make_room()

    def _make_room(self) -> None:
        # A layout that centres a label does not ask it how high it is at this width.
        self._text.ensurePolished()
        # One without words has no height of its own to tell.
        self._text.setMinimumHeight(max(self._text.heightForWidth(_TEXT_WIDTH), 0))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()
        super().changeEvent(event)

    def _draw(self) -> None:
        self._picture.setPixmap(pixmap(self._icon_name, 44, "text_faint", self.devicePixelRatioF()))
