"""One figure with its name, and what it means."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from gui.theme import Space, Tone
from gui.widgets.basics import ElidedLabel, column, label, set_look


class StatTile(QFrame):
    """A name, a figure, and a line that says over what time or of what."""

    def __init__(self, name: str, value: str = "–", detail: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "card")
        self._name = label(name, "caption")
        self._value = label(value, "figure")
        self._detail = ElidedLabel(detail, "caption", where=Qt.TextElideMode.ElideRight)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setLayout(
            column(self._name, self._value, self._detail, margin=(Space.L, Space.M, Space.L, Space.M), gap=2)
        )
        self._describe()

    def show_value(self, value: str, detail: str | None = None, tone: Tone | None = None) -> None:
        """Change the figure; leave out `detail` to keep the line below it."""
        if value != self._value.text():
            self._value.setText(value)
        if detail is not None and detail != self._detail.text():
            self._detail.setText(detail)
        wanted = "" if tone is None else str(tone)
        if (self._value.property("tone") or "") != wanted:
            set_look(self._value, tone=wanted)
        self._describe()

    def value(self) -> str:
        return self._value.text()

    def _describe(self) -> None:
        self.setAccessibleName(f"{self._name.text()}: {self._value.text()} {self._detail.text()}")
