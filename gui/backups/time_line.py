"""Backups on a line of time, each with a mark that says how far it is proved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gui.backups.words import origin_word, proof_tone, proof_word
from gui.theme import Size, Tone, colors, tone_color
from gui.widgets import formats

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup

_RADIUS = 7.0
_LANES = 3
_SIDE = 28.0
_FOOT = 22.0
_NEXT_SHARE = 0.12
"""Of the width, for what is to come."""


class BackupTimeLine(QWidget):
    """Shows backups by when they were taken; emits the path of the one that is chosen."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._backups: tuple[KeptBackup, ...] = ()
        self._current = ""
        self._next_at: float | None = None
        self._now = time.time()
        self.setFixedHeight(104)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(self.tr("Time line of backups"))

    def show_backups(self, backups: Sequence[KeptBackup], next_at: float | None) -> None:
        """Show these, and when the next one is due."""
        self._backups = tuple(sorted(backups, key=lambda kept: kept.info.taken_at))
        self._next_at, self._now = next_at, time.time()
        self.setAccessibleDescription("; ".join(self._words(kept) for kept in self._backups[-20:]))
        self.update()

    def choose(self, path: str) -> None:
        """Mark one as the current one."""
        if path != self._current:
            self._current = path
            self.update()

    def marks(self) -> list[tuple[QPointF, KeptBackup]]:
        """Where each backup is drawn. Those too near to one another stand one above the other."""
        line = self.height() - _FOOT
        lanes = [-1e9] * _LANES
        found = []
        for kept in self._backups:
            x = self._x(kept.info.taken_at)
            lane = next((n for n, last in enumerate(lanes) if x - last > 2 * _RADIUS + 3), _LANES - 1)
            lanes[lane] = x
            found.append((QPointF(x, line - 14 - lane * (2 * _RADIUS + 4)), kept))
        return found

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if (kept := self._at(event.position())) is not None:
            self.chosen.emit(kept.info.path)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or not self._backups:
            super().keyPressEvent(event)
            return
        paths = [kept.info.path for kept in self._backups]
        place = paths.index(self._current) + step if self._current in paths else len(paths) - 1
        self.chosen.emit(paths[min(max(place, 0), len(paths) - 1)])

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            kept = self._at(QPointF(event.pos()))
            words = "" if kept is None else self._words(kept)
            QToolTip.showText(event.globalPos(), words, self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPixelSize(Size.CAPTION)
        painter.setFont(font)
        self._draw_line(painter)
        for point, kept in self.marks():
            self._draw_mark(painter, point, kept)
        self._draw_next(painter)
        self._draw_legend(painter)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(tone_color(Tone.ACCENT), 1))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        painter.end()

    def _begin(self) -> float:
        # A single backup of a moment ago stands on a line of a day.
        oldest = self._backups[0].info.taken_at if self._backups else self._now
        return min(oldest, self._now - 86400)

    def _x(self, at: float) -> float:
        begin, end = self._begin(), self._now
        width = (self.width() - 2 * _SIDE) * (1 - _NEXT_SHARE)
        return _SIDE + width * min(max((at - begin) / (end - begin), 0.0), 1.0)

    def _at(self, point: QPointF) -> KeptBackup | None:
        near = [(abs(p.x() - point.x()) + abs(p.y() - point.y()), kept) for p, kept in self.marks()]
        best = min(near, key=lambda pair: pair[0], default=None)
        return best[1] if best is not None and best[0] <= 2 * _RADIUS else None

    def _words(self, kept: KeptBackup) -> str:
        return f"{formats.moment(kept.info.taken_at)} · {proof_word(kept)} · {origin_word(kept)}"

    def _draw_line(self, painter: QPainter) -> None:
        now, line = colors(), self.height() - _FOOT
        right, today = self.width() - _SIDE, self._x(self._now)
        painter.setPen(QPen(tone_color(Tone.NEUTRAL), 1.5))
        painter.drawLine(QPointF(_SIDE, line), QPointF(today, line))
        dashed = QPen(tone_color(Tone.NEUTRAL), 1.5, Qt.PenStyle.DashLine)
        painter.setPen(dashed)
        painter.drawLine(QPointF(today, line), QPointF(right, line))
        painter.setPen(QColor(now.text_faint))
        begin, steps = self._begin(), 4 if self.width() > 520 else 2
        for place in range(steps + 1):
            at = begin + (self._now - begin) * place / steps
            x = self._x(at)
            painter.drawLine(QPointF(x, line - 3), QPointF(x, line + 3))
            words = self.tr("now") if place == steps else formats.ago(at, self._now)
            box = QRectF(x - 60, line + 4, 120, _FOOT - 4)
            if place == 0:
                box.moveLeft(4)
                painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, words)
            else:
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, words)

    def _draw_mark(self, painter: QPainter, point: QPointF, kept: KeptBackup) -> None:
        line = self.height() - _FOOT
        tone = proof_tone(kept)
        painter.setPen(QPen(tone_color(Tone.NEUTRAL), 1))
        painter.drawLine(QPointF(point.x(), point.y() + _RADIUS), QPointF(point.x(), line))
        if kept.info.path == self._current:
            painter.setPen(QPen(tone_color(Tone.ACCENT), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(point, _RADIUS + 3, _RADIUS + 3)
        _draw_state(painter, point, tone)

    def _draw_next(self, painter: QPainter) -> None:
        if self._next_at is None:
            return
        now, line = colors(), self.height() - _FOOT
        x = self.width() - _SIDE - _RADIUS
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(tone_color(Tone.ACCENT), 1.5, Qt.PenStyle.DotLine))
        painter.drawEllipse(QPointF(x, line - 14), _RADIUS, _RADIUS)
        painter.setPen(QColor(now.text_muted))
        box = QRectF(self.width() - 124.0, line + 4, 120, _FOOT - 4)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self.tr("next"))

    def _draw_legend(self, painter: QPainter) -> None:
        words = (
            (Tone.GOOD, self.tr("proved")),
            (Tone.ACCENT, self.tr("checksummed")),
            (Tone.WARN, self.tr("not verified")),
            (Tone.BAD, self.tr("failed")),
        )
        x = 10.0
        for tone, word in words:
            _draw_state(painter, QPointF(x, 10), tone, 5.0)
            painter.setPen(QColor(colors().text_muted))
            width = painter.fontMetrics().horizontalAdvance(word)
            painter.drawText(QPointF(x + 10, 10 + painter.fontMetrics().ascent() / 2 - 1), word)
            x += width + 32


def _draw_state(painter: QPainter, point: QPointF, tone: Tone, radius: float = _RADIUS) -> None:
    """Each state has a shape of its own, for those who do not tell the colours apart."""
    surface = colors().surface
    painter.setPen(QPen(tone_color(tone), 2))
    painter.setBrush(tone_color(tone) if tone in (Tone.GOOD, Tone.BAD) else tone_color(tone, soft=True))
    painter.drawEllipse(point, radius, radius)
    x, y, size = point.x(), point.y(), radius * 0.45
    if tone is Tone.GOOD:
        painter.setPen(QPen(QColor(surface), 1.8))
        painter.drawPolyline(
            [QPointF(x - size, y), QPointF(x - size / 4, y + size), QPointF(x + size * 1.1, y - size)]
        )
    elif tone is Tone.BAD:
        painter.setPen(QPen(QColor(surface), 1.8))
        painter.drawLine(QPointF(x - size, y - size), QPointF(x + size, y + size))
        painter.drawLine(QPointF(x - size, y + size), QPointF(x + size, y - size))
    elif tone is Tone.ACCENT:
        painter.setBrush(tone_color(tone))
        painter.drawEllipse(point, radius * 0.35, radius * 0.35)
