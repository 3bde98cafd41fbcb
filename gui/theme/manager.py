"""Which theme is in force, and how it is put into force."""

from __future__ import annotations

from enum import StrEnum

import pyqtgraph
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

from gui.theme.style import style_sheet
from gui.theme.tokens import DARK, LIGHT, Colors, Size

_FAMILIES = ("Segoe UI Variable Text", "Segoe UI", "Inter", "Cantarell", "Ubuntu", "Noto Sans", "DejaVu Sans")


class ThemeMode(StrEnum):
    """What the person chose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class ThemeManager(QObject):
    """Applies palettes and the style sheet to the application.

    The palettes are our own on every platform: asking Qt for a colour scheme has no effect on
    some of them. In the mode `system` the platform's answer is followed as it changes.
    """

    theme_changed = Signal()

    def __init__(self, application: QApplication, mode: ThemeMode = ThemeMode.SYSTEM) -> None:
        super().__init__(application)
        self._application = application
        self._mode = mode
        style = QStyleFactory.create("Fusion")
        if style is not None:
            application.setStyle(style)
        application.setFont(_font())
        application.styleHints().colorSchemeChanged.connect(self._follow_system)
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

    def _apply(self) -> None:
        chosen = DARK if self.is_dark() else LIGHT
        pyqtgraph.setConfigOptions(antialias=True, background=chosen.surface, foreground=chosen.text_muted)
        self._application.setPalette(_palette(chosen))
        self._application.setStyleSheet(style_sheet(chosen))
        self.theme_changed.emit()


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
