"""A bar that asks for a decision where the work is, instead of a dialog in its way."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLabel, QWidget

from gui.theme import Space, Tone, pixmap
from gui.widgets.basics import button, label, row, set_look


class ConfirmBar(QFrame):
    """A sentence, the button that does what it says, and the one that leaves things alone.

    The safe button has the focus when the bar appears.
    """

    confirmed = Signal()
    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon = QLabel()
        self._text = label("", wrap=True)
        self._yes = button("", self._confirm, "danger")
        self._no = button("", self._dismiss)
        line = row(self._icon, self._text, self._no, self._yes, margin=(Space.L, Space.S, Space.L, Space.S))
        line.setStretchFactor(self._text, 1)
        self.setLayout(line)
        self.hide()

    def ask(self, text: str, yes: str, no: str, tone: Tone = Tone.WARN) -> None:
        """Show the question; the answer comes as `confirmed` or `dismissed`."""
        self._text.setText(text)
        self._yes.setText(yes)
        self._no.setText(no)
        set_look(self._yes, kind="danger" if tone is Tone.BAD else "primary")
        set_look(self, surface=str(tone))
        self._icon.setPixmap(pixmap("warning", 18, tone, self.devicePixelRatioF()))
        self.setAccessibleName(text)
        self.show()
        self._no.setFocus()

    def _confirm(self) -> None:
        self.hide()
        self.confirmed.emit()

    def _dismiss(self) -> None:
        self.hide()
        self.dismissed.emit()
