"""Hours of the day, as a setting writes them: "always", or "22:00-06:00"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

_FORM = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")
_DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of each day, in minutes after midnight of the local time; it may pass midnight."""

    start: int = 0
    end: int = 0
    """The same as `start` for the whole day."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a setting. Raises `ValueError`."""
        if text.strip().lower() == "always":
            return cls()
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is neither always nor like 22:00-06:00")
        hour, minute, last_hour, last_minute = map(int, found.groups())
        return cls(hour * 60 + minute, last_hour * 60 + last_minute)

    def holds(self, at: float) -> bool:
        """Whether the moment `at` (Unix seconds) lies in these hours."""
        return self.wait_s(at) == 0

    def wait_s(self, at: float) -> float:
        """Seconds from `at` until these hours begin; 0 inside them."""
        if self.start == self.end:
            return 0.0
        now = datetime.fromtimestamp(at)
        minute = now.hour * 60 + now.minute
        if (minute - self.start) % _DAY_MIN < (self.end - self.start) % _DAY_MIN:
            return 0.0
        away = timedelta(minutes=(self.start - minute) % _DAY_MIN) - timedelta(
            seconds=now.second, microseconds=now.microsecond
        )
        return max(1.0, away.total_seconds())
