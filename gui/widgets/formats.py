"""Figures as people read them."""

from __future__ import annotations

import time

from PySide6.QtCore import QCoreApplication, QLocale


def _tr(text: str) -> str:
    return QCoreApplication.translate("formats", text)


def count(value: float) -> str:
    """A whole number, grouped as the person's country does."""
    here = QLocale()
    whole = round(value)
    # The C locale, of a machine that has none set, does not group.
    return f"{whole:,}" if here.language() == QLocale.Language.C else here.toString(whole)


def rows(value: float) -> str:
    """A number of rows, in words."""
    return (_tr("1 row") if round(value) == 1 else _tr("{n} rows")).format(n=count(value))


def size(value: float) -> str:
    """A number of bytes in the largest unit that leaves a figure before the point."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{_short(value)} {unit}"
        value /= 1024
    return f"{_short(value)} TiB"


def rate(value: float, unit: str) -> str:
    """So many of `unit` in a second; bytes as sizes."""
    if unit == "bytes":
        return f"{size(value)}/s"
    return f"{_short(value) if 0 < value < 100 else count(value)} {unit}/s"


def microseconds(value: float) -> str:
    """A latency."""
    if value <= 0:
        return "–"
    if value < 1000:
        return f"{_short(value)} µs"
    if value < 1_000_000:
        return f"{_short(value / 1000)} ms"
    return f"{_short(value / 1_000_000)} s"


def duration(seconds: float) -> str:
    """A length of time, to the precision that matters at its size."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{_short(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return _tr("{days} days").format(days=hours // 24)


def ago(at: float, now: float | None = None) -> str:
    """How long before now the moment `at` (Unix seconds) was."""
    if at <= 0:
        return _tr("never")
    passed = max(0.0, (time.time() if now is None else now) - at)
    if passed < 2:
        return _tr("just now")
    if passed < 60:
        return _tr("{n} s ago").format(n=int(passed))
    if passed < 3600:
        return _tr("{n} min ago").format(n=int(passed // 60))
    if passed < 48 * 3600:
        return _tr("{n} h ago").format(n=int(passed // 3600))
    return _tr("{n} days ago").format(n=int(passed // 86400))


def clock(at: float) -> str:
    """The time of day of a moment."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def moment(at: float) -> str:
    """The day and time of a moment."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
