"""A score from 0 to 100, drawn as a ring."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from gui.theme import Size, Tone, colors, tone_color


def tone_of_score(score: float) -> Tone:
    """80 and over is healthy, 50 and over degraded, below that critical."""
    return Tone.GOOD if score >= 80 else Tone.WARN if score >= 50 else Tone.BAD


class ScoreRing(QWidget):
    """A ring filled to the score, with the figure in its middle; a dash while it is unknown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._score: float | None = None
        self._word = ""
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(132, 132)

    def show_score(self, score: float | None, word: str = "") -> None:
        if (score, word) != (self._score, self._word):
            self._score, self._word = score, word
            self.setAccessibleName(f"{word} {'–' if score is None else round(score)}")
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        side = min(self.width(), self.height()) - 12
        box = QRectF((self.width() - side) / 2, (self.height() - side) / 2, side, side)
        pen = QPen(QColor(colors().sunken if not colors().is_dark else colors().border), 10)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        painter.drawArc(box, 0, 360 * 16)
        if self._score is not None:
            pen.setColor(tone_color(tone_of_score(self._score)))
            painter.setPen(pen)
            painter.drawArc(box, 90 * 16, -round(max(self._score, 0.5) * 3.6 * 16))
        self._words(painter, box)
        painter.end()

    def _words(self, painter: QPainter, box: QRectF) -> None:
        font = painter.font()
        font.setPixelSize(34)
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor(colors().text))
        figure = "–" if self._score is None else str(round(self._score))
        painter.drawText(box.adjusted(0, -10, 0, -10), Qt.AlignmentFlag.AlignCenter, figure)
        font.setPixelSize(Size.SMALL)
        font.setBold(False)
        painter.setFont(font)
        painter.setPen(QColor(colors().text_muted))
        painter.drawText(box.adjusted(0, 44, 0, 0), Qt.AlignmentFlag.AlignCenter, self._word)
