"""The page map: every page of the database as a cell, coloured by what it is.

Colour is never the only sign: damaged cells are crossed, those set apart are barred, repaired ones
carry a point.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFocusEvent, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from engine.integrity.page_map import PageMap, PageState
from gui.integrity.words import cell_words
from gui.theme import Tone, colors, tone_color

MOST_CELLS = 4096
"""More would be too small to see, and slow to paint."""
_LARGEST, _SMALLEST, _GAP = 28, 7, 2


def state_color(state: PageState) -> QColor:
    """The colour of a state in the theme in force."""
    now = colors()
    if state is PageState.FREE:
        return QColor(now.border)
    tones = {PageState.REPAIRED: Tone.GOOD, PageState.DAMAGED: Tone.BAD, PageState.SET_APART: Tone.WARN}
    if state in tones:
        return tone_color(tones[state])
    series = {PageState.TREE: 0, PageState.OVERFLOW: 3, PageState.MAP: 1}
    made = QColor(now.series[series[state]])
    made.setAlpha(165)
    return made


def paint_state(painter: QPainter, box: QRect, state: PageState) -> None:
    """One cell, with the sign that tells it apart without its colour."""
    painter.fillRect(box, state_color(state))
    painter.setPen(QPen(QColor(colors().surface), 1.4))
    inner = box.adjusted(2, 2, -3, -3)
    if state is PageState.DAMAGED:
        painter.drawLine(inner.topLeft(), inner.bottomRight())
        painter.drawLine(inner.bottomLeft(), inner.topRight())
    elif state is PageState.SET_APART:
        middle = box.center().y()
        painter.drawLine(inner.left(), middle, inner.right(), middle)
    elif state is PageState.REPAIRED:
        painter.fillRect(QRect(box.center() - QPoint(1, 1), QSize(3, 3)), QColor(colors().surface))


class PageMapView(QWidget):
    """Draws a `PageMap`. Arrow keys walk, N and Shift+N go to the next and the last damaged cell, and
    Return chooses."""

    page_chosen = Signal(int)
    """The first page of the cell that was chosen, or the first damaged one in it."""
    pointed_at = Signal(str)
    """What the pointer or the keyboard is at, in words; empty for nothing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(220, 120)
        self.setAccessibleName(self.tr("Page map"))
        self._map: PageMap | None = None
        self._states: list[PageState] = []
        self._per_cell, self._columns, self._side = 1, 1, _LARGEST
        self._at: int | None = None

    def show_map(self, found: PageMap | None) -> None:
        """Show another map; None for none."""
        self._map = found
        self._at = None
        self._arrange()

    def cells(self) -> int:
        return len(self._states)

    def pages_in(self, cell: int) -> tuple[int, int]:
        """The pages first <= page < last that a cell stands for."""
        pages = 0 if self._map is None else self._map.pages
        return cell * self._per_cell, min(pages, (cell + 1) * self._per_cell)

    def state_at(self, cell: int) -> PageState:
        return self._states[cell]

    def words_for(self, cell: int) -> str:
        """What a cell shows, in words."""
        if self._map is None:
            return ""
        first, last = self.pages_in(cell)
        counts = dict(self._map.cell(first, last))
        if last - first == 1:
            counts = {self._states[cell]: 1}
        return cell_words(first, last, counts)

    def choose_page(self, page: int) -> None:
        """Put the mark on the cell of a page."""
        if self._states:
            self._go_to(min(page // self._per_cell, len(self._states) - 1))

    def sizeHint(self) -> QSize:
        return QSize(420, 260)

    # Inside

    def _arrange(self) -> None:
        """Choose how many pages a cell stands for, so that all of them have room."""
        found = self._map
        if found is None or not found.pages:
            self._states = []
            self.update()
            return
        room = max(1, self.width()), max(1, self.height())
        fits = (room[0] // _SMALLEST) * (room[1] // _SMALLEST)
        most = max(1, min(MOST_CELLS, fits))
        per_cell = -(-found.pages // most)
        cells = -(-found.pages // per_cell)
        self._side = next(
            (s for s in range(_LARGEST, _SMALLEST, -1) if (room[0] // s) * (room[1] // s) >= cells), _SMALLEST
        )
        self._columns = max(1, room[0] // self._side)
        if per_cell != self._per_cell:
            self._at = None
        self._per_cell = per_cell
        self._states = self._summary(found, cells, per_cell)
        self.update()

    @staticmethod
    def _summary(found: PageMap, cells: int, per_cell: int) -> list[PageState]:
        states = []
        for cell in range(cells):
            first, last = cell * per_cell, min(found.pages, (cell + 1) * per_cell)
            places = found.states[-(-first // found.stride) : -(-last // found.stride)]
            states.append(PageState(max(places, default=0)))
        for page, state in found.marked.items():
            cell = page // per_cell
            states[cell] = max(states[cell], state)
        return states

    def _box(self, cell: int) -> QRect:
        line, place = divmod(cell, self._columns)
        side = self._side - _GAP
        return QRect(place * self._side, line * self._side, side, side)

    def _cell_under(self, where: QPoint) -> int | None:
        place, line = where.x() // self._side, where.y() // self._side
        cell = line * self._columns + place
        inside = 0 <= place < self._columns and line >= 0
        return cell if inside and cell < len(self._states) else None

    def _go_to(self, cell: int) -> None:
        self._at = max(0, min(cell, len(self._states) - 1))
        words = self.words_for(self._at)
        self.setAccessibleDescription(words)
        self.pointed_at.emit(words)
        self.update()

    def _next_damaged(self, step: int) -> None:
        start = -1 if self._at is None else self._at
        count = len(self._states)
        for far in range(1, count + 1):
            cell = (start + step * far) % count
            if self._states[cell] >= PageState.DAMAGED:
                self._go_to(cell)
                return

    def _choose(self, cell: int) -> None:
        self._go_to(cell)
        first, last = self.pages_in(cell)
        marked = {} if self._map is None else self._map.marked
        damaged = [page for page, state in marked.items() if first <= page < last]
        self.page_chosen.emit(min(damaged, default=first))

    # Qt

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        plain = {state: state_color(state) for state in PageState if state < PageState.REPAIRED}
        for cell, state in enumerate(self._states):
            box = self._box(cell)
            if state in plain:
                painter.fillRect(box, plain[state])
            else:
                paint_state(painter, box, state)
        if self._at is not None and self._at < len(self._states):
            tone = colors().accent if self.hasFocus() else colors().text
            painter.setPen(QPen(QColor(tone), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self._box(self._at).adjusted(-1, -1, 1, 1))
        painter.end()

    def resizeEvent(self, event: object) -> None:
        self._arrange()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._states:
            super().keyPressEvent(event)
            return
        at = 0 if self._at is None else self._at
        steps = {
            Qt.Key.Key_Right: at + 1,
            Qt.Key.Key_Left: at - 1,
            Qt.Key.Key_Down: at + self._columns,
            Qt.Key.Key_Up: at - self._columns,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: len(self._states) - 1,
        }
        key = Qt.Key(event.key())
        if key in steps:
            self._go_to(steps[key] if self._at is not None else at)
        elif key == Qt.Key.Key_N:
            back = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._next_damaged(-1 if back else 1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self._at is not None:
            self._choose(self._at)
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        cell = self._cell_under(event.position().toPoint())
        if cell is not None:
            self._choose(cell)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        cell = self._cell_under(event.position().toPoint())
        self.pointed_at.emit("" if cell is None else self.words_for(cell))

    def leaveEvent(self, event: QEvent) -> None:
        self.pointed_at.emit("" if self._at is None else self.words_for(self._at))

    def focusInEvent(self, event: QFocusEvent) -> None:
        if self._at is None and self._states:
            self._go_to(0)
        super().focusInEvent(event)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            cell = self._cell_under(event.pos())
            if cell is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.words_for(cell), self, self._box(cell))
            return True
        return super().event(event)
