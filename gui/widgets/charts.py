"""A chart of figures over the last minutes, with marks for what happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtGui import QColor, QFont
from PySide6.QtWidgets import QWidget

from gui.theme import Size, colors

KEPT_SECONDS = 15 * 60
_CAPACITY = KEPT_SECONDS * 10


_LEAST_TOP = 4.0
"""What is drawn comes in whole units: on a lower scale marks of the axis would have the same words."""


@dataclass(slots=True)
class _Series:
    name: str
    curve: pg.PlotDataItem
    fill: bool
    at: np.ndarray = field(default_factory=lambda: np.zeros(_CAPACITY))
    value: np.ndarray = field(default_factory=lambda: np.zeros(_CAPACITY))
    used: int = 0

    def add(self, at: float, value: float) -> None:
        if self.used == _CAPACITY:
            # Half is given up at once, so that the copy is paid once in some minutes.
            keep = _CAPACITY // 2
            self.at[:keep] = self.at[-keep:]
            self.value[:keep] = self.value[-keep:]
            self.used = keep
        self.at[self.used], self.value[self.used] = at, value
        self.used += 1


class _Axis(pg.AxisItem):
    """Values in the words of `show`; `binary` sets the ticks on round numbers of bytes."""

    def __init__(self, orientation: str, show: Callable[[float], str], binary: bool = False) -> None:
        super().__init__(orientation)
        self._show = show
        self._binary = binary

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        if not self._binary or high <= low:
            # Lines between those that have a figure say nothing.
            return list(super().tickSpacing(low, high, size))[:1]
        wanted = max(2.0, size / 34)
        step = 1024.0
        while (high - low) / step > wanted:
            step *= 2
        return [(step, 0)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [self._show(value) for value in values]


class _TimeAxis(pg.AxisItem):
    """Five moments at most, from the beginning of the window to now, in words."""

    def __init__(self) -> None:
        super().__init__("bottom")
        # Room for half a label beyond either end.
        self.setStyle(hideOverlappingLabels=40)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        step = (high - low) / (4 if size > 360 else 2)
        return [(step, list(np.arange(low, high + step / 2, step)))] if step > 0 else []

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [_ago(-value) for value in values]


def _ago(seconds: float) -> str:
    if seconds < 0.5:
        return _tr("now")
    minutes = seconds / 60
    if seconds < 120 or minutes != round(minutes, 1):
        return _tr("{n} s ago").format(n=round(seconds))
    return _tr("{n} min ago").format(n=f"{minutes:g}")


def _tr(text: str) -> str:
    return QCoreApplication.translate("charts", text)


class TimeLine(pg.PlotWidget):
    """Lines over the last `window_s` seconds. Keeps 15 minutes in buffers of fixed size.

    Call `add` for each sample and `refresh` once per tick; nothing is drawn while hidden.
    """

    def __init__(
        self,
        show: Callable[[float], str],
        window_s: float = 120.0,
        parent: QWidget | None = None,
        *,
        binary: bool = False,
    ) -> None:
        self._bottom = _TimeAxis()
        self._left = _Axis("left", show, binary)
        super().__init__(parent, axisItems={"bottom": self._bottom, "left": self._left})
        self._window_s = window_s
        self._series: list[_Series] = []
        self._marks: deque[tuple[float, pg.InfiniteLine]] = deque()
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setXRange(-window_s, 0, padding=0)
        self.setYRange(0, _LEAST_TOP, padding=0.02)
        self._left.setWidth(68)
        self._left.setStyle(hideOverlappingLabels=8)
        self.getPlotItem().layout.setContentsMargins(0, 6, 22, 0)
        self.setMinimumHeight(130)
        self._painted = colors()
        self._paint()

    def add_series(self, name: str, fill: bool = False) -> int:
        """A new line; returns its number for `add`."""
        curve = self.plot([], [], name=name)
        curve.setDownsampling(auto=True, method="peak")
        self._series.append(_Series(name, curve, fill))
        self._paint()
        return len(self._series) - 1

    def add(self, series: int, at: float, value: float) -> None:
        """One figure of a line, at a moment in Unix seconds. Moments must not run backwards."""
        self._series[series].add(at, value)

    def clear_figures(self) -> None:
        """Forget what was added; another database is about to be shown."""
        for series in self._series:
            series.used = 0
            series.curve.setData([], [])
        while self._marks:
            self.removeItem(self._marks.pop()[1])

    def mark(self, at: float, text: str) -> None:
        """A vertical mark for something that happened."""
        line = pg.InfiniteLine(
            0,
            pen=self._mark_pen(),
            label=text,
            # Always at the left of its line: on alternate sides, two names could meet.
            labelOpts={
                "position": 0.92,
                "color": colors().text_muted,
                "movable": False,
                "anchors": [(1, 0.5), (1, 0.5)],
            },
        )
        line.label.setFont(_small_font())
        self.addItem(line)
        self._marks.append((at, line))
        if len(self._marks) > 60:
            self.removeItem(self._marks.popleft()[1])

    def set_window(self, seconds: float) -> None:
        """How much of the past is shown."""
        self._window_s = seconds
        self.setXRange(-seconds, 0, padding=0)
        self.refresh()

    def refresh(self, now: float | None = None) -> None:
        """Draw what was added since the last call."""
        if not self.isVisible():
            return
        now = time.time() if now is None else now
        top = 0.0
        for series in self._series:
            at, value = series.at[: series.used], series.value[: series.used]
            first = int(np.searchsorted(at, now - self._window_s - 2))
            series.curve.setData(at[first:] - now, value[first:])
            if series.used > first:
                top = max(top, float(value[first:].max()))
        self.setYRange(0, max(top * 1.15, _LEAST_TOP), padding=0)
        before = -self._window_s
        for marked_at, line in self._marks:
            place = marked_at - now
            line.setValue(place)
            line.setVisible(place > -self._window_s)
            # A name stands between its mark and the one before; where that is too near, it is left out.
            line.label.setVisible(place - before > self._window_s / 7)
            before = max(before, place)

    def changeEvent(self, event: QEvent) -> None:
        # Qt calls this while the base class is still being made.
        is_made = hasattr(self, "_painted")
        # A change of theme is told several times, by the palette and by the style sheet.
        if event.type() == QEvent.Type.PaletteChange and is_made and self._painted is not colors():
            self._paint()
        super().changeEvent(event)

    def _mark_pen(self) -> pg.QtGui.QPen:
        return pg.mkPen(colors().text_faint, width=1, style=Qt.PenStyle.DashLine)

    def _paint(self) -> None:
        now = self._painted = colors()
        self.setBackground(now.surface)
        for axis in (self._bottom, self._left):
            axis.setPen(pg.mkPen(now.border))
            axis.setTextPen(pg.mkPen(now.text_faint))
            axis.setStyle(tickFont=_small_font(), tickLength=0)
        self.showGrid(x=False, y=True, alpha=0.8)
        for place, series in enumerate(self._series):
            color = QColor(now.series[place % len(now.series)])
            series.curve.setPen(pg.mkPen(color, width=2))
            if series.fill:
                color.setAlpha(34)
                series.curve.setFillLevel(0)
                series.curve.setBrush(pg.mkBrush(color))
        for _, line in self._marks:
            line.setPen(self._mark_pen())
            line.label.setColor(now.text_muted)


def _small_font() -> QFont:
    font = QFont()
    font.setPixelSize(Size.CAPTION)
    return font
