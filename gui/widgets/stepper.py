"""Steps in order, each with its state, its figures and its time: a wizard's or a recovery's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from gui.theme import Space, Tone, pixmap
from gui.widgets.basics import ElidedLabel, column, label, set_look


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One line: its name, state, what it found, and how long it took."""

    name: str
    state: StepState = StepState.WAITING
    detail: str = ""
    time: str = ""


_LOOK: dict[StepState, tuple[str, Tone | str]] = {
    StepState.WAITING: ("more", "border_strong"),
    StepState.RUNNING: ("play", Tone.ACCENT),
    StepState.DONE: ("success", Tone.GOOD),
    StepState.WARNING: ("warning", Tone.WARN),
    StepState.FAILED: ("error", Tone.BAD),
    StepState.SKIPPED: ("cancelled", "text_faint"),
}


class Stepper(QWidget):
    """A numbered list of steps that is told the state of each as it changes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Space.M)
        self._grid.setVerticalSpacing(Space.S - 1)
        self._grid.setColumnStretch(2, 1)
        whole = column(gap=0)
        whole.addLayout(self._grid)
        whole.addStretch(1)
        self.setLayout(whole)
        self._steps: list[Step] = []
        self._lines: list[tuple[QLabel, QLabel, QLabel, QLabel]] = []

    def reserve(self, count: int) -> None:
        """Build as many lines beforehand, unseen, for what is to be shown soon."""
        while len(self._lines) < count:
            self._add_line()
            for widget in self._lines[-1]:
                widget.hide()

    def set_steps(self, steps: list[Step]) -> None:
        """Show these steps; lines that did not change are left alone."""
        while len(self._lines) < len(steps):
            self._add_line()
        for place, step in enumerate(steps):
            if place >= len(self._steps) or self._steps[place] != step:
                self._show(place, step)
        for place, line in enumerate(self._lines):
            for widget in line:
                if widget.isHidden() == (place < len(steps)):
                    widget.setVisible(place < len(steps))
        self._steps = list(steps)

    def steps(self) -> list[Step]:
        return list(self._steps)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            for place, step in enumerate(self._steps):
                self._show(place, step)
        super().changeEvent(event)

    def _add_line(self) -> None:
        detail = ElidedLabel("", "caption", where=Qt.TextElideMode.ElideRight)
        line = (QLabel(), label(), detail, label("", "caption"))
        line[3].setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for place, widget in enumerate(line):
            self._grid.addWidget(widget, len(self._lines), place)
        self._lines.append(line)

    def _show(self, place: int, step: Step) -> None:
        picture, name, detail, time = self._lines[place]
        drawing, paint = _LOOK[step.state]
        picture.setPixmap(pixmap(drawing, 18, paint, self.devicePixelRatioF()))
        picture.setAccessibleName(str(step.state))
        name.setText(step.name)
        role = {StepState.RUNNING: "strong", StepState.WAITING: "muted"}.get(step.state, "")
        set_look(name, role=role)
        detail.setText(step.detail)
        time.setText(step.time)
