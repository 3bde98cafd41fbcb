"""Icons: SVG line drawings from `resources/icons`, painted in the colours in force.

An icon asks for its colour when it is painted, so that a change of theme or of screen density needs
no one to fetch it again. What was drawn once in a colour and a size is kept. A name that no drawing has
is refused where it is given: within a paint event nothing may be raised, Qt ends the process of who does.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Literal, cast

from PySide6.QtCore import QByteArray, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QIconEngine, QImage, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from gui.theme.tokens import Tone, colors, tone_color

Paint = Tone | str
"""A tone, or the name of a field of `Colors`."""

IconName = Literal[
    "activity",
    "alerts",
    "arrow-right",
    "backups",
    "bolt",
    "book",
    "cancelled",
    "check",
    "checkpoint",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "chevron-up",
    "clock",
    "close",
    "column",
    "command",
    "copy",
    "database",
    "edit",
    "end",
    "error",
    "export",
    "file",
    "filter",
    "folder",
    "health",
    "holdfast",
    "home",
    "import",
    "info",
    "integrity",
    "jobs",
    "key",
    "lock",
    "log",
    "moon",
    "more",
    "open",
    "overview",
    "pause",
    "pin",
    "play",
    "plus",
    "recovery",
    "refresh",
    "sample",
    "save",
    "search",
    "settings",
    "sort",
    "stop",
    "success",
    "sun",
    "system",
    "tables",
    "trash",
    "undo",
    "warning",
]
"""The drawings in `resources/icons`."""


class UnknownIcon(LookupError):
    """No drawing has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no drawing {name!r} in resources/icons.")


@lru_cache(maxsize=1)
def _drawings() -> dict[str, str]:
    """All of them, read with the first one: later the disk may be busy, and painting must not wait."""
    icons = (files("resources") / "icons").iterdir()
    return {icon.name.removesuffix(".svg"): icon.read_text("utf-8") for icon in icons if ".svg" in icon.name}


def known(name: str) -> IconName:
    """The name, where it has a drawing; raises `UnknownIcon` where it has none."""
    if name not in _drawings():
        raise UnknownIcon(name)
    return cast(IconName, name)


@lru_cache(maxsize=1024)
def _image(name: IconName, color: str, side: int) -> QImage:
    """The icon `side` pixels of the screen wide."""
    image = QImage(side, side, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    drawing = QByteArray(_drawings()[name].replace("currentColor", color).encode())
    QSvgRenderer(drawing).render(painter, QRectF(0, 0, side, side))
    painter.end()
    return image


def _color_of(paint: Paint) -> QColor:
    return tone_color(paint) if isinstance(paint, Tone) else QColor(getattr(colors(), paint))


class _SvgEngine(QIconEngine):
    def __init__(self, name: IconName, paint: Paint, active: Paint) -> None:
        super().__init__()
        self._name, self._paint, self._active = name, paint, active

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        chosen = self._active if state == QIcon.State.On else self._paint
        color = QColor(colors().border_strong) if mode == QIcon.Mode.Disabled else _color_of(chosen)
        side = min(rect.width(), rect.height())
        # Where the room is wider than high, the rest of it is the distance to the text.
        box = QRectF(rect.left(), rect.top() + (rect.height() - side) / 2, side, side)
        ratio = painter.device().devicePixelRatio()
        painter.drawImage(box, _image(self._name, color.name(), round(side * ratio)))

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        image = QPixmap(size)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        self.paint(painter, QRect(0, 0, size.width(), size.height()), mode, state)
        painter.end()
        return image

    def clone(self) -> QIconEngine:
        return _SvgEngine(self._name, self._paint, self._active)


def icon(name: IconName, paint: Paint = "text_muted", active: Paint | None = None) -> QIcon:
    """The icon `name`, in the colour `paint`; `active` is used while it is checked.

    Raises `UnknownIcon`.
    """
    return QIcon(_SvgEngine(known(name), paint, active if active is not None else paint))


def pixmap(name: IconName, side: int, paint: Paint = "text_muted", ratio: float = 1.0) -> QPixmap:
    """The icon as a picture `side` logical pixels wide, for a screen of density `ratio`.

    Raises `UnknownIcon`.
    """
    image = QPixmap.fromImage(_image(known(name), _color_of(paint).name(), round(side * ratio)))
    image.setDevicePixelRatio(ratio)
    return image
