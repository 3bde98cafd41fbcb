"""A coloured strip that says how something ended, in a line and a sentence."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QLabel, QWidget

from gui.theme import IconName, Space, Tone, pixmap
from gui.widgets.basics import column, label, row, set_look

_PICTURES: dict[Tone, IconName] = {Tone.GOOD: "success", Tone.WARN: "warning", Tone.BAD: "error"}


class Banner(QFrame):
    """Hidden until `say`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture = QLabel()
        self._title = label("", "section")
        self._words = label("", wrap=True)
        words = column(self._title, self._words, gap=2)
        line = row(self._picture, gap=Space.M, margin=Space.L)
        line.addLayout(words, 1)
        self.setLayout(line)
        self.hide()

    def say(self, tone: Tone, title: str, words: str) -> None:
        """Show an outcome."""
        set_look(self, surface=str(tone))
        drawing = _PICTURES.get(tone, "info")
        self._picture.setPixmap(pixmap(drawing, 32, tone, self.devicePixelRatioF()))
        self._title.setText(title)
        self._words.setText(words)
        self._words.setVisible(bool(words))
        self.setAccessibleName(title)
        self.setAccessibleDescription(words)
        self.show()

    def title(self) -> str:
        return self._title.text()
