"""What a page shows while it has nothing to show: why, and what to do about it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget

from gui.theme import IconName, Space, pixmap
from gui.widgets.basics import column, label, row

_TEXT_WIDTH, _LEAST_WIDTH = 440, 240


class EmptyState(QWidget):
    """An icon, a line, a sentence, and the buttons that change the state of things."""

    def __init__(
        self, icon_name: IconName, title: str, text: str, *buttons: QPushButton, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self._picture = QLabel()
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title = label(title, "section")
        self._title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text = label(text, "muted", wrap=True)
        self._text.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self._text.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Minimum)
        self._make_room()
        self._actions = row(None, *buttons, None)
        middle = column(self._picture, self._title, self._text, Space.S, self._actions, gap=Space.S)
        middle.setAlignment(self._text, Qt.AlignmentFlag.AlignHCenter)
        whole = column(None, middle, None, margin=Space.XL)
        self.setLayout(whole)
        self._draw()

    def set_words(self, title: str, text: str) -> None:
        self._title.setText(title)
        self._text.setText(text)
        self._make_room()

    def minimumSizeHint(self) -> QSize:
        # The sentence takes more lines where there is less room.
        width = max(_LEAST_WIDTH, self._actions.minimumSize().width()) + 2 * Space.XL
        return QSize(width, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        width = min(_TEXT_WIDTH, max(_LEAST_WIDTH, self.width() - 2 * Space.XL))
        self._text.setFixedWidth(width)
        # A layout that centres a label does not ask it how high it is at this width.
        self._text.ensurePolished()
        # One without words has no height of its own to tell.
        self._text.setMinimumHeight(max(self._text.heightForWidth(width), 0))

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()
        super().changeEvent(event)

    def _draw(self) -> None:
        self._picture.setPixmap(pixmap(self._icon_name, 44, "text_faint", self.devicePixelRatioF()))
