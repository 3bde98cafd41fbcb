"""An error card in a window of its own, for errors that belong to no page in view."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QWidget

from gui.tasks import error_card
from gui.theme import Space
from gui.widgets import column, set_look


class ErrorDialog(QDialog):
    """Shows the card; open it with `open()`. `action_requested` carries the chosen action."""

    action_requested = Signal(str)

    def __init__(
        self, error: BaseException, operation: str, can_do: Callable[[str], bool], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Something went wrong"))
        self.setModal(True)
        self.card = error_card(error, operation, can_do)
        self.card.dismissed.connect(self.close)
        self.card.action_requested.connect(self._act)
        set_look(self.card, surface="plain")
        self.setLayout(column(self.card, margin=Space.XS))
        self.setMinimumWidth(620)

    def showEvent(self, event: QShowEvent) -> None:
        # Only now are the fonts those of the style sheet, and the wrapped words as high as they will be.
        super().showEvent(event)
        self.card.fit()
        self.adjustSize()

    def _act(self, action: str) -> None:
        self.close()
        self.action_requested.emit(action)
