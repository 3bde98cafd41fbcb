"""Health checks: each has a criticality and answers healthy, warning, critical or unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from engine.health.score import Component, Deduction, Evidence, Score
from engine.types import Severity
from engine.units import counted, format_duration


class Answer(StrEnum):
    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What one check says: its answer, in words, and the remedy or immediate action."""

    name: str
    title: str
    criticality: Severity
    answer: Answer
    detail: str
    remedy: str = ""


# What a deduction of this size means for the check that it belongs to.
_CRITICAL_POINTS = 25

ABOUT_BACKUPS = ("no_proved_backup", "backup_failed", "backup_missed", "archive_failed", "archive_gap")
"""Deductions for how the database is backed up."""
ABOUT_SNAPSHOTS = ("snapshot_given_up", "snapshot_failed", "snapshot_missed")


def checks(evidence: Evidence, score: Score) -> tuple[HealthCheck, ...]:
    """All checks, most critical first."""
    return tuple(check(evidence, score.deductions) for check in _CHECKS)


def _data_integrity(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    name, title, severity = "data_integrity", "Data integrity", Severity.CRITICAL
    report, standing = evidence.last_check, evidence.integrity
    open_damage = _named(deductions, "damage", "damaged_index")
    if open_damage:
        return _worst(name, title, severity, open_damage, "")
    if report is None and standing is not None and standing.is_checked_well:
        at = datetime.fromtimestamp(standing.checked_at).astimezone()
        detail = f"Checked at {at:%Y-%m-%d %H:%M:%S}, and nothing was found since"
        return HealthCheck(name, title, severity, Answer.HEALTHY, detail)
    if report is None:
        detail = "The database has not been checked since it was opened"
        return HealthCheck(name, title, severity, Answer.UNKNOWN, detail, "Run a check.")
    if report.ok:
        return HealthCheck(
            name,
            title,
            severity,
            Answer.HEALTHY,
            f"{counted(report.pages, 'page was', 'pages were')} checked",
        )
    return HealthCheck(name, title, severity, Answer.HEALTHY, "What the last check found is closed")


def _storage(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    others = (*ABOUT_BACKUPS, *ABOUT_SNAPSHOTS)
    found = [d for d in deductions if d.component is Component.DISK and d.name not in others]
    found += _named(deductions, "engine_failed")
    return _worst("storage", "Storage", Severity.CRITICAL, found, "The disk answers and has room")


def _backups(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    name, title, severity = "backups", "Backups", Severity.HIGH
    standing = evidence.backups
    if standing is None:
        return HealthCheck(name, title, severity, Answer.UNKNOWN, "Nobody has looked at the backups yet")
    found = _named(deductions, *ABOUT_BACKUPS, *ABOUT_SNAPSHOTS)
    if not found and not standing.proved_at:
        detail = "There is a backup, not yet proved" if standing.taken_at else "There is no backup yet"
        return HealthCheck(name, title, severity, Answer.UNKNOWN, detail, "Take one and rehearse it.")
    age = format_duration(max(0.0, evidence.figures.at - standing.proved_at))
    return _worst(name, title, severity, found, f"The newest proved backup is {age} old")


def _resources(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    found = [d for d in deductions if d.component is Component.MEMORY] + _named(deductions, "handles")
    figures = evidence.figures
    healthy = f"{counted(figures.threads, 'thread')}, {counted(figures.handles, 'file handle')}"
    return _worst("resources", "Memory and handles", Severity.HIGH, found, healthy)


def _concurrency(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    found = _named(deductions, "waiters", "old_transaction")
    counters = evidence.status.transactions
    running = counted(counters.active, "transaction is", "transactions are")
    healthy = f"{running} running, {counted(counters.deadlocks, 'deadlock')} so far"
    return _worst("concurrency", "Concurrency", Severity.HIGH, found, healthy)


def _performance(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    found = [d for d in deductions if d.component is Component.CPU]
    commit = evidence.status.latency.get("commit")
    if commit is None or not commit.count:
        healthy = "Nothing was committed yet"
    else:
        healthy = f"99 of 100 commits take {commit.p99_us / 1000:.1f} ms or less"
    return _worst("performance", "Performance", Severity.MEDIUM, found, healthy)


def _network(evidence: Evidence, deductions: Sequence[Deduction]) -> HealthCheck:
    name, title = "network", "Network"
    if not evidence.mirrors:
        detail = "No mirror and no alert channel over the network is set up"
        return HealthCheck(name, title, Severity.LOW, Answer.UNKNOWN, detail)
    found = [d for d in deductions if d.component is Component.REPLICATION]
    level = sum(mirror.is_level for mirror in evidence.mirrors)
    healthy = f"{counted(level, 'mirror has', 'mirrors have')} everything, of {len(evidence.mirrors)}"
    return _worst(name, title, Severity.HIGH, found, healthy)


def _named(deductions: Sequence[Deduction], *names: str) -> list[Deduction]:
    return [deduction for deduction in deductions if deduction.name in names]


def _worst(
    name: str, title: str, criticality: Severity, found: Sequence[Deduction], healthy: str
) -> HealthCheck:
    if not found:
        return HealthCheck(name, title, criticality, Answer.HEALTHY, healthy)
    worst = max(found, key=lambda deduction: deduction.points)
    answer = Answer.CRITICAL if worst.points >= _CRITICAL_POINTS else Answer.WARNING
    return HealthCheck(name, title, criticality, answer, worst.reason, worst.fix)


_CHECKS: tuple[Callable[[Evidence, Sequence[Deduction]], HealthCheck], ...] = (
    _data_integrity,
    _storage,
    _backups,
    _resources,
    _concurrency,
    _performance,
    _network,
)
