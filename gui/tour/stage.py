"""Drives the window from a script without ever stopping its event loop.

A script is a generator. It does something, then yields what it waits for; a timer asks whether
that has come about and goes on. What does not come in time ends the tour with an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QPoint, QRect, QTimer, Signal
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QApplication, QDialog

from gui.main_window import MainWindow
from gui.widgets import ErrorCard

_TICK_MS = 25


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until `holds()`; `what` is named where it does not."""

    what: str
    holds: Callable[[], object]
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Let the window live for some seconds, so that there is something to see."""

    seconds: float


Script = Generator[Until | Pause, None, None]


class Stage(QObject):
    """Plays a script; `ended` carries the error that stopped it, or an empty text."""

    ended = Signal(str)

    def __init__(self, window: MainWindow, out: Path) -> None:
        super().__init__(window)
        self.window = window
        self._out = out
        self._number = 0
        self._script: Script | None = None
        self._wait: Until | Pause = Pause(0)
        self._since = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._step)

    def play(self, script: Script) -> None:
        """Begin; returns at once."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._script = script
        self._since = time.monotonic()
        self._timer.start()

    def picture(self, name: str, words: str) -> None:
        """Save what the person would see now, and say what it shows."""
        self._number += 1
        image = self.window.grab()
        for dialog in self._dialogs():
            painter = QPainter(image)
            painter.fillRect(image.rect(), QColor(10, 16, 26, 110))
            middle = QPoint(self.window.width() - dialog.width(), self.window.height() - dialog.height()) / 2
            painter.drawPixmap(middle, dialog.grab())
            # The edge that a window manager would draw.
            painter.setPen(QColor(128, 140, 160, 120))
            painter.drawRect(QRect(middle, dialog.size()))
            painter.end()
        path = self._out / f"{self._number:02d}-{name}.png"
        image.save(str(path))
        print(f"{self._number:2d}  {words}  ({path.name})", flush=True)
        if (excess := self._excess()) > 0:
            self.say(f"the page is {excess} pixels too wide for the window")

    def _excess(self) -> int:
        """By how many pixels the page in view is wider than its room."""
        page = self.window.pages.get(self.window.current_page_id())
        room = None if page is None else page.parentWidget()
        return 0 if page is None or room is None else page.minimumSizeHint().width() - room.width()

    def say(self, words: str) -> None:
        """A line without a picture."""
        print(f"    {words}", flush=True)

    def _dialogs(self) -> list[QDialog]:
        return [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]

    def _error_card(self) -> ErrorCard | None:
        cards = (card for top in QApplication.topLevelWidgets() for card in top.findChildren(ErrorCard))
        return next((card for card in cards if card.isVisible()), None)

    def _step(self) -> None:
        if self._script is None or not self._is_met():
            return
        try:
            self._wait = next(self._script)
            self._since = time.monotonic()
        except StopIteration:
            self._end("")
        except Exception as error:
            self._end(f"{type(error).__name__}: {error}")

    def _is_met(self) -> bool:
        passed = time.monotonic() - self._since
        if isinstance(self._wait, Pause):
            return passed >= self._wait.seconds
        if self._wait.holds():
            return True
        card = self._error_card()
        if card is not None or passed > self._wait.timeout_s:
            why = "no answer" if card is None else card.words.to_text()
            self.picture("stuck", f"waited {passed:.0f} s for: {self._wait.what}")
            self._end(f"waited in vain for: {self._wait.what}\n{why}")
        return False

    def _end(self, error: str) -> None:
        self._timer.stop()
        self._script = None
        self.ended.emit(error)
