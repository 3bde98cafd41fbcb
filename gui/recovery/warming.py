"""Has widgets styled before they are shown, in steps that no one notices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

from gui.tasks.turns import Turns

_AT_ONCE = 25
"""Widgets styled in one turn: a few milliseconds."""


def warm(parts: Sequence[QWidget], turns: Turns) -> None:
    """Style all widgets of these parts, a few a turn.

    A part that is shown for the first time takes as long as several frames otherwise.
    """
    widgets = [widget for part in parts for widget in (part, *part.findChildren(QWidget))]

    def style(first: int) -> None:
        for widget in widgets[first : first + _AT_ONCE]:
            if isValid(widget):
                widget.ensurePolished()

    for first in range(0, len(widgets), _AT_ONCE):
        turns.add(partial(style, first))
    for part in parts:
        turns.add(part.minimumSizeHint)
