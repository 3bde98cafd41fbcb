"""How the time line is drawn: the log that is kept, gaps in it, checkpoints, names, backups, the handle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPen, QPixmap, QPolygonF

from gui.theme import Tone, colors, tone_color

RADIUS = 7.0
BAND = 12.0
"""The height of the band that stands for the log."""
_SIDE = 2 * RADIUS + 4
"""Of the picture of a mark."""
_CROWD = 3
"""Pixels within which marks cover one another."""


def draw_state(painter: QPainter, point: QPointF, tone: Tone, radius: float = RADIUS) -> None:
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


def draw_states(painter: QPainter, marks: Iterable[tuple[QPointF, Tone]], floor: float) -> None:
    """Each mark with its line down to `floor`. Of those that cover one another the last is drawn: so the
    work is bounded, however many there are."""
    seen = {(round(point.x() / _CROWD), point.y()): (point, tone) for point, tone in marks}
    painter.setPen(QPen(tone_color(Tone.NEUTRAL), 1))
    painter.drawLines([QLineF(p.x(), p.y() + RADIUS, p.x(), floor) for p, _ in seen.values()])
    ratio = painter.device().devicePixelRatio()
    pictures = {tone: _picture(tone, ratio) for tone in {tone for _, tone in seen.values()}}
    half = QPointF(_SIDE / 2, _SIDE / 2)
    for point, tone in seen.values():
        painter.drawPixmap(point - half, pictures[tone])


def _picture(tone: Tone, ratio: float) -> QPixmap:
    made = QPixmap(round(_SIDE * ratio), round(_SIDE * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    draw_state(painter, QPointF(_SIDE / 2, _SIDE / 2), tone)
    painter.end()
    return made


def spans_of(commits: Iterable[tuple[float, float, bool]]) -> list[tuple[int, int, bool]]:
    """Commits as spans of pixels: one for each place is enough, however many there are.

    Each comes as where it begins and ends, and whether it can be restored to.
    """
    drawn: dict[int, bool] = {}
    for begin, end, is_reachable in commits:
        for x in range(round(begin), max(round(end), round(begin)) + 1):
            drawn[x] = drawn.get(x, False) or is_reachable
    spans: list[tuple[int, int, bool]] = []
    for x, is_reachable in sorted(drawn.items()):
        if spans and spans[-1][1] == x and spans[-1][2] is is_reachable:
            spans[-1] = (spans[-1][0], x + 1, is_reachable)
        else:
            spans.append((x, x + 1, is_reachable))
    return spans


def draw_log(painter: QPainter, band: QRectF, spans: Iterable[tuple[int, int, bool]]) -> None:
    """The band of log that is kept, and the commits in it."""
    now = colors()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(now.sunken))
    painter.drawRoundedRect(band, 3, 3)
    for begin, end, is_reachable in spans:
        painter.setBrush(QColor(now.accent if is_reachable else now.border_strong))
        painter.drawRect(QRectF(begin - 0.5, band.top() + 2, end - begin + 0.5, band.height() - 4))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(now.border_strong), 1))
    painter.drawRoundedRect(band, 3, 3)


def draw_gap(painter: QPainter, box: QRectF, is_damage: bool) -> None:
    """Hatched: no log of this time is kept."""
    tone = Tone.BAD if is_damage else Tone.WARN
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(tone_color(tone, soft=True))
    painter.drawRect(box)
    painter.setBrush(QBrush(tone_color(tone), Qt.BrushStyle.BDiagPattern))
    painter.drawRect(box)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(tone_color(tone), 1))
    painter.drawRect(box)


def draw_checkpoints(painter: QPainter, band: QRectF, places: Sequence[float]) -> None:
    """Small ticks under the band."""
    painter.setPen(QPen(QColor(colors().text_faint), 1.2))
    for x in sorted({round(x) for x in places}):
        painter.drawLine(QPointF(x, band.bottom() + 1), QPointF(x, band.bottom() + 5))


def draw_flag(painter: QPainter, x: float, band: QRectF, is_current: bool) -> None:
    """A moment with a name."""
    color = QColor(colors().series[3])
    top = band.top() - 16
    painter.setPen(QPen(color, 1.5))
    painter.drawLine(QPointF(x, band.top()), QPointF(x, top))
    painter.setBrush(color)
    height = 9 if is_current else 7
    flag = [QPointF(x, top), QPointF(x + 9, top + height / 2), QPointF(x, top + height)]
    painter.drawPolygon(QPolygonF(flag))


def draw_handle(painter: QPainter, x: float, top: float, band: QRectF) -> None:
    """The slider: a line through all, and a grip on the band."""
    accent = tone_color(Tone.ACCENT)
    painter.setPen(QPen(accent, 1.5))
    painter.drawLine(QPointF(x, top), QPointF(x, band.bottom() + 3))
    painter.setPen(QPen(QColor(colors().surface), 2))
    painter.setBrush(accent)
    painter.drawRoundedRect(QRectF(x - 5, band.top() - 3, 10, band.height() + 6), 4, 4)
