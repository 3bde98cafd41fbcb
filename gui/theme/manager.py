"""Which theme is in force, and how it is put into force.

The style sheet is set on the parts of the window, never on the application: Qt matches a sheet of
the application anew for every widget there is, which was measured at ten times the work of the
parts together, all of it in one go on the interface thread.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

import pyqtgraph
import shiboken6
from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory, QWidget

from gui.theme.style import style_sheet
from gui.theme.tokens import DARK, LIGHT, Colors, Size

_FAMILIES = ("Segoe UI Variable Text", "Segoe UI", "Inter", "Cantarell", "Ubuntu", "Noto Sans", "DejaVu Sans")


class ThemeMode(StrEnum):
    """What the person chose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class ThemeManager(QObject):
    """Applies palettes to the application, and the style sheet to the parts that were given to `dress`.

    The palettes are our own on every platform: asking Qt for a colour scheme has no effect on
    some of them. In the mode `system` the platform's answer is followed as it changes. What can
    be seen changes part by part, one a turn of the event loop, and is drawn when the last has; what is
    hidden, when it is shown again.
    """

    def __init__(self, application: QApplication, mode: ThemeMode = ThemeMode.SYSTEM) -> None:
        super().__init__(application)
        self._application = application
        self._mode = mode
        style = QStyleFactory.create("Fusion")
        if style is not None:
            application.setStyle(style)
        application.setFont(_font())
        application.styleHints().colorSchemeChanged.connect(self._follow_system)
        self._dressed: list[QWidget] = []
        self._behind: list[QWidget] = []
        self._waiting: deque[QWidget] = deque()
        self._held: list[QWidget] = []
        """Windows that are not drawn until all their parts have changed: nobody sees two themes at once."""
        self._next = QTimer(self)
        self._next.setSingleShot(True)
        self._next.setInterval(0)
        self._next.timeout.connect(self._dress_next)
        self._apply()

    @property
    def mode(self) -> ThemeMode:
        return self._mode

    def set_mode(self, mode: ThemeMode) -> None:
        if mode is not self._mode:
            self._mode = mode
            self._apply()

    def is_dark(self) -> bool:
        if self._mode is ThemeMode.SYSTEM:
            return self._application.styleHints().colorScheme() == Qt.ColorScheme.Dark
        return self._mode is ThemeMode.DARK

    def _follow_system(self) -> None:
        if self._mode is ThemeMode.SYSTEM:
            self._apply()

    def dress(self, part: QWidget) -> None:
        """Give a part of the window, or a dialog, the style sheet, now and after each change.

        A part is small: up to some 150 widgets, which take about 10 ms.
        """
        self._dressed = [known for known in self._dressed if shiboken6.isValid(known)]
        self._dressed.append(part)
        part.installEventFilter(self)
        part.setStyleSheet(style_sheet(self._colors()))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and watched in self._behind:
            self._behind.remove(watched)
            self._dress_again(watched)
        return False

    def _colors(self) -> Colors:
        return DARK if self.is_dark() else LIGHT

    def _apply(self) -> None:
        now = self._colors()
        pyqtgraph.setConfigOptions(antialias=True, background=now.surface, foreground=now.text_muted)
        self._application.setPalette(_palette(now))
        known = [part for part in self._dressed if shiboken6.isValid(part)]
        self._behind = [part for part in known if not part.isVisible()]
        self._waiting = deque(part for part in known if part.isVisible())
        for window in {part.window() for part in self._waiting}:
            if window not in self._held:
                self._held.append(window)
                window.setUpdatesEnabled(False)
        self._next.start()

    def _dress_next(self) -> None:
        if self._waiting:
            self._next.start()
            self._dress_again(self._waiting.popleft())
            return
        for window in self._held:
            if shiboken6.isValid(window):
                window.setUpdatesEnabled(True)
        self._held.clear()

    def _dress_again(self, part: QObject) -> None:
        if isinstance(part, QWidget) and shiboken6.isValid(part):
            part.setStyleSheet(style_sheet(self._colors()))


def _font() -> QFont:
    known = set(QFontDatabase.families())
    font = QFont()
    font.setFamilies([family for family in _FAMILIES if family in known] or [font.family()])
    font.setPixelSize(Size.BODY)
    font.setHintingPreference(QFont.HintingPreference.PreferNoHinting)
    return font


def _palette(now: Colors) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for name, value in (
        (role.Window, now.window),
        (role.WindowText, now.text),
        (role.Base, now.surface),
        (role.AlternateBase, now.sunken),
        (role.Text, now.text),
        (role.Button, now.raised),
        (role.ButtonText, now.text),
        (role.BrightText, now.bad),
        (role.ToolTipBase, now.raised),
        (role.ToolTipText, now.text),
        (role.PlaceholderText, now.text_faint),
        (role.Highlight, now.selection),
        (role.HighlightedText, now.text),
        (role.Link, now.accent),
        (role.LinkVisited, now.accent),
        (role.Mid, now.border),
        (role.Midlight, now.border),
        (role.Dark, now.border_strong),
        (role.Light, now.raised),
        (role.Shadow, now.border_strong),
        (role.Accent, now.accent),
    ):
        palette.setColor(name, QColor(value))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(now.text_faint))
    return palette
