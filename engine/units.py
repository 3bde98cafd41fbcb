"""Sizes, durations and counts as people write them: "64 MiB", "30 s", "1 page"."""

from __future__ import annotations

import re
import time

_SIZES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZES |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_DURATIONS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LIMIT = float(1 << 60)
"""No size or duration reaches it: beyond, arithmetic and the kernel's integers end."""
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_size(text: str | int) -> int:
    """Bytes of "64 MiB", "10 MB" or a bare number; raises `ValueError` on anything else."""
    return round(_parse(str(text), _SIZES, "b"))


def parse_duration(text: str | float) -> float:
    """Seconds of "100 ms", "30 s", "5 min", "2 h", "7 d" or a bare number; else `ValueError`."""
    return _parse(str(text), _DURATIONS, "s")


def format_size(count: float) -> str:
    """Bytes for people, in binary units: "64 MiB", "1.5 GiB"."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    digits = 0 if unit == "B" or abs(value) >= 100 else 1
    return f"{_plain(value, digits)} {unit}"


def format_duration(seconds: float) -> str:
    """A duration for people: "350 ms", "12 s", "3 min 20 s", "2 h 5 min", "4 d"."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{_plain(seconds, 1 if seconds < 10 else 0)} s"
    whole = round(seconds)
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def counted(count: int, one: str, many: str = "") -> str:
    """So many things: "1 page", "1,200 pages". `many` is `one` with an s, unless it is given.

    A verb that follows goes along: `counted(n, "page was", "pages were")`.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _parse(text: str, units: dict[str, float] | dict[str, int], default: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or (match.group(2) or default).lower() not in units:
        raise ValueError(f"not one of {', '.join(units)}")
    value = float(match.group(1)) * units[(match.group(2) or default).lower()]
    if value >= _LIMIT:
        raise ValueError("more than anybody has")
    return value


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_moment(at: float) -> str:
    """The day and time of a moment (Unix seconds), where the person is: "2026-05-01 12:00:00"."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
