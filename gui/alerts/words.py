"""Alerts in words, colours and drawings. Nothing here decides anything."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from engine.alerts.alert import Alert, AlertState, AlertType, Impact
from engine.types import Severity
from gui.theme import IconName, Tone
from gui.widgets import formats


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("alerts", text)


TONES = {
    Severity.CRITICAL: Tone.BAD,
    Severity.HIGH: Tone.BAD,
    Severity.MEDIUM: Tone.WARN,
    Severity.LOW: Tone.NEUTRAL,
}
_PICTURES: dict[Severity, IconName] = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "warning",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
}


def picture(severity: Severity) -> IconName:
    """The drawing of a severity."""
    return _PICTURES[severity]


def severity_word(severity: Severity) -> str:
    return {
        Severity.CRITICAL: tr("critical"),
        Severity.HIGH: tr("high"),
        Severity.MEDIUM: tr("medium"),
        Severity.LOW: tr("low"),
    }[severity]


def type_words(kind: AlertType) -> str:
    return {
        AlertType.DATA_CORRUPTION: tr("data corruption"),
        AlertType.RECOVERY_FAILURE: tr("recovery failure"),
        AlertType.LOG_WRITE_FAILURE: tr("log write failure"),
        AlertType.RESOURCE_EXHAUSTION: tr("resource exhaustion"),
        AlertType.HEALTH_CHECK_FAILED: tr("failed health check"),
        AlertType.PERFORMANCE_DEGRADATION: tr("performance degradation"),
        AlertType.LONG_TRANSACTION: tr("long-running transaction"),
    }[kind]


def impact_words(impact: Impact) -> str:
    """What an impact means for the work with the database."""
    return {
        Impact.NONE: tr("none on the work with the database"),
        Impact.MINOR: tr("minor: under 1 % of operations"),
        Impact.MAJOR: tr("major: 1 to 10 % of operations"),
        Impact.CRITICAL: tr("critical: over 10 % of operations"),
        Impact.UNAVAILABLE: tr("the database cannot be used"),
    }[impact]


def state_words(alert: Alert, state: AlertState) -> str:
    """Where it stands with those who are to answer it, in a word or two."""
    if state is AlertState.OPEN and alert.level:
        return tr("open, level {n}").format(n=alert.level)
    return {
        AlertState.OPEN: tr("open"),
        AlertState.ACKNOWLEDGED: tr("acknowledged"),
        AlertState.SILENCED: tr("silenced"),
        AlertState.CLEARED: tr("cleared"),
    }[state]


def answer_words(alert: Alert, state: AlertState) -> str:
    """Where it stands, with who, when and what comes next."""
    if state is AlertState.CLEARED and alert.cleared_at is not None:
        return tr("Cleared {when}").format(when=formats.moment(alert.cleared_at))
    if state is AlertState.SILENCED and alert.silenced_until is not None:
        return tr("Silent until {when}").format(when=formats.moment(alert.silenced_until))
    if state is AlertState.SILENCED:
        return tr("All of this type are silent")
    if state is AlertState.ACKNOWLEDGED and alert.acknowledged_at is not None:
        words = tr("Acknowledged by {who}, {when}: it is escalated no further")
        return words.format(who=alert.acknowledged_by, when=formats.moment(alert.acknowledged_at))
    if alert.severity is Severity.LOW:
        return tr("Nobody has answered; it is only summed up")
    if alert.level and alert.waited_s < 1:
        return tr("Nobody has answered yet: escalated to level {n}").format(n=alert.level)
    if alert.level:
        words = tr("Nobody has answered for {time}: escalated to level {n}")
        return words.format(time=formats.duration(alert.waited_s), n=alert.level)
    return tr("Nobody has answered; it is escalated when that lasts")


def since_words(alert: Alert) -> str:
    """Since when, and how often it came back."""
    words = formats.moment(alert.raised_at)
    if alert.count > 1:
        words += tr(", came {n} times").format(n=formats.count(alert.count))
    return words


def action_label(action: str) -> str:
    """What the button says that carries out a recommended action; empty for an action without a button."""
    return {
        "back_up": tr("Back up now…"),
        "backups": tr("Show backups"),
        "snapshots": tr("Show snapshots…"),
        "settings": tr("Open the settings"),
        "repair": tr("Show what is damaged"),
        "reopen": tr("Close and open again"),
        "mirrors": tr("Show mirrors"),
        "activity": tr("Show who is at work"),
        "checkpoint": tr("Make a checkpoint"),
    }.get(action, "")
