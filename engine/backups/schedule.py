"""When the next backup is due: a question of three times and the settings, without a clock of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.config import Config

FIRST_RETRY_S = 15 * 60.0
"""After a failure it is tried again this soon, then after twice the time, up to the schedule's own pace."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every `interval_s` seconds, or once a day at `minute` minutes after midnight, or never."""

    kind: str = "off"
    interval_s: float = 86400.0
    minute: int = 0

    @classmethod
    def of(cls, config: Config) -> Schedule:
        hours, _, minutes = config.backup_time.partition(":")
        return cls(config.backup_schedule, config.backup_interval, 60 * int(hours) + int(minutes))

    def next_at(self, last: float) -> float | None:
        """When one is due if the one before was at `last`; None where there is no schedule.

        A moment that has passed means that one was missed, however many were: one is due now.
        """
        if self.kind == "interval":
            return last + self.interval_s
        return self._next_day_time(last) if self.kind == "daily" else None

    def retry_at(self, attempted: float, failures: int) -> float | None:
        """When to try again after `failures` in a row, the last of them at `attempted`."""
        regular = self.next_at(attempted)
        if regular is None or failures < 1:
            return regular
        return min(regular, attempted + FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))

    def _next_day_time(self, after: float) -> float:
        day = time.localtime(after)
        for ahead in range(3):
            # The calendar, not 24 hours: days on which the clock is changed are of another length.
            moment = (day.tm_year, day.tm_mon, day.tm_mday + ahead, 0, self.minute, 0, 0, 0, -1)
            at = time.mktime(moment)
            if at > after:
                return at
        raise AssertionError("one of three days has the time after the moment")
