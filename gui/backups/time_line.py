"""The past of a database on one line: backups, the log that is kept, and a slider that snaps to commits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gui.backups.axis import moments_before
from gui.backups.line_paint import (
    BAND,
    RADIUS,
    draw_checkpoints,
    draw_flag,
    draw_gap,
    draw_handle,
    draw_log,
    draw_state,
    draw_states,
    spans_of,
)
from gui.backups.moments import Moments, Stop, StopKind
from gui.backups.words import origin_word, proof_tone, proof_word, stop_words
from gui.theme import Size, Tone, colors, tone_color
from gui.widgets import formats

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup
    from engine.backups.line import Commit, TimeLine

_LANES = 3
_SIDE = 28.0
_FOOT = 24.0
_NEXT_SHARE = 0.12
"""Of the width, for what is to come."""
_LEAST_S = 60.0
"""A single commit of a moment ago stands on a line of so many seconds."""
_ZOOM = 1.25
_LEAST_GAP = 5.0
_FAR = 10
"""Stops that a page key moves on by."""
_STEPS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_PageUp: -_FAR,
    Qt.Key.Key_PageDown: _FAR,
}
_ZOOMS = {Qt.Key.Key_Plus: _ZOOM, Qt.Key.Key_Equal: _ZOOM, Qt.Key.Key_Minus: 1 / _ZOOM}


class BackupTimeLine(QWidget):
    """Shows what can be gone back to; the slider chooses a moment. Arrow keys snap to the next commit."""

    chosen = Signal(str)
    """The path of a backup that is chosen."""
    stopped = Signal(object)
    """The slider was moved to this `Stop`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._backups: tuple[KeptBackup, ...] = ()
        self.moments = Moments()
        self._place: int | None = None
        self._stop: Stop | None = None
        self._next_at: float | None = None
        self._now = time.time()
        self._drawn: tuple[tuple[TimeLine, int, tuple[float, float]], list[tuple[int, int, bool]]] | None = (
            None
        )
        self._view: tuple[float, float] | None = None
        """Begin and end of what is shown, where it was zoomed."""
        self._marks: tuple[object, list[tuple[QPointF, KeptBackup]]] | None = None
        self._ground: tuple[object, QPixmap] | None = None
        """What is drawn under the slider, and what it was drawn for."""
        self.setFixedHeight(136)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(self.tr("Time line of backups and commits"))

    def show_backups(self, backups: Sequence[KeptBackup], next_at: float | None) -> None:
        """Show these, and when the next one is due. What is known of the log stays until it is read again."""
        self._backups = tuple(sorted(backups, key=lambda kept: kept.info.taken_at))
        self._next_at, self._now = next_at, time.time()
        self.moments.now = self._now
        self.moments.show_backups(self._backups)
        self._renew(self.moments)

    def show_line(self, line: TimeLine | None) -> None:
        """Show the log that is kept, too; None where it is not known."""
        self._now = time.time()
        self._renew(Moments(self._backups, line, self._now))

    def show_commits(self, place: int, commits: Sequence[Commit]) -> None:
        """The commits of one bin of the line are known one by one."""
        self.moments.refine(place, commits)
        self._renew(self.moments)

    def _renew(self, moments: Moments) -> None:
        """Show other stops; the slider stays at its moment."""
        before, self.moments = self._stop, moments
        self._place = None if before is None else moments.place_of(before.key)
        if self._place is None and before is not None:
            self._place = moments.nearest(before.at)
        self._tell_place()
        self.update()

    def current(self) -> Stop | None:
        """Where the slider stands."""
        stops = self.moments.stops
        return None if self._place is None or self._place >= len(stops) else stops[self._place]

    def choose(self, path: str) -> None:
        """Put the slider on a backup; nothing is emitted."""
        place = self.moments.place_of_backup(path)
        if place is not None and place != self._place:
            self._place = place
            self._tell_place()
            self.update()

    def go_to(self, place: int) -> None:
        """Move the slider to a stop, and tell."""
        stops = self.moments.stops
        if not stops:
            return
        self._place = min(max(place, 0), len(stops) - 1)
        stop = stops[self._place]
        self._bring_into_view(stop.at)
        self._tell_place()
        self.update()
        self.stopped.emit(stop)
        if stop.kind is StopKind.BACKUP:
            self.chosen.emit(stop.name)

    def marks(self) -> list[tuple[QPointF, KeptBackup]]:
        """Where each backup is drawn. Those too near to one another stand one above the other."""
        line = self._band().top()
        known = (self._backups, self.width(), line, self._span())
        if self._marks is not None and self._marks[0] == known:
            return self._marks[1]
        lanes = [-1e9] * _LANES
        found = []
        for kept in self._backups:
            x = self._x(kept.info.taken_at)
            lane = next((n for n, last in enumerate(lanes) if x - last > 2 * RADIUS + 3), _LANES - 1)
            lanes[lane] = x
            found.append((QPointF(x, line - 12 - lane * (2 * RADIUS + 4)), kept))
        self._marks = (known, found)
        return found

    # What the mouse and the keys do

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is not Qt.MouseButton.LeftButton:
            return
        if (kept := self._at(event.position())) is not None:
            place = self.moments.place_of_backup(kept.info.path)
            if place is not None:
                self.go_to(place)
            else:
                self.chosen.emit(kept.info.path)
        else:
            self._drag(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._drag(event.position().x())

    def _drag(self, x: float) -> None:
        place = self.moments.nearest(self._time(x))
        if place is not None and place != self._place:
            self.go_to(place)

    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta().y()
        if turned:
            self._zoom(_ZOOM if turned > 0 else 1 / _ZOOM, self._time(event.position().x()))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, stops = Qt.Key(event.key()), self.moments.stops
        is_far = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if key in _STEPS and stops:
            self._step(_STEPS[key], is_far)
        elif key is Qt.Key.Key_Home and stops:
            self.go_to(0)
        elif key is Qt.Key.Key_End and stops:
            self.go_to(len(stops) - 1)
        elif key in _ZOOMS:
            stop = self.current()
            self._zoom(_ZOOMS[key], self._now if stop is None else stop.at)
        elif key is Qt.Key.Key_0:
            self._view = None
            self.update()
        else:
            super().keyPressEvent(event)

    def _step(self, step: int, to_backup: bool) -> None:
        stops = self.moments.stops
        place = len(stops) - 1 if self._place is None else self._place + step
        if to_backup:
            while 0 < place < len(stops) - 1 and stops[place].kind not in (StopKind.BACKUP, StopKind.NAMED):
                place += 1 if step > 0 else -1
        self.go_to(place)

    def _zoom(self, factor: float, about: float) -> None:
        begin, end = self._span()
        whole = self._whole()
        begin, end = about - (about - begin) / factor, about + (end - about) / factor
        begin, end = max(begin, whole[0]), min(end, whole[1])
        if end - begin > 1e-3:
            self._view = None if (begin, end) == whole else (begin, end)
            self.update()

    def _bring_into_view(self, at: float) -> None:
        begin, end = self._span()
        if self._view is None or begin <= at <= end:
            return
        half = (end - begin) / 2
        whole = self._whole()
        begin = min(max(at - half, whole[0]), whole[1] - 2 * half)
        self._view = (begin, begin + 2 * half)

    # Words

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.words_at(QPointF(event.pos())), self)
            return True
        return super().event(event)

    def words_at(self, point: QPointF) -> str:
        """What is under the mouse, in a line or two."""
        kept = self._at(point)
        if kept is not None:
            return self._words(kept)
        at = self._time(point.x())
        for gap in self.moments.gaps():
            if gap.begin <= at <= gap.end and not self._is_on_stop(point.x()):
                return self._gap_words(gap.begin, gap.end, gap.is_damage)
        place = self.moments.nearest(at)
        return "" if place is None else stop_words(self.moments.stops[place])

    def _is_on_stop(self, x: float) -> bool:
        place = self.moments.nearest(self._time(x))
        return place is not None and abs(self._x(self.moments.stops[place].at) - x) < 3

    def _gap_words(self, begin: float, end: float, is_damage: bool) -> str:
        words = (
            self.tr("The log from {begin} to {end} cannot be read: it is damaged.")
            if is_damage
            else self.tr(
                "No log from {begin} to {end} is kept: no moment in between can be restored. The setting "
                "archive_log keeps it from now on."
            )
        )
        return words.format(begin=formats.moment(begin), end=formats.moment(end))

    def _words(self, kept: KeptBackup) -> str:
        return f"{formats.moment(kept.info.taken_at)} · {proof_word(kept)} · {origin_word(kept)}"

    def _tell_place(self) -> None:
        stop = self._stop = self.current()
        if stop is None:
            words = "; ".join(self._words(kept) for kept in self._backups[-20:])
        else:
            words = stop_words(stop)
        self.setAccessibleDescription(words)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    # Where things are

    def _whole(self) -> tuple[float, float]:
        begin = min(self.moments.begin(), self._now)
        oldest = self._backups[0].info.taken_at if self._backups else begin
        return min(begin, oldest, self._now - _LEAST_S), self._now

    def _span(self) -> tuple[float, float]:
        return self._whole() if self._view is None else self._view

    def _width(self) -> float:
        return (self.width() - 2 * _SIDE) * (1 - _NEXT_SHARE)

    def _x(self, at: float) -> float:
        begin, end = self._span()
        share = (at - begin) / (end - begin)
        if self._view is None:
            share = min(max(share, 0.0), 1.0)
        return _SIDE + self._width() * min(max(share, -1.0), 2.0)

    def _time(self, x: float) -> float:
        begin, end = self._span()
        return begin + (end - begin) * min(max((x - _SIDE) / self._width(), 0.0), 1.0)

    def _band(self) -> QRectF:
        left, right = _SIDE, _SIDE + self._width()
        if self._view is None:
            left, right = self._x(min(self.moments.begin(), self._now)), self._x(self._now)
        return QRectF(left, self.height() - _FOOT - BAND - 6, max(right - left, 2.0), BAND)

    def _at(self, point: QPointF) -> KeptBackup | None:
        near = [(abs(p.x() - point.x()) + abs(p.y() - point.y()), kept) for p, kept in self.marks()]
        best = min(near, key=lambda pair: pair[0], default=None)
        return best[1] if best is not None and best[0] <= 2 * RADIUS else None

    # Drawing

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.drawPixmap(0, 0, self._drawn_ground())
        band, stop = self._band(), self.current()
        self._clip(painter, band)
        if stop is not None and stop.kind is StopKind.BACKUP:
            self._draw_chosen(painter, [point for point, kept in self.marks() if kept.info.path == stop.name])
        if stop is not None:
            draw_handle(painter, self._x(stop.at), 20, band)
        painter.setClipping(False)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(tone_color(Tone.ACCENT), 1))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
        painter.end()

    def _drawn_ground(self) -> QPixmap:
        """All but the slider: drawn once, and again where something of it has changed."""
        ratio, stop = self.devicePixelRatioF(), self.current()
        named = stop.name if stop is not None and stop.kind is StopKind.NAMED else ""
        times = (self._now, self._next_at, self._span())
        known = (self.size(), ratio, colors(), self._backups, self.moments, times, named)
        if self._ground is None or self._ground[0] != known:
            made = QPixmap(self.size() * ratio)
            made.setDevicePixelRatio(ratio)
            made.fill(Qt.GlobalColor.transparent)
            painter = QPainter(made)
            self._draw_ground(painter)
            painter.end()
            self._ground = (known, made)
        return self._ground[1]

    def _draw_ground(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPixelSize(Size.CAPTION)
        painter.setFont(font)
        self._draw_axis(painter)
        painter.save()
        band = self._band()
        self._clip(painter, band)
        self._draw_past(painter, band)
        draw_states(painter, [(point, proof_tone(kept)) for point, kept in self.marks()], band.top())
        painter.restore()
        self._draw_next(painter)
        self._draw_legend(painter)

    def _clip(self, painter: QPainter, band: QRectF) -> None:
        painter.setClipRect(QRectF(band.left() - RADIUS - 4, 0, band.width() + 2 * RADIUS + 8, self.height()))

    def _draw_past(self, painter: QPainter, band: QRectF) -> None:
        line, stop = self.moments.line, self.current()
        draw_log(painter, band, self._spans())
        if line is None:
            return
        for gap in self.moments.gaps():
            left, right = self._x(gap.begin), self._x(gap.end)
            width = max(right - left, _LEAST_GAP)
            draw_gap(painter, QRectF(left, band.top(), width, band.height()), gap.is_damage)
        draw_checkpoints(painter, band, [self._x(checkpoint.at) for checkpoint in line.checkpoints])
        for point in line.named:
            is_current = stop is not None and stop.kind is StopKind.NAMED and stop.name == point.name
            draw_flag(painter, self._x(point.at), band, is_current)

    def _spans(self) -> list[tuple[int, int, bool]]:
        """Where commits are drawn; worked out once for each line, width and zoom."""
        line = self.moments.line
        if line is None:
            return []
        known = (line, self.width(), self._span())
        if self._drawn is None or self._drawn[0][0] is not line or self._drawn[0][1:] != known[1:]:
            spans = spans_of((self._x(b.first_at), self._x(b.last_at), b.is_reachable) for b in line.bins)
            self._drawn = (known, spans)
        return self._drawn[1]

    def _draw_axis(self, painter: QPainter) -> None:
        now, line = colors(), self.height() - _FOOT
        begin, end = self._span()
        is_zoomed = self._view is not None
        right = self.width() - _SIDE
        if not is_zoomed:
            painter.setPen(QPen(tone_color(Tone.NEUTRAL), 1.5, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(self._band().right(), line - BAND), QPointF(right, line - BAND))
        painter.setPen(QColor(now.text_faint))
        for at, words in self._named_moments(begin, end):
            x = self._x(at)
            painter.drawLine(QPointF(x, line - 1), QPointF(x, line + 3))
            box = QRectF(x - 60, line + 4, 120, _FOOT - 4)
            box.moveLeft(max(box.left(), 4 - 60 + painter.fontMetrics().horizontalAdvance(words) / 2))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, words)

    def _named_moments(self, begin: float, end: float) -> list[tuple[float, str]]:
        """What the axis names: round moments before now; while it is zoomed, times of day."""
        steps = 4 if self.width() > 520 else 2
        if self._view is None:
            return [(end - before, words) for before, words in moments_before(end - begin, steps + 1)]
        moments = [begin + (end - begin) * place / steps for place in range(steps + 1)]
        return [(at, formats.clock(at)) for at in moments]

    def _draw_chosen(self, painter: QPainter, points: Sequence[QPointF]) -> None:
        painter.setPen(QPen(tone_color(Tone.ACCENT), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for point in points:
            painter.drawEllipse(point, RADIUS + 3, RADIUS + 3)

    def _draw_next(self, painter: QPainter) -> None:
        if self._next_at is None or self._view is not None:
            return
        now, line = colors(), self.height() - _FOOT
        x = self.width() - _SIDE - RADIUS
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(tone_color(Tone.ACCENT), 1.5, Qt.PenStyle.DotLine))
        painter.drawEllipse(QPointF(x, line - BAND), RADIUS, RADIUS)
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
            draw_state(painter, QPointF(x, 10), tone, 5.0)
            x = self._draw_word(painter, x + 10, word)
        draw_log(painter, QRectF(x - 4, 6, 14, 9), [(round(x), round(x) + 5, True)])
        x = self._draw_word(painter, x + 16, self.tr("commits"))
        draw_gap(painter, QRectF(x - 4, 6, 14, 9), False)
        x = self._draw_word(painter, x + 16, self.tr("no log kept"))
        if self.width() > 680:
            draw_checkpoints(painter, QRectF(x, 3, 2, 4), [x])
            x = self._draw_word(painter, x + 8, self.tr("checkpoint"))
            draw_flag(painter, x, QRectF(x, 20, 2, 2), False)
            self._draw_word(painter, x + 14, self.tr("named"))

    def _draw_word(self, painter: QPainter, x: float, word: str) -> float:
        metrics = painter.fontMetrics()
        painter.setPen(QColor(colors().text_muted))
        painter.drawText(QPointF(x, 10 + metrics.ascent() / 2 - 1), word)
        return x + metrics.horizontalAdvance(word) + 22
