"""How Holdfast looks: colours, sizes, style sheet and icons, light and dark."""

from gui.theme.icons import icon, pixmap
from gui.theme.manager import ThemeManager, ThemeMode
from gui.theme.tokens import DARK, LIGHT, Colors, Size, Space, Tone, colors, tone_color

__all__ = [
    "DARK",
    "LIGHT",
    "Colors",
    "Size",
    "Space",
    "ThemeManager",
    "ThemeMode",
    "Tone",
    "colors",
    "icon",
    "pixmap",
    "tone_color",
]
