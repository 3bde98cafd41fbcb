"""How Holdfast looks: colours, sizes, style sheet and icons, light and dark."""

from gui.theme.icons import IconName, UnknownIcon, icon, known, pixmap
from gui.theme.manager import ThemeManager, ThemeMode
from gui.theme.tokens import DARK, LIGHT, Colors, Size, Space, Tone, colors, tone_color

__all__ = [
    "DARK",
    "LIGHT",
    "Colors",
    "IconName",
    "Size",
    "Space",
    "ThemeManager",
    "ThemeMode",
    "Tone",
    "UnknownIcon",
    "colors",
    "icon",
    "known",
    "pixmap",
    "tone_color",
]
