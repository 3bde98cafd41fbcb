"""Steps in order, each with its state, its figures and its time: a wizard's or a recovery's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gui.theme import IconName, Size, Space, Tone, colors, pixmap


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


_LOOK: dict[StepState, tuple[IconName, Tone | str]] = {
    StepState.WAITING: ("more", "border_strong"),
    StepState.RUNNING: ("play", Tone.ACCENT),
    StepState.DONE: ("success", Tone.GOOD),
    StepState.WARNING: ("warning", Tone.WARN),
    StepState.FAILED: ("error", Tone.BAD),
    StepState.SKIPPED: ("cancelled", "text_faint"),
}
_PICTURE = 18
_GAP = Space.S - 1
"""Between two lines."""
_LEAST_DETAIL = 40


class Stepper(QWidget):
    """A numbered list of steps that is told the state of each as it changes.

    It draws its lines itself: a widget for each word would be styled, laid out and told of every change
    of the window one by one, and a page of recovery has three lists of twelve steps.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._steps: list[Step] = []
        self._widths = (0, 0)
        self._small, self._strong = QFont(), QFont()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self._choose_fonts()

    def set_steps(self, steps: list[Step]) -> None:
        """Show these steps; lines that did not change are not drawn again."""
        if steps == self._steps:
            return
        before, self._steps = self._steps, list(steps)
        widths = self._measure()
        if widths != self._widths or len(before) != len(steps):
            self._widths = widths
            self.updateGeometry()
            self.update()
        else:
            for place, step in enumerate(steps):
                if step != before[place]:
                    self.update(0, round(self._top(place)), self.width(), self._high())
        self._tell()

    def steps(self) -> list[Step]:
        return list(self._steps)

    def sizeHint(self) -> QSize:
        lines = len(self._steps)
        wide = _PICTURE + sum(self._widths) + _LEAST_DETAIL + 3 * Space.M
        return QSize(wide, lines * self._high() + max(lines - 1, 0) * _GAP)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            step = self._step_at(event.pos().y())
            QToolTip.showText(event.globalPos(), "" if step is None else step.detail, self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        elif event.type() == QEvent.Type.FontChange:
            self._choose_fonts()
            self._widths = self._measure()
            self.updateGeometry()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        for place, step in enumerate(self._steps):
            top = self._top(place)
            if event.rect().top() <= top + self._high() and event.rect().bottom() >= top:
                self._draw(painter, QRectF(0, top, self.width(), self._high()), step)
        # Not left to the end of its life: whoever looks at this frame would prolong it.
        painter.end()

    def _draw(self, painter: QPainter, box: QRectF, step: Step) -> None:
        now, middle = colors(), Qt.AlignmentFlag.AlignVCenter
        name, time = self._widths
        drawing, paint = _LOOK[step.state]
        painter.drawPixmap(
            round(box.left()),
            round(box.top() + (box.height() - _PICTURE) / 2),
            pixmap(drawing, _PICTURE, paint, self.devicePixelRatioF()),
        )
        left = _PICTURE + Space.M
        painter.setFont(self._font_of(step))
        painter.setPen(QColor(now.text_muted if step.state is StepState.WAITING else now.text))
        painter.drawText(QRectF(left, box.top(), name, box.height()), middle, step.name)
        painter.setFont(self._small)
        painter.setPen(QColor(now.text_muted))
        left += name + Space.M
        room = QRectF(left, box.top(), box.width() - time - Space.M - left, box.height())
        words = QFontMetrics(self._small).elidedText(
            step.detail, Qt.TextElideMode.ElideRight, round(room.width())
        )
        painter.drawText(room, middle, words)
        painter.drawText(box, middle | Qt.AlignmentFlag.AlignRight, step.time)

    def _choose_fonts(self) -> None:
        self._small, self._strong = QFont(self.font()), QFont(self.font())
        self._small.setPixelSize(Size.SMALL)
        self._strong.setWeight(QFont.Weight.DemiBold)

    def _font_of(self, step: Step) -> QFont:
        return self._strong if step.state is StepState.RUNNING else self.font()

    def _measure(self) -> tuple[int, int]:
        """How wide the names and the times are. Each name has room for its strongest look."""
        names, times = QFontMetrics(self._strong), QFontMetrics(self._small)
        return (
            max((names.horizontalAdvance(step.name) for step in self._steps), default=0),
            max((times.horizontalAdvance(step.time) for step in self._steps), default=0),
        )

    def _high(self) -> int:
        return max(_PICTURE, self.fontMetrics().height())

    def _top(self, place: int) -> float:
        return place * (self._high() + _GAP)

    def _step_at(self, y: int) -> Step | None:
        place = y // (self._high() + _GAP)
        return self._steps[place] if 0 <= place < len(self._steps) else None

    def _tell(self) -> None:
        """What a screen reader says: every step with its state."""
        lines = (f"{step.name}: {step.state}. {step.detail} {step.time}".strip() for step in self._steps)
        self.setAccessibleDescription("\n".join(lines))
