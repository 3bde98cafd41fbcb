"""Frozen values that cross from the engine to its users. No behaviour beyond small answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Isolation(StrEnum):
    """What a transaction may see of others. Source: Berenson et al. 1995."""

    READ_COMMITTED = "read_committed"
    REPEATABLE_READ = "repeatable_read"
    SERIALIZABLE = "serializable"


class SyncMode(StrEnum):
    """When a commit is on the medium: at once; within an interval; when the system likes."""

    DURABLE = "durable"
    INTERVAL = "interval"
    OFF = "off"


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class DatabaseState(StrEnum):
    """What `info` says of a database that is not open here."""

    CLEAN = "clean"
    NEEDS_RECOVERY = "needs_recovery"
    DAMAGED = "damaged"
    OPEN_ELSEWHERE = "open_elsewhere"


class Outcome(StrEnum):
    """How long work ended."""

    SUCCEEDED = "succeeded"
    WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Latency:
    """One histogram, in microseconds."""

    count: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0


@dataclass(frozen=True, slots=True)
class LogStatus:
    last_lsn: int
    durable_lsn: int
    bytes_total: int
    """Size of the segments on disk."""
    segments: int
    segment_bytes: int
    entries_written: int
    bytes_written: int
    """Since the database was opened."""
    syncs: int
    rotations: int
    sync_mode: SyncMode
    truncation_lsn: int
    pinned_by: str
    """What keeps the oldest log: "checkpoint", "transaction 12", "snapshot 9", "backup", ..."""


@dataclass(frozen=True, slots=True)
class CheckpointStatus:
    lsn: int
    at: float
    """Unix seconds."""
    redo_lsn: int
    count: int
    last_duration_s: float
    last_pages: int
    redo_bytes: int
    """Log that a recovery would have to read if the power failed now."""
    due_bytes: int
    """Log after which the next one is taken: less than the setting where the disk is nearly full."""


@dataclass(frozen=True, slots=True)
class CacheStatus:
    frames: int
    used: int
    dirty: int
    page_size: int
    hits: int
    misses: int
    evictions: int
    pages_written: int


@dataclass(frozen=True, slots=True)
class TransactionCounters:
    active: int
    begun: int
    committed: int
    written: int
    """Of those committed, the ones that had changed something."""
    aborted: int
    deadlocks: int
    lock_waits: int
    conflicts: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class RecoveryStanding:
    """How far the recovery of an open database has come that was opened before it was through."""

    stage: str
    """redo | undo | checkpoint | log | check | done; stuck where pages are left that could not be redone."""
    pages: int
    pages_left: int
    losers: int
    """Transactions that the crash cut off; what they changed is locked until they are undone."""
    losers_left: int
    damaged: tuple[tuple[int, str], ...]
    """Pages that could not be redone, with the reason that their readers get."""
    log_bytes: int
    applied: int
    seconds: float
    """Since the database was opened, and until the recovery was complete."""
    problems: int | None
    """What the check after it found; None before that has ended."""
    segments: int = 0
    """Of the log, as the recovery found it."""
    segments_validated: int = 0
    """Those whose entries were read, before the opening or since; the older ones follow redo and undo."""
    checking: str = ""
    """What the check is at: log | pages | trees | indexes."""
    check_unit: str = ""
    check_done: int = 0
    check_total: int = 0
    """Of the part that the check is at; 0 where that is not known."""

    @property
    def is_through(self) -> bool:
        """True once everything is redone, undone and on the disk; the check may still run."""
        return self.stage in ("log", "check", "done")


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """One immutable sample of a running engine."""

    at: float
    state: str
    """open | failed | closed"""
    reason: str
    read_only: bool
    pages: int
    free_pages: int
    log: LogStatus
    checkpoint: CheckpointStatus
    cache: CacheStatus
    transactions: TransactionCounters
    waiters: int
    splits: int = 0
    """Pages of trees that were split since the database was opened."""
    latency: dict[str, Latency] = field(default_factory=dict)
    """By operation: get, put, commit, sync, lock_wait, checkpoint, page_read."""
    recovery: RecoveryStanding | None = None
    """Of a database that was opened before its recovery was through; None for any other."""
    is_halted: bool = False
    """Damage that could not be repaired has stopped all changes, as `corruption_action` says."""


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    id: int
    started_at: float
    age_s: float
    isolation: Isolation
    status: str
    changes: int
    log_bytes: int
    locks: int
    waiting_for: int | None
    first_lsn: int
    undo_bytes: int


@dataclass(frozen=True, slots=True)
class LockWaiter:
    txn: int
    mode: str
    since_s: float


@dataclass(frozen=True, slots=True)
class LockInfo:
    resource: str
    mode: str
    holders: tuple[int, ...]
    waiters: tuple[LockWaiter, ...]
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WaitEdge:
    """`waiter` waits for `holder`."""

    waiter: int
    holder: int
    resource: str
    mode: str
    since_s: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check."""

    code: int
    page: int | None
    tree: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    ok: bool
    pages: int
    bytes: int
    records: int
    seconds: float
    problems: tuple[Problem, ...]
    left_out: int = 0
    """Problems beyond those listed."""
    skipped: tuple[str, ...] = ()
    """Tables that could not be compared with their indexes because somebody held them."""
    lost: int = 0
    """Pages in use that nothing leads to; 0 while a tree is damaged or somebody is at work."""


@dataclass(frozen=True, slots=True)
class IntegrityStanding:
    """What is known of a database's integrity now."""

    checked_at: float
    """When everything was checked last, in Unix seconds; 0 for never."""
    is_checked_well: bool
    urgent: int
    """Open findings of damaged data or broken references."""
    indexes: int
    """Open findings of indexes, which can be rebuilt."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """One sign that a recovery is needed."""

    name: str
    """recovery_marker | unclean_shutdown | doublewrite | stale_recovery_lock | unfinished_log"""
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    name: str
    type: str
    """null | integer | real | text | blob | any"""
    declared: str
    not_null: bool
    primary_key: int
    """1-based place in the primary key; 0 where it is not part of it."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    name: str
    columns: tuple[str, ...]
    unique: bool


@dataclass(frozen=True, slots=True)
class TableInfo:
    name: str
    rows: int
    columns: tuple[ColumnInfo, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[IndexInfo, ...]


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What can be told of a database without opening it."""

    path: str
    state: DatabaseState
    indicators: tuple[Indicator, ...]
    page_size: int
    pages: int
    wal_bytes: int
    wal_segments: int
    checkpoint_lsn: int
    checkpoint_at: float
    holder: str | None
    recovery: Mapping[str, Any] | None = None
    """Of a database that its holder recovers while it is in use: how far that had come, with the moment
    (`at`) and in words (`words`). The holder notes it from time to time."""


@dataclass(frozen=True, slots=True)
class BackupInfo:
    path: str
    taken_at: float
    end_lsn: int
    pages: int
    bytes: int
    verified_at: float | None
    parent: str = field(default="", compare=False)
    """The name of the backup that it adds to; empty for a full one."""
    sequence: int = field(default=0, compare=False)
    """Its number in the chain, in order of taking whatever the clock says; 0 in older backups."""
    logs: tuple[str, ...] = field(default=(), compare=False)
    """Where the log after it is kept: the database, and its archive where that lies elsewhere."""
    encryption: str = field(default="", compare=False)
    """What it is encrypted with: passphrase | key_file; empty where everybody can read it."""
    key_file: str = field(default="", compare=False)
    """Where the key file was when it was taken."""
    resumed_pages: int = field(default=0, compare=False)
    """Pages that were there already when it went on after an attempt that was cut off."""


class BackupOrigin(StrEnum):
    """Who asked for a backup. Only scheduled ones are ever removed by retention."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    EMERGENCY = "emergency"


class ProofStep(StrEnum):
    """What is known of a backup, each step proving more than the one before."""

    TAKEN = "taken"
    CHECKSUMMED = "checksummed"
    RESTORED = "restored"
    QUERIED = "queried"


class TargetState(StrEnum):
    """What is where a restore is to go."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_EMPTY = "not_empty"
    NO_PARENT = "no_parent"

    @property
    def is_fit(self) -> bool:
        return self in (TargetState.MISSING, TargetState.EMPTY)


@dataclass(frozen=True, slots=True)
class BackupStanding:
    """How well a database is backed up, as far as its last look at the folder goes."""

    folder: str
    since: float
    """Since when the database could have been backed up, Unix seconds, as are the others."""
    taken_at: float = 0.0
    """Of the newest backup; 0 for none."""
    proved_at: float = 0.0
    """When the newest backup that was restored and queried was taken; 0 for none."""
    next_at: float | None = None
    """When the schedule takes the next one; None where none is set."""
    failure: str = ""
    """Why the last scheduled one failed, in a sentence; empty where it did not."""
    is_running: bool = False
    """The schedule takes one now."""
    overdue_s: float = 0.0
    """How long the schedule has owed one that it could have taken."""
    archive_failure: str = ""
    """Why the log cannot be archived now, so that it waits; empty where it can."""
    archive_waiting_bytes: int = 0
    """Log that waits for it."""
    has_archive_gap: bool = False
    """Log went without a copy in the archive since the newest backup was taken."""


@dataclass(frozen=True, slots=True)
class SnapshotStanding:
    """How the snapshots of a database fare."""

    next_at: float | None = None
    """When the schedule takes the next one, Unix seconds; None where none is set."""
    overdue_s: float = 0.0
    """How long the schedule has owed one that it could have taken."""
    failure: str = ""
    """Why the schedule's last one failed, in a sentence; empty where it did not."""
    given_up: tuple[str, ...] = ()
    """The names of those that could not be kept whole, and went; none was taken since."""
    given_up_why: str = ""
    """Of the last of them, in a sentence."""


class MirrorPhase(StrEnum):
    """What a mirror is doing."""

    CONNECTING = "connecting"
    COPYING = "copying"
    FOLLOWING = "following"
    LOST = "lost"
    """It cannot be reached or written to; it is tried again."""
    REFUSED = "refused"
    """It is of another history, or has taken over: it is left alone."""


@dataclass(frozen=True, slots=True)
class MirrorInfo:
    """How one mirror of an open database stands."""

    path: str
    synchronous: bool
    in_step: bool
    """Commits wait for it at this moment."""
    phase: MirrorPhase
    shipped_lsn: int
    """It has the log up to here, on its own medium; 0 where that is not known."""
    redone_lsn: int
    """Its pages have everything up to here; 0 where nothing was redone since the database was opened."""
    lag_bytes: int
    lag_s: float
    """Since when it lacks something; by a clock that nobody sets."""
    held: bool
    """The log that it lacks is still kept for it."""
    copies: int
    """Full copies since the database was opened."""
    copied: int
    to_copy: int
    """Pages of the copy that is being made."""
    shipped_bytes: int
    error_code: int = 0
    error: str = ""
    """Why it is lost or refused."""
    mended: int = 0
    """Damaged pages of it that were replaced by those of the database, since that was opened."""
    log_mended: int = 0
    """Bytes of its damaged log that were replaced by those of the database, in use or archived."""

    @property
    def is_level(self) -> bool:
        """It follows, and has all that is durable."""
        return self.phase is MirrorPhase.FOLLOWING and not self.lag_bytes


@dataclass(frozen=True, slots=True)
class MirrorOutlook:
    """What a fail over to a mirror would come to; nothing was changed to find out."""

    path: str
    primary: str
    """The directory whose place it takes."""
    epoch: int
    end_lsn: int
    last_commit_at: float
    """Everything committed up to then is in the mirror; Unix seconds, 0 where its log holds no commit."""
    redo_bytes: int
    lost_bytes: int | None
    """What the primary has beyond; None where that cannot be read."""
    lost_commits: int | None
    broken: str = ""
    """Why the end of its log is damaged; a fail over has to be told to do without."""
    begun: bool = False

    @property
    def is_without_loss(self) -> bool:
        """It is known that nothing would be lost."""
        return self.lost_bytes == 0 and not self.broken


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the engine; `fields` are the kind's own."""

    kind: str
    at: float
    fields: dict[str, Any] = field(default_factory=dict)
