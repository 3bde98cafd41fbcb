"""Has widgets styled before they are shown, in steps that no one notices."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QWidget


def warm(parts: Sequence[QWidget], owner: QObject) -> None:
    """Style one part now and the others after it, as long as `owner` lives.

    A part that is shown for the first time takes as long as several frames otherwise.
    """
    if parts:
        for widget in (parts[0], *parts[0].findChildren(QWidget)):
            widget.ensurePolished()
        parts[0].minimumSizeHint()
        QTimer.singleShot(0, owner, lambda: warm(parts[1:], owner))
