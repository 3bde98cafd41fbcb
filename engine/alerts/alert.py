"""An alert, and the condition that it stands for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from engine.types import Severity

RANK = {Severity.CRITICAL: 0, Severity.HIGH: 1, Severity.MEDIUM: 2, Severity.LOW: 3}
"""Severities in order, the gravest first."""


class AlertType(StrEnum):
    """What kind of trouble it is. Those that nothing here can find yet are not among them."""

    DATA_CORRUPTION = "data_corruption"
    RECOVERY_FAILURE = "recovery_failure"
    LOG_WRITE_FAILURE = "log_write_failure"
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    HEALTH_CHECK_FAILED = "health_check_failed"
    PERFORMANCE_DEGRADATION = "performance_degradation"
    LONG_TRANSACTION = "long_transaction"


class Impact(StrEnum):
    """The share of operations that suffer: none, under 1 %, 1 to 10 %, over 10 %, all."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"
    UNAVAILABLE = "unavailable"


def impact_of_share(share: float) -> Impact:
    """The impact where this share (0 to 1) of operations suffers."""
    if share <= 0:
        return Impact.NONE
    if share < 0.01:
        return Impact.MINOR
    return Impact.MAJOR if share <= 0.10 else Impact.CRITICAL


class AlertState(StrEnum):
    """Where an alert stands with those who are to answer it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. Holds no stored keys or values."""

    key: str
    """Tells conditions apart: the name of the rule, with what it is about after a colon where there may be
    several."""
    type: AlertType
    severity: Severity
    component: str
    impact: Impact
    summary: str
    recommended_action: str
    action: str = "none"
    """What a button could do, in the words of the error catalogue, or "none"."""
    runbook: str = ""
    """The name of a text in `resources/runbooks`."""
    code: int | None = None
    """Of the error behind it, where there is one."""
    after_s: float = 0.0
    """It is told only once it has lasted so long."""

    @property
    def rule(self) -> str:
        return self.key.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Alert:
    """One condition from when it was found until it is gone. Times are Unix seconds."""

    id: int
    key: str
    type: AlertType
    severity: Severity
    component: str
    impact: Impact
    summary: str
    recommended_action: str
    action: str
    runbook: str
    code: int | None
    raised_at: float
    last_seen_at: float
    count: int = 1
    """Times that the condition appeared; one that comes back soon after it had gone is the same alert."""
    waited_s: float = 0.0
    """How long it has waited for an answer while the database was open, by a clock that nobody sets."""
    level: int = 0
    """How far it was escalated; 0 for not at all."""
    told_level: int = -1
    """The highest level that the channels were told of; -1 before they were told."""
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    silenced_at: float | None = None
    silenced_until: float | None = None
    cleared_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the condition still holds, answered or not."""
        return self.cleared_at is None

    def state(self, now: float) -> AlertState:
        if not self.is_open:
            return AlertState.CLEARED
        # A clock that was set back before the silence began ends it: better told once too often.
        if self.silenced_at is not None and self.silenced_at <= now < (self.silenced_until or 0.0):
            return AlertState.SILENCED
        return AlertState.OPEN if self.acknowledged_at is None else AlertState.ACKNOWLEDGED

    def to_json(self, now: float) -> dict[str, Any]:
        """The shape of `holdfast alerts --json` and of the lines in `alerts.log`."""
        return {**asdict(self), "state": self.state(now).value}


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts of one type are not told until a moment."""

    type: AlertType
    since: float
    until: float

    def holds(self, now: float) -> bool:
        return self.since <= now < self.until


class NewsKind(StrEnum):
    """What there is to tell of an alert."""

    RAISED = "alert_raised"
    ESCALATED = "alert_escalated"
    CLEARED = "alert_cleared"
    SUMMARY = "alert_summary"


@dataclass(frozen=True, slots=True)
class News:
    """One thing that channels tell. A summary has several alerts, anything else one."""

    kind: NewsKind
    at: float
    alerts: tuple[Alert, ...]

    @property
    def severity(self) -> Severity:
        return min((alert.severity for alert in self.alerts), key=RANK.__getitem__, default=Severity.LOW)
