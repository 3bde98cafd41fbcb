"""Plays the tour in a window of its own, with settings and data of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PySide6.QtWidgets import QApplication

from gui.app import make_application
from gui.main_window import MainWindow
from gui.session import Preferences
from gui.theme import ThemeManager, ThemeMode
from gui.tour.stage import Stage
from gui.tour.story import Story


def play(out: Path, theme: str = "light", size: tuple[int, int] = (1280, 800)) -> int:
    """Play the tour in a window of so many pixels, and leave its pictures in `out`.

    Returns the exit status: 0, or 3 where it failed.
    """
    application = QApplication.instance() or make_application(["holdfast"])
    assert isinstance(application, QApplication)
    with tempfile.TemporaryDirectory(prefix="holdfast-tour-", ignore_cleanup_errors=True) as scratch:
        place = Path(scratch)
        preferences = Preferences(place / "config", place / "state")
        preferences.theme = ThemeMode(theme)
        preferences.folder = place
        window = MainWindow(preferences, ThemeManager(application, preferences.theme))
        window.resize(*size)
        window.show()
        stage = Stage(window, out)
        errors: list[str] = []
        stage.ended.connect(errors.append)
        stage.ended.connect(lambda _error: window.leave())
        window.left.connect(application.quit)
        stage.play(Story(stage, place).script())
        application.exec()
    failed = [error for error in errors if error]
    print(f"The tour stopped: {failed[0]}" if failed else f"The tour is over; its pictures are in {out}")
    return 3 if failed or not errors else 0
