"""The health score: 100, less a deduction for each thing that is wrong, with its reason and fix.

Every rule reads figures that exist. What cannot be judged (a mirror where none is set up) is
not counted, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.config import Config
from engine.health.figures import Figures
from engine.types import (
    BackupStanding,
    CheckReport,
    IntegrityStanding,
    MirrorInfo,
    MirrorPhase,
    SnapshotStanding,
    StoreStatus,
    SyncMode,
)
from engine.units import counted, format_duration, format_size

MISSED_S = 600.0
"""A schedule that is late by so much has missed what it owes."""


class Component(StrEnum):
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    REPLICATION = "replication"
    ENGINE = "engine"


class HealthState(StrEnum):
    """What the score means: 80 to 100, 50 to 79, 0 to 49."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Deduction:
    """Points off the score: why, and what would bring them back."""

    name: str
    component: Component
    points: int
    reason: str
    fix: str
    action: str = "none"
    """What a button could do, in the words of the error catalogue: "settings", "reopen", ..."""
    subject: str = ""
    """What it is about, where there may be several: the directory of a mirror."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component's own score; None where it is not counted, with the reason in `note`."""

    component: Component
    score: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Score:
    """The score as a waterfall: 100, the deductions, what is left."""

    value: int
    state: HealthState
    deductions: tuple[Deduction, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the rules may look at."""

    figures: Figures
    status: StoreStatus
    config: Config
    last_check: CheckReport | None = None
    backups: BackupStanding | None = None
    """None where nobody has looked."""
    integrity: IntegrityStanding | None = None
    """The open findings; None where only the last check is known."""
    mirrors: tuple[MirrorInfo, ...] = ()
    snapshots: SnapshotStanding | None = None
    """None where nobody has looked."""


def score(evidence: Evidence) -> Score:
    """Judge one moment."""
    deductions = tuple(deduction for rule in _RULES for deduction in rule(evidence))
    value = max(0, 100 - sum(deduction.points for deduction in deductions))
    return Score(value, state_of(value), deductions, tuple(_parts(deductions, bool(evidence.mirrors))))


def state_of(value: int) -> HealthState:
    if value >= 80:
        return HealthState.HEALTHY
    return HealthState.DEGRADED if value >= 50 else HealthState.CRITICAL


def _parts(deductions: Iterable[Deduction], has_mirrors: bool) -> Iterator[Part]:
    lost = dict.fromkeys(Component, 0)
    for deduction in deductions:
        lost[deduction.component] += deduction.points
    for component in Component:
        if component is Component.REPLICATION and not has_mirrors:
            yield Part(component, None, "Not counted: no mirror is set up")
        else:
            yield Part(component, max(0, 100 - lost[component]), "")


def _processor(evidence: Evidence) -> Iterator[Deduction]:
    used = evidence.figures.cpu_percent
    if used < 90:
        return
    own = evidence.figures.process_cpu_percent
    yield Deduction(
        "busy_processor",
        Component.CPU,
        10 if used >= 98 else 5,
        f"The processor is {used:.0f} % busy; {own:.0f} % of one processor is this program's",
        "Let heavy work finish, or end other programs.",
    )


def _memory(evidence: Evidence) -> Iterator[Deduction]:
    figures = evidence.figures
    share = figures.memory_available / figures.memory_total if figures.memory_total else 1.0
    if share < 0.10:
        yield Deduction(
            "low_memory",
            Component.MEMORY,
            30 if share < 0.03 else 15,
            f"Only {format_size(figures.memory_available)} of memory are free",
            "End other programs, or make the cache smaller.",
            "settings",
        )
    limit = evidence.config.max_memory_usage
    if figures.process_memory > limit:
        yield Deduction(
            "memory_limit",
            Component.MEMORY,
            10,
            f"The program uses {format_size(figures.process_memory)}, its limit is {format_size(limit)}",
            "Make the cache smaller, or raise the limit.",
            "settings",
        )


def _disk(evidence: Evidence) -> Iterator[Deduction]:
    figures = evidence.figures
    # Below two segments a checkpoint or an undo may not find the room it needs.
    least = 2 * evidence.config.segment_size
    if figures.disk_free < least:
        points = 55
    elif figures.disk_free < 4 * least:
        points = 25
    elif figures.disk_total and figures.disk_free / figures.disk_total < 0.05:
        points = 10
    else:
        return
    yield Deduction(
        "low_disk",
        Component.DISK,
        points,
        f"Only {format_size(figures.disk_free)} are free on the disk of the database",
        "Free some space, or move the database to a larger disk.",
        "free_space",
    )


def _handles(evidence: Evidence) -> Iterator[Deduction]:
    ours = evidence.config.max_file_handles
    limit = min(evidence.figures.handle_limit or ours, ours)
    used = evidence.figures.handles
    if used < 0.8 * limit:
        return
    yield Deduction(
        "handles",
        Component.ENGINE,
        20 if used >= 0.95 * limit else 10,
        f"{used} of {limit} file handles are in use",
        "Close what is not needed, or raise the limit.",
        "settings",
    )


def _engine_state(evidence: Evidence) -> Iterator[Deduction]:
    status = evidence.status
    if status.state == "failed":
        yield Deduction(
            "engine_failed",
            Component.ENGINE,
            80,
            f"The engine takes no more writes: {status.reason or 'a write or sync failed'}",
            "Close the database and open it again; recovery decides what was committed.",
            "reopen",
        )
    elif status.state == "closed":
        yield Deduction(
            "engine_closed", Component.ENGINE, 100, "The database is closed", "Open it again.", "reopen"
        )


def _integrity(evidence: Evidence) -> Iterator[Deduction]:
    standing, report = evidence.integrity, evidence.last_check
    if standing is not None:
        yield from _findings(standing)
        return
    if report is None or report.ok:
        return
    yield Deduction(
        "damage",
        Component.ENGINE,
        60,
        f"The last check found {len(report.problems)} problem{'s' if len(report.problems) != 1 else ''}",
        "Take a backup, then restore what is damaged from an earlier one.",
        "restore_backup",
    )


def _findings(standing: IntegrityStanding) -> Iterator[Deduction]:
    fix = "Open Integrity: it says what each can be repaired from."
    if standing.urgent:
        reason = f"Findings of damage that are open: {standing.urgent}"
        yield Deduction("damage", Component.ENGINE, 60, reason, fix, "repair")
    if standing.indexes:
        reason = f"Indexes that do not hold what their tables say: {standing.indexes}"
        yield Deduction("damaged_index", Component.ENGINE, 15, reason, fix, "repair")


def _durability(evidence: Evidence) -> Iterator[Deduction]:
    mode = evidence.status.log.sync_mode
    if mode is SyncMode.DURABLE:
        return
    if mode is SyncMode.OFF:
        points, cost = 15, "whatever the system had not written"
    else:
        points, cost = 5, f"the last {format_duration(evidence.config.sync_interval)}"
    yield Deduction(
        "sync_mode",
        Component.ENGINE,
        points,
        f"Commits are not synced one by one: a power failure may cost {cost}",
        'Set the sync mode to "durable".',
        "settings",
    )


def _sync_latency(evidence: Evidence) -> Iterator[Deduction]:
    sync = evidence.status.latency.get("sync")
    if sync is None or sync.count < 20 or sync.p99_us < 250_000:
        return
    yield Deduction(
        "slow_sync",
        Component.DISK,
        20 if sync.p99_us >= 1_000_000 else 8,
        f"One sync in a hundred takes {format_duration(sync.p99_us / 1e6)} or longer",
        "Look after the disk, or move the database to a faster one.",
    )


def _oldest_transaction(evidence: Evidence) -> Iterator[Deduction]:
    age = evidence.status.transactions.oldest_age_s
    if age < 300:
        return
    yield Deduction(
        "old_transaction",
        Component.ENGINE,
        12 if age >= 3600 else 6,
        f"A transaction has been open for {format_duration(age)}; the log is kept for it",
        "Let it finish, or end it on the Activity page.",
    )


def _waiters(evidence: Evidence) -> Iterator[Deduction]:
    waiting = evidence.status.waiters
    if waiting < 5:
        return
    yield Deduction(
        "waiters",
        Component.ENGINE,
        15 if waiting >= 20 else 6,
        f"{counted(waiting, 'transaction waits', 'transactions wait')} for others",
        "See on the Activity page whom they wait for.",
    )


def _checkpoint_debt(evidence: Evidence) -> Iterator[Deduction]:
    debt = evidence.status.checkpoint.redo_bytes
    limit = 2 * evidence.status.checkpoint.due_bytes
    if debt <= limit:
        return
    yield Deduction(
        "checkpoint_debt",
        Component.ENGINE,
        8,
        f"A recovery would have to read {format_size(debt)} of log",
        "Make a checkpoint now, or have them made more often.",
        "settings",
    )


def _proved_backup(evidence: Evidence) -> Iterator[Deduction]:
    backups, within = evidence.backups, evidence.config.proved_backup_within
    if backups is None:
        return
    age = evidence.figures.at - (backups.proved_at or backups.since)
    if age <= within:
        return
    if backups.proved_at:
        reason = f"The newest proved backup is {format_duration(age)} old"
        fix = "Take a backup and rehearse it."
    elif backups.taken_at:
        reason = f"No backup was proved for {format_duration(age)}: none was restored and queried"
        fix = "Rehearse the newest backup, or take one and rehearse it."
    else:
        reason = f"There was no backup for {format_duration(age)}"
        fix = "Take a backup, to another disk than the database's."
    points = 15 if age > 4 * within or not backups.taken_at else 8
    yield Deduction("no_proved_backup", Component.DISK, points, reason, fix, "back_up")


def _failed_backup(evidence: Evidence) -> Iterator[Deduction]:
    if evidence.backups is None:
        return
    if not evidence.backups.failure:
        if evidence.backups.overdue_s > MISSED_S:
            late = format_duration(evidence.backups.overdue_s)
            reason = f"The schedule has missed a backup: it was due {late} ago"
            fix = "Take one on the Backups page, and see there whether its folder answers."
            yield Deduction("backup_missed", Component.DISK, 8, reason, fix, "backups")
        return
    yield Deduction(
        "backup_failed",
        Component.DISK,
        8,
        f"The last scheduled backup failed: {evidence.backups.failure.rstrip('.')}",
        "See on the Backups page what to do about it.",
        "backups",
    )


def _snapshots(evidence: Evidence) -> Iterator[Deduction]:
    standing = evidence.snapshots
    if standing is None:
        return
    if standing.given_up:
        count = len(standing.given_up)
        named = standing.given_up[-1] if count == 1 else f"{count} of them, the last {standing.given_up[-1]}"
        yield Deduction(
            "snapshot_given_up",
            Component.DISK,
            8,
            f"A snapshot could not be kept whole and went: {named} ({standing.given_up_why.rstrip('.')})",
            "See that the disk has room, then take a new one: there is no way back to that moment.",
            "snapshots",
        )
    if standing.failure:
        reason = f"The last scheduled snapshot failed: {standing.failure.rstrip('.')}"
        fix = "Take one by hand: it says what is in its way."
        yield Deduction("snapshot_failed", Component.DISK, 5, reason, fix, "snapshots")
    elif standing.overdue_s > MISSED_S:
        reason = f"The schedule has missed a snapshot: it was due {format_duration(standing.overdue_s)} ago"
        yield Deduction("snapshot_missed", Component.DISK, 5, reason, "Take one by hand.", "snapshots")


def _archive(evidence: Evidence) -> Iterator[Deduction]:
    backups = evidence.backups
    if backups is None:
        return
    if backups.archive_failure:
        waiting, limit = backups.archive_waiting_bytes, evidence.config.archive_wait_limit
        room = f"{format_size(waiting)} of {format_size(limit)}"
        yield Deduction(
            "archive_failed",
            Component.DISK,
            # Beyond the limit the log goes on without a copy, and the backups lose their moments.
            15 if 2 * waiting > limit else 5,
            f"Log waits for its archive ({room} that may): {backups.archive_failure.rstrip('.')}",
            "Free space where the archive is, connect its disk, or choose another place for it.",
            "settings",
        )
    if backups.has_archive_gap:
        yield Deduction(
            "archive_gap",
            Component.DISK,
            10,
            "The log archive has a gap: moments after it cannot be restored from the backups before it",
            "Take a backup: every moment after it can be restored again.",
            "back_up",
        )


def _mirrors(evidence: Evidence) -> Iterator[Deduction]:
    place = Component.REPLICATION
    for mirror in evidence.mirrors:
        name, lag = Path(mirror.path).name, format_duration(mirror.lag_s)
        fix = "See on the Mirrors page what to do about it."
        if mirror.phase in (MirrorPhase.LOST, MirrorPhase.REFUSED):
            reason = f"The mirror {name} is lost, for {lag}: {mirror.error.rstrip('.')}"
            points = 20 if mirror.lag_s < 3600 else 30
            yield Deduction("mirror_lost", place, points, reason, fix, "mirrors", mirror.path)
        elif mirror.phase is MirrorPhase.COPYING:
            reason = f"The mirror {name} is being copied: it could not take over yet"
            yield Deduction("mirror_copying", place, 5, reason, "Wait until it is complete.")
        elif mirror.synchronous and not mirror.in_step and mirror.phase is MirrorPhase.FOLLOWING:
            reason = f"Commits do not wait for the synchronous mirror {name}: it did not answer in time"
            yield Deduction("mirror_out_of_step", place, 10, reason, fix, "mirrors", mirror.path)
        elif mirror.lag_s > 60:
            reason = f"The mirror {name} lags by {format_size(mirror.lag_bytes)}, for {lag}"
            yield Deduction("mirror_lag", place, 10, reason, fix, "mirrors", mirror.path)


def _cache(evidence: Evidence) -> Iterator[Deduction]:
    cache = evidence.status.cache
    asked = cache.hits + cache.misses
    if asked < 100_000 or cache.used < cache.frames or cache.hits / asked >= 0.8:
        return
    yield Deduction(
        "small_cache",
        Component.MEMORY,
        5,
        f"Only {100 * cache.hits / asked:.0f} % of pages are found in the cache",
        "Make the cache larger.",
        "settings",
    )


_RULES: tuple[Callable[[Evidence], Iterator[Deduction]], ...] = (
    _processor,
    _memory,
    _cache,
    _disk,
    _sync_latency,
    _handles,
    _engine_state,
    _integrity,
    _durability,
    _oldest_transaction,
    _waiters,
    _checkpoint_debt,
    _proved_backup,
    _failed_backup,
    _snapshots,
    _archive,
    _mirrors,
)
