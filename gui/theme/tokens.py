"""The values that every part of the interface is drawn from.

Two sets of colours, one scale of spaces, one of type. Nothing else in `gui` names a colour
or a font size. The set in force is told from the application's palette, so that there is no
second place that could disagree with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtGui import QColor, QGuiApplication, QPalette


class Tone(StrEnum):
    """What a colour means."""

    NEUTRAL = "neutral"
    ACCENT = "accent"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Space:
    """Distances in logical pixels."""

    XS = 4
    S = 8
    M = 12
    L = 16
    XL = 24
    RADIUS = 8
    RADIUS_SMALL = 6


class Size:
    """Type sizes in logical pixels."""

    CAPTION = 11
    SMALL = 12
    BODY = 13
    SECTION = 15
    TITLE = 21
    FIGURE = 24


@dataclass(frozen=True, slots=True)
class Colors:
    """One theme's colours, as `#rrggbb`."""

    is_dark: bool
    window: str
    sidebar: str
    surface: str
    raised: str
    sunken: str
    border: str
    border_strong: str
    text: str
    text_muted: str
    text_faint: str
    accent: str
    accent_hover: str
    accent_pressed: str
    accent_soft: str
    on_accent: str
    selection: str
    good: str
    good_soft: str
    warn: str
    warn_soft: str
    bad: str
    bad_soft: str
    bad_hover: str
    series: tuple[str, str, str, str]


LIGHT = Colors(
    is_dark=False,
    window="#f5f7fa",
    sidebar="#ebeff5",
    surface="#ffffff",
    raised="#ffffff",
    sunken="#f0f3f7",
    border="#dfe5ec",
    border_strong="#c6cfda",
    text="#15202e",
    text_muted="#55647a",
    text_faint="#76849a",
    accent="#1d5fd0",
    accent_hover="#1852b6",
    accent_pressed="#14469c",
    accent_soft="#e3edfc",
    on_accent="#ffffff",
    selection="#d3e3fb",
    good="#12733a",
    good_soft="#e1f4e8",
    warn="#8d5006",
    warn_soft="#fdf0d9",
    bad="#c02b2b",
    bad_soft="#fce6e5",
    bad_hover="#a32323",
    series=("#1d5fd0", "#0e9384", "#d98613", "#8250df"),
)

DARK = Colors(
    is_dark=True,
    window="#0f141b",
    sidebar="#0b1016",
    surface="#161d27",
    raised="#1d2632",
    sunken="#111822",
    border="#263140",
    border_strong="#3a485b",
    text="#e7edf5",
    text_muted="#9fadc0",
    text_faint="#78879c",
    accent="#5c97ff",
    accent_hover="#78a9ff",
    accent_pressed="#4a85ee",
    accent_soft="#1a2c4b",
    on_accent="#0a1424",
    selection="#234475",
    good="#4cc77d",
    good_soft="#15301f",
    warn="#e6ac4b",
    warn_soft="#35280f",
    bad="#f37b74",
    bad_soft="#3c1c1d",
    bad_hover="#f7938d",
    series=("#5c97ff", "#33c0ae", "#efab48", "#b08cff"),
)


def colors() -> Colors:
    """The colours in force, told from the application's palette."""
    window = QGuiApplication.palette().color(QPalette.ColorRole.Window)
    return DARK if window.lightness() < 128 else LIGHT


def tone_color(tone: Tone, soft: bool = False) -> QColor:
    """The foreground colour of a tone, or its quiet background."""
    now = colors()
    table = {
        Tone.NEUTRAL: (now.text_muted, now.sunken),
        Tone.ACCENT: (now.accent, now.accent_soft),
        Tone.GOOD: (now.good, now.good_soft),
        Tone.WARN: (now.warn, now.warn_soft),
        Tone.BAD: (now.bad, now.bad_soft),
    }
    return QColor(table[tone][1 if soft else 0])
