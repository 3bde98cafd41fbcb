"""How far an alert that nobody answers has come, and when the lesser ones are summed up.

A critical alert is at the first level at once, a high one after `escalation_timeout` (15 minutes where
the settings say nothing), a medium one after four times that (an hour); each further `escalation_timeout`
takes it a level up, to `max_escalation_level`. A low one is only summed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.config import Config
from engine.types import Severity

_FIRST_AFTER = {Severity.CRITICAL: 0.0, Severity.HIGH: 1.0, Severity.MEDIUM: 4.0}
"""In timeouts."""
_PERIODS_S = {"hourly": 3600.0, "daily": 86400.0, "weekly": 7 * 86400.0}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say of escalation and summaries."""

    timeout_s: float = 900.0
    most: int = 3
    summary_every_s: float | None = 86400.0
    """None for no summaries."""
    kept_s: float = 7 * 86400.0
    """How long an alert is kept after it was cleared."""

    @classmethod
    def of(cls, config: Config) -> Self:
        every = _PERIODS_S[config.summary_alert_schedule] if config.enable_summary_alerts else None
        return cls(config.escalation_timeout, config.max_escalation_level, every, config.metrics_retention)

    def level(self, severity: Severity, waited_s: float) -> int:
        """The level of an alert that has waited so long for an answer."""
        first = _FIRST_AFTER.get(severity)
        if first is None:
            return 0
        beyond = waited_s - first * self.timeout_s
        return 0 if beyond < 0 else min(self.most, 1 + int(beyond / self.timeout_s))
