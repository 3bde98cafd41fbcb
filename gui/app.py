"""The application: one process, one window, the interpreter set up so that it stays smooth."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from gui.main_window import MainWindow
from gui.session import Preferences
from gui.tasks.garbage import GarbageCollector
from gui.theme import ThemeManager, icon

SWITCH_INTERVAL_S = 0.0005
"""Measured: at Python's 5 ms, eight busy threads delay a frame by 828 ms; at 0.5 ms, by 93."""


def make_application(arguments: Sequence[str]) -> QApplication:
    """The Qt application, named so that the desktop knows it."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    application = QApplication(list(arguments))
    application.setApplicationName("Holdfast")
    application.setApplicationDisplayName("Holdfast")
    application.setDesktopFileName("io.holdfast.Holdfast")
    application.setWindowIcon(icon("holdfast"))
    GarbageCollector(application)
    return application


def spare_built() -> None:
    """What stands by now lives as long as the program: the collector need not look at it again and again.

    A full collection of all that a built window consists of takes several frames.
    """
    gc.collect()
    gc.freeze()


def make_window(application: QApplication, preferences: Preferences) -> MainWindow:
    """The main window in the person's theme."""
    return MainWindow(preferences, ThemeManager(application, preferences.theme))


def run(path: Path | None = None) -> int:
    """Show the window until it is closed; opens the database at `path`, where one is given."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    application = make_application(sys.argv[:1])
    preferences = Preferences()
    window = make_window(application, preferences)
    spare_built()
    window.show()
    _close_on_interrupt(application, window)
    if path is None and preferences.reopens_last and preferences.recent:
        path = preferences.recent[0]
    if path is not None:
        QTimer.singleShot(0, window, lambda: window.shell.open(path.absolute()))
    return application.exec()


def _close_on_interrupt(application: QApplication, window: MainWindow) -> None:
    """Ctrl+C in the terminal, and the end of the session, close the window and its database, cleanly."""
    signal.signal(signal.SIGINT, lambda *_: window.close())
    # Whoever sends this waits a few seconds at most: there is no time for a question.
    signal.signal(signal.SIGTERM, lambda *_: window.leave())
    # Python handles signals between its own instructions; the timer sees to it that there are some.
    beat = QTimer(application)
    beat.start(200)
    beat.timeout.connect(lambda: None)
