"""The parts of the guide, one of which is in view: they scroll, and what stands below them stays."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QScrollArea, QSizePolicy, QStackedWidget, QWidget

from gui.theme import Space
from gui.widgets import column


class Parts(QScrollArea):
    """Shows one of `parts`, below `above`, which all of them have in common."""

    def __init__(self, above: QWidget, *parts: QWidget) -> None:
        super().__init__()
        self.all = parts
        self._stack = QStackedWidget()
        for part in parts:
            self._stack.addWidget(part)
        upper = QFrame()
        inside = column(above, gap=Space.M)
        inside.addWidget(self._stack, 1)
        upper.setLayout(inside)
        self.setWidgetResizable(True)
        self.setWidget(upper)
        for ground in (upper, self.viewport()):
            ground.setAutoFillBackground(False)

    def shown(self) -> int:
        """The place of the part in view."""
        return self._stack.currentIndex()

    def show_part(self, wanted: int) -> None:
        """Bring a part into view, from its beginning."""
        # Only the part in view may ask for room.
        for place, widget in enumerate(self.all):
            policy = QSizePolicy.Policy.Preferred if place == wanted else QSizePolicy.Policy.Ignored
            widget.setSizePolicy(policy, policy)
        self._stack.setCurrentIndex(wanted)
        self.verticalScrollBar().setValue(0)
