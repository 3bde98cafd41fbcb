"""The rules: which deductions of the health score and which states of the engine somebody is told of.

Nothing is measured here. What has no true source yet has no rule: breakers, error rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from engine.alerts.alert import AlertType, Condition, Impact, impact_of_share
from engine.errors import HoldfastError, StoreFailed, WritesHalted
from engine.health.report import HealthReport
from engine.health.score import Deduction
from engine.types import IntegrityStanding, Severity
from engine.units import counted, format_moment

_AHEAD_S = 300.0
"""So far ahead of the clock no backup is dated by a machine whose clock merely drifts."""

_PART = "a part of the database"

FAILED_RECOVERY = "recovery_failed"
FAILED_LOOK = "health_check_failed"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rules may look at."""

    report: HealthReport
    integrity: IntegrityStanding
    damage_code: int | None = None
    """Of the most urgent open finding."""
    backup_failure: HoldfastError | None = None
    fail_over_failure: HoldfastError | None = None


@dataclass(frozen=True, slots=True)
class _Telling:
    """How a deduction is told. `steps` gives the severity from so many points on, the highest first."""

    type: AlertType
    component: str
    steps: tuple[tuple[int, Severity], ...]
    runbook: str = ""
    impact: Callable[[Seen], Impact] = lambda _seen: Impact.NONE
    after_s: float = 0.0
    code: Callable[[Seen], int | None] = lambda _seen: None
    summary: Callable[[Seen], str] | None = None
    """In the place of the reason of the deduction."""

    def severity(self, points: int) -> Severity:
        return next((severity for least, severity in self.steps if points >= least), self.steps[-1][1])


def _damage_share(seen: Seen) -> Impact:
    """As many operations meet damage as pages are damaged: the best that is known of them."""
    return impact_of_share(seen.integrity.urgent / max(1, seen.report.status.pages))


def _damage_words(seen: Seen) -> str:
    return f"Damage was found: {counted(seen.integrity.urgent, 'finding is', 'findings are')} open."


def _index_words(seen: Seen) -> str:
    damaged = counted(seen.integrity.indexes, "index does", "indexes do")
    return f"{damaged} not hold what the tables say."


def _waiting_share(seen: Seen) -> Impact:
    status = seen.report.status
    return impact_of_share(status.waiters / max(1, status.transactions.active))


def _code_of(error: HoldfastError | None) -> int | None:
    return None if error is None else error.code


_CHECK, _RESOURCE = AlertType.HEALTH_CHECK_FAILED, AlertType.RESOURCE_EXHAUSTION
_SLOW, _DAMAGE = AlertType.PERFORMANCE_DEGRADATION, AlertType.DATA_CORRUPTION
_CRITICAL, _HIGH, _MEDIUM, _LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW
_BACKUPS, _MIRROR = "no-proved-backup", "mirror-lost"
_SHORT, _WAITING = "resources-short", "slow-or-waiting"

_TOLD = {
    "no_proved_backup": _Telling(_CHECK, "backups", ((15, _HIGH), (0, _MEDIUM)), _BACKUPS),
    "backup_failed": _Telling(
        _CHECK, "backups", ((0, _MEDIUM),), _BACKUPS, code=lambda seen: _code_of(seen.backup_failure)
    ),
    "backup_missed": _Telling(_CHECK, "backups", ((0, _MEDIUM),), _BACKUPS),
    "archive_failed": _Telling(_CHECK, "log archive", ((15, _HIGH), (0, _MEDIUM)), _BACKUPS),
    "archive_gap": _Telling(_CHECK, "log archive", ((0, _MEDIUM),), _BACKUPS),
    "snapshot_given_up": _Telling(_CHECK, "snapshots", ((0, _LOW),)),
    "snapshot_failed": _Telling(_CHECK, "snapshots", ((0, _LOW),)),
    "snapshot_missed": _Telling(_CHECK, "snapshots", ((0, _LOW),)),
    "mirror_lost": _Telling(_CHECK, "mirrors", ((0, _HIGH),), _MIRROR),
    "mirror_out_of_step": _Telling(_CHECK, "mirrors", ((0, _MEDIUM),), _MIRROR),
    "mirror_lag": _Telling(_CHECK, "mirrors", ((0, _MEDIUM),), _MIRROR),
    "damage": _Telling(
        _DAMAGE,
        "data",
        ((0, _CRITICAL),),
        "data-corruption",
        _damage_share,
        code=lambda seen: seen.damage_code,
        summary=_damage_words,
    ),
    "damaged_index": _Telling(
        _DAMAGE,
        "indexes",
        ((0, _HIGH),),
        "data-corruption",
        lambda _seen: Impact.MINOR,
        summary=_index_words,
    ),
    "low_disk": _Telling(_RESOURCE, "disk", ((55, _CRITICAL), (25, _HIGH), (0, _MEDIUM)), "disk-full"),
    "low_memory": _Telling(_RESOURCE, "memory", ((30, _HIGH), (0, _MEDIUM)), _SHORT, after_s=60.0),
    "memory_limit": _Telling(_RESOURCE, "memory", ((0, _MEDIUM),), _SHORT, after_s=60.0),
    "handles": _Telling(_RESOURCE, "file handles", ((20, _HIGH), (0, _MEDIUM)), _SHORT, after_s=60.0),
    "old_transaction": _Telling(
        AlertType.LONG_TRANSACTION, "transactions", ((12, _HIGH), (0, _MEDIUM)), _WAITING
    ),
    "waiters": _Telling(
        _SLOW, "transactions", ((15, _HIGH), (0, _MEDIUM)), _WAITING, _waiting_share, after_s=60.0
    ),
    # One sync in a hundred.
    "slow_sync": _Telling(_SLOW, "disk", ((0, _MEDIUM),), _WAITING, lambda _seen: Impact.MINOR, after_s=60.0),
    "checkpoint_debt": _Telling(_SLOW, "checkpoints", ((0, _LOW),), after_s=300.0),
    "busy_processor": _Telling(_SLOW, "processor", ((0, _LOW),), after_s=300.0),
}
"""By the name of the deduction. Choices (a sync mode, a small cache) are no reason to call anybody."""

# Where the advice of the deduction leaves the way to it open.
_ACTIONS = {"old_transaction": "activity", "waiters": "activity", "checkpoint_debt": "checkpoint"}


ABOUT_BACKUPS = ("no_proved_backup", "backup_ahead_of_clock")
"""Rules that can say nothing before somebody has looked at the folders of the backups."""


def conditions(seen: Seen) -> Iterator[Condition]:
    """All that is wrong now, each once."""
    yield from _engine(seen)
    yield from _recovery(seen)
    yield from _clock(seen)
    for deduction in seen.report.deductions:
        told = _TOLD.get(deduction.name)
        if told is not None:
            yield _condition(deduction, told, seen)


def _condition(deduction: Deduction, told: _Telling, seen: Seen) -> Condition:
    return Condition(
        key=f"{deduction.name}:{deduction.subject}" if deduction.subject else deduction.name,
        type=told.type,
        severity=told.severity(deduction.points),
        component=told.component,
        impact=told.impact(seen),
        summary=f"{deduction.reason}." if told.summary is None else told.summary(seen),
        recommended_action=deduction.fix,
        action=_ACTIONS.get(deduction.name, deduction.action),
        runbook=told.runbook,
        code=told.code(seen),
        after_s=told.after_s,
    )


def _engine(seen: Seen) -> Iterator[Condition]:
    status = seen.report.status
    if status.state == "failed":
        error = StoreFailed(reason=status.reason)
        made = _of_error("log_write_failed", AlertType.LOG_WRITE_FAILURE, "log", error)
        yield replace(made, severity=_CRITICAL, impact=Impact.CRITICAL)
    elif status.is_halted:
        made = _of_error("writes_halted", _DAMAGE, "data", WritesHalted(place=_PART))
        # It is the card of the writer that is told "high"; here it is about the whole database.
        yield replace(made, severity=_CRITICAL, impact=Impact.CRITICAL, action="repair")


def _recovery(seen: Seen) -> Iterator[Condition]:
    standing = seen.report.status.recovery
    if standing is not None and standing.stage == "stuck":
        yield Condition(
            key="recovery_stuck",
            type=AlertType.RECOVERY_FAILURE,
            severity=_CRITICAL,
            component="recovery",
            impact=impact_of_share(len(standing.damaged) / max(1, seen.report.status.pages)),
            summary=f"The recovery cannot go on: pages that cannot be redone: {len(standing.damaged):,}.",
            recommended_action="Open Integrity: it says what each page can be repaired from.",
            action="repair",
            runbook="recovery-failed",
        )
    if seen.fail_over_failure is not None:
        error = seen.fail_over_failure
        made = _of_error("fail_over_failed", AlertType.RECOVERY_FAILURE, "mirrors", error)
        yield replace(made, severity=_CRITICAL, impact=Impact.CRITICAL, runbook=_MIRROR)


def _clock(seen: Seen) -> Iterator[Condition]:
    """A backup from the future: its age is no number, and no deduction comes of it."""
    backups = seen.report.backups
    if backups is None or backups.proved_at <= seen.report.at + _AHEAD_S:
        return
    yield Condition(
        key="backup_ahead_of_clock",
        type=_CHECK,
        severity=_MEDIUM,
        component="backups",
        impact=Impact.NONE,
        summary=f"The newest proved backup is dated {format_moment(backups.proved_at)}, which is still to "
        "come: the clock was ahead then, or was set back. How old it is cannot be told.",
        recommended_action="Set the clock right, then take a backup and rehearse it.",
        action="back_up",
        runbook=_BACKUPS,
    )


def _of_error(key: str, kind: AlertType, component: str, error: HoldfastError) -> Condition:
    card = error.as_card()
    return Condition(
        key=key,
        type=kind,
        severity=card.severity,
        component=component,
        impact=Impact.NONE,
        summary=card.message,
        recommended_action=card.suggested_action,
        action=card.action,
        runbook=card.runbook,
        code=card.code,
    )


def failed_look(error: Exception) -> Condition:
    """The health check itself could not be carried out."""
    told = error.message if isinstance(error, HoldfastError) else type(error).__name__
    return Condition(
        key=FAILED_LOOK,
        type=_CHECK,
        severity=_HIGH,
        component="health",
        impact=Impact.NONE,
        summary=f"The health of the database cannot be checked: {told.rstrip('.')}.",
        recommended_action="See whether the disk of the database answers.",
        runbook="database-unavailable",
        code=error.code if isinstance(error, HoldfastError) else None,
    )


def failed_recovery(message: str, action: str, code: int | None) -> Condition:
    """The last recovery of a database that is not open failed."""
    return Condition(
        key=FAILED_RECOVERY,
        type=AlertType.RECOVERY_FAILURE,
        severity=_CRITICAL,
        component="recovery",
        impact=Impact.UNAVAILABLE,
        summary=f"The last recovery failed: {message.rstrip('.')}.",
        recommended_action=action or "Recover the database again: holdfast recover tells what is in its way.",
        action="recover",
        runbook="recovery-failed",
        code=code,
    )
