"""The moments that the time line names below itself: round ones, each in words of its own."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 5, 10, 30, 60, 180, 365)),
)


def moments_before(span_s: float, most: int) -> list[tuple[int, str]]:
    """At most so many moments within the last `span_s` seconds: seconds before now, and words; now is first.

    All of them have the unit of their distance, so that no two read the same.
    """
    step = next((step for step in _STEPS if span_s / step < most), _STEPS[-1])
    while span_s / step >= most:
        step *= 2
    places = range(step, int(span_s) + 1, step)
    return [(0, _tr("now")), *((at, _words(at, step)) for at in places)]


def _words(at: int, step: int) -> str:
    if step % _DAY == 0:
        days = at // _DAY
        return _tr("1 day ago") if days == 1 else _tr("{n} days ago").format(n=days)
    if step % _HOUR == 0:
        return _tr("{n} h ago").format(n=at // _HOUR)
    if step % _MINUTE == 0:
        return _tr("{n} min ago").format(n=at // _MINUTE)
    return _tr("{n} s ago").format(n=at)


def _tr(text: str) -> str:
    return QCoreApplication.translate("backups", text)
