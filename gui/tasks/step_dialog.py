"""A guide in steps: their marks above, one part in view, and below it progress, the command and buttons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QStackedWidget, QWidget

from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import CommandLine, Pill, button, column, label, row


class StepDialog(QDialog):
    """What every such guide has. The guide itself says what its buttons do, and when they can be used.

    `names` are its steps; `shown` says which of the parts that `lay_out` gets each step shows.
    """

    def __init__(
        self,
        title: str,
        names: Sequence[str],
        shown: Mapping[int, int],
        errors: ErrorSlot,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.step = 0
        self.errors = errors
        self.bar, self.command = JobBar(), CommandLine()
        self.back = button(self.tr("Back"))
        self.close_button = button(self.tr("Close"), self.close)
        self.go = button("", kind="primary")
        self.go.setDefault(True)
        self._shown = shown
        self._marks = [Pill(name) for name in names]
        self._stack = QStackedWidget()

    def resize_within(self, width: int, height: int) -> None:
        """Be so large, or as large as the window that it belongs to, where that is smaller."""
        over = self.parentWidget()
        size = QSize(width, height)
        self.resize(size if over is None else size.boundedTo(over.window().size()))

    def lay_out(self, parts: Sequence[QWidget], back: Callable[[], object], go: Callable[[], object]) -> None:
        """Put the parts in their place, once."""
        self.back.clicked.connect(lambda _checked=False: back())
        self.go.clicked.connect(lambda _checked=False: go())
        for part in parts:
            self._stack.addWidget(part)
        whole = column(
            label(self.windowTitle(), "title"),
            row(*self._marks, None),
            self.errors,
            gap=Space.M,
            margin=Space.XL,
        )
        whole.addWidget(self._stack, 1)
        whole.addWidget(self.bar)
        whole.addWidget(self.command)
        whole.addLayout(row(self.back, None, self.close_button, self.go))
        self.setLayout(whole)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        focused = self.focusWidget()
        if focused is None or self.command.isAncestorOf(focused):
            # Where a step has nothing else to use, the Enter key is not to copy the command.
            self.close_button.setFocus()

    def turn_to(self, step: int) -> None:
        """Bring a step into view, and mark how far the guide has come."""
        self.step = step
        self._stack.setCurrentIndex(self._shown[step])
        for place, mark in enumerate(self._marks):
            tone = Tone.GOOD if place < step else Tone.ACCENT if place == step else Tone.NEUTRAL
            mark.show_state(mark.text(), tone)
        self._marks[step].setAccessibleName(self.tr("Step {name}, now").format(name=self._marks[step].text()))
