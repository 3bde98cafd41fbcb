"""A large button: an icon, what it does, and a line on it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QWidget

from gui.theme import IconName, Space, pixmap
from gui.widgets import column, label, row


class StartTile(QPushButton):
    """A tile of the welcome page."""

    def __init__(self, icon_name: IconName, title: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon_name = icon_name
        self.setProperty("kind", "tile")
        self.setAutoDefault(True)
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._picture = QLabel()
        words = column(label(title, "section"), label(text, "caption"), gap=2)
        inner = row(self._picture, gap=Space.L, margin=(Space.L, Space.M, Space.L, Space.M))
        inner.addLayout(words, 1)
        self.setLayout(inner)
        for child in self.findChildren(QLabel):
            child.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._draw()

    def sizeHint(self) -> QSize:
        return QSize(320, 76)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_picture"):
            self._draw()
        super().changeEvent(event)

    def _draw(self) -> None:
        self._picture.setPixmap(pixmap(self._icon_name, 26, "accent", self.devicePixelRatioF()))
