"""Labels, buttons and layouts, so that every page builds them in the same way."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpacerItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from gui.theme import IconName, Space, Tone, icon

Item = QWidget | QLayout | int | None
"""What a layout helper takes: a widget, a layout, a space in pixels, or None to stretch."""


def set_look(widget: QWidget, **properties: str | bool) -> None:
    """Set the properties that the style sheet looks at, and have it look again where one has changed."""
    if all((widget.property(name) or "") == value for name, value in properties.items()):
        return
    for name, value in properties.items():
        widget.setProperty(name, value)
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)
    widget.update()


def label(text: str = "", role: str = "", tone: Tone | None = None, wrap: bool = False) -> QLabel:
    """A plain-text label in one of the roles of the style sheet.

    Text is never taken as markup: names and messages come from files that are not ours.
    """
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if role:
        made.setProperty("role", role)
    if tone is not None:
        made.setProperty("tone", str(tone))
    return made


def button(
    text: str, on_click: Callable[[], object] | None = None, kind: str = "", icon_name: IconName | None = None
) -> QPushButton:
    """A push button; `kind` is "primary", "danger", "quiet" or nothing."""
    made = QPushButton(text)
    if kind:
        made.setProperty("kind", kind)
    if icon_name is not None:
        paint = "on_accent" if kind in ("primary", "danger") else "text_muted"
        made.setIcon(icon(icon_name, paint, "accent" if kind in ("quiet", "nav") else paint))
        made.setIconSize(QSize(20, 16) if text else QSize(16, 16))
    if on_click is not None:
        made.clicked.connect(lambda _checked=False: on_click())
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    # Enter does what the focused button says, in the window as in a dialog.
    made.setAutoDefault(True)
    return made


class _ToolButton(QToolButton):
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)


def tool_button(icon_name: IconName, name: str, on_click: Callable[[], object] | None = None) -> QToolButton:
    """A button that is only an icon; `name` is its tool tip and what a screen reader says."""
    made = _ToolButton()
    made.setIcon(icon(icon_name))
    made.setIconSize(QSize(18, 18))
    made.setToolTip(name)
    made.setAccessibleName(name)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if on_click is not None:
        made.clicked.connect(lambda _checked=False: on_click())
    return made


def _fill(
    layout: QBoxLayout, items: tuple[Item, ...], margin: int | tuple[int, int, int, int], gap: int
) -> None:
    layout.setSpacing(gap)
    sides = (margin,) * 4 if isinstance(margin, int) else margin
    layout.setContentsMargins(*sides)
    for item in items:
        if item is None:
            layout.addStretch(1)
        elif isinstance(item, int):
            layout.addSpacing(item)
        elif isinstance(item, QWidget):
            layout.addWidget(item)
        else:
            layout.addLayout(item)


def row(*items: Item, margin: int | tuple[int, int, int, int] = 0, gap: int = Space.S) -> QHBoxLayout:
    """Items side by side."""
    layout = QHBoxLayout()
    _fill(layout, items, margin, gap)
    return layout


def column(*items: Item, margin: int | tuple[int, int, int, int] = 0, gap: int = Space.S) -> QVBoxLayout:
    """Items one above the other."""
    layout = QVBoxLayout()
    _fill(layout, items, margin, gap)
    return layout


def indent(box: QAbstractSpinBox) -> None:
    """Set the text of a spin box as far from its border as that of a line edit: the style sheet cannot."""
    inner = box.findChild(QLineEdit)
    if inner is not None:
        inner.setTextMargins(7, 0, 0, 0)


def rule() -> QFrame:
    """A hairline between two parts."""
    line = QFrame()
    line.setProperty("surface", "rule")
    line.setFixedHeight(1)
    return line


def clear(layout: QLayout) -> None:
    """Take everything out of a layout, and let go of its widgets."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()
        elif (inner := item.layout()) is not None and not isinstance(item, QSpacerItem):
            clear(inner)


class Pill(QLabel):
    """A short word on a coloured ground: a state."""

    def __init__(self, text: str = "", tone: Tone = Tone.NEUTRAL, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)
        self.setProperty("pill", str(tone))

    def show_state(self, text: str, tone: Tone) -> None:
        """Change the word and its colour."""
        if text != self.text():
            self.setText(text)
        if self.property("pill") != str(tone):
            set_look(self, pill=str(tone))


class ElidedLabel(QLabel):
    """A label that shortens its text where it has too little room, and tells it in full as a tool tip."""

    def __init__(
        self,
        text: str = "",
        role: str = "",
        parent: QWidget | None = None,
        where: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle,
    ) -> None:
        super().__init__(text, parent)
        self._where = where
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setToolTip(text)
        if role:
            self.setProperty("role", role)

    def setText(self, text: str) -> None:
        super().setText(text)
        self.setToolTip(text)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        box = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), self._where, box.width())
        painter.setPen(self.palette().windowText().color())
        painter.drawText(box, int(self.alignment()), text)
        # Not left to the end of its life: whoever looks at this frame would prolong it.
        painter.end()
