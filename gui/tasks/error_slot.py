"""A place on a page where the card of what went wrong last appears."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QWidget

from gui.tasks.error_cards import error_card
from gui.widgets import column


class ErrorSlot(QFrame):
    """Empty and without height until `show_error`; a newer card replaces the one before.

    A card offers only what `can_do` says can be done; left out, it offers nothing but its words.
    """

    action_requested = Signal(str)

    def __init__(self, can_do: Callable[[str], bool] | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._can_do = can_do if can_do is not None else lambda _action: False
        self._card: QWidget | None = None
        self._place = column(gap=0)
        self.setLayout(self._place)
        self.hide()

    def show_error(self, error: BaseException, operation: str = "") -> None:
        """Show the card of an error."""
        self.clear()
        card = error_card(error, operation, self._can_do)
        card.action_requested.connect(self.action_requested)
        card.dismissed.connect(self.clear)
        self._card = card
        self._place.addWidget(card)
        self.show()

    def clear(self) -> None:
        """Take the card away."""
        if self._card is not None:
            self._place.removeWidget(self._card)
            self._card.deleteLater()
            self._card = None
        self.hide()
