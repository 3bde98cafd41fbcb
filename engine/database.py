"""One open database: its transactions, its figures, and the services that look after it."""

from __future__ import annotations

import atexit
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from engine import bridge, catalogue
from engine import config as configuration
from engine.backups.backup import Backups
from engine.backups.keeper import BackupKeeper
from engine.backups.named import NamedPoints
from engine.config import Config
from engine.data.tables import Tables
from engine.errors import (
    Cancelled,
    DatabaseIsMirror,
    DatabaseNotFound,
    DatabaseOpenElsewhere,
    DatabaseSuperseded,
    Deadlock,
    HoldfastError,
    InvalidArgument,
    NotADatabase,
    RecoveryNeeded,
    RecoveryProgress,
    SnapshotTooOld,
    WriteConflict,
)
from engine.events import EventBus
from engine.health.report import Health
from engine.integrity.service import Integrity
from engine.mirrors.guard import MirrorGuard
from engine.mirrors.mirrors import Mirrors
from engine.recovery import detection
from engine.recovery.early import RECOVERING, EarlyRecovery, open_early
from engine.recovery.fallbacks import FallbackKind
from engine.recovery.ground import rehearsal_folder
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import RecoveryReport
from engine.snapshots.keeper import SnapshotKeeper
from engine.snapshots.snapshots import Snapshots
from engine.tasks import Task
from engine.types import (
    CheckReport,
    DatabaseInfo,
    Indicator,
    Isolation,
    LockInfo,
    StoreStatus,
    TransactionInfo,
    WaitEdge,
)

T = TypeVar("T")

RecoveryChoice = Literal["auto", "ask", "never"]

PAGE_FILE = "database.holdfast"

# A conflict is over when the other transaction is, so the pauses are those of transactions,
# not those of failing devices.
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.25
_WORTH_ANOTHER_TRY = (Deadlock, WriteConflict, SnapshotTooOld)


def open_database(
    path: str | Path,
    *,
    create: bool = True,
    read_only: bool = False,
    recovery: RecoveryChoice = "auto",
    config: Config | None = None,
) -> Database:
    """Open the database in the directory `path`; create it where it is missing.

    `recovery` says what happens to a database that was not closed: "auto" opens it once its log was
    read and checked, and recovers it in the background, which cannot be taken back (`status` and
    `recovery_report` tell how far it is); with `recover_on_demand` off, or where that would take too
    much memory, it is recovered before this returns. "ask" and "never", "auto" with
    `auto_recovery_enabled` off, and a read-only open, for recovery writes, raise `RecoveryNeeded`
    (-60) with the `indicators` found. `config` takes the place of the database's `reliability.toml`.

    Raises `DatabaseNotFound`, `NotADatabase`, `DatabaseOpenElsewhere`, `RecoveryProgress` (-80)
    while another program recovers it, `ConfigInvalid`, and what recovery raises.
    """
    if recovery not in ("auto", "ask", "never"):
        raise InvalidArgument(argument="recovery", issue='it must be "auto", "ask" or "never"')
    # Where memory or file handles run out later, there are none to read the words for it with.
    catalogue.entries()
    directory = directory_of(path)
    facts = _inspect(directory)
    if not facts["exists"]:
        return _create(directory, create and not read_only, config)
    ensure_primary(directory)
    settings = config if config is not None else configuration.load(directory)
    found = detection.indicators(facts)
    if detection.holder_is_alive(facts):
        raise _open_elsewhere(directory, facts)
    if not found:
        store = bridge.open_store(directory, settings, read_only=read_only)
        return Database(directory, store, settings)
    if read_only or recovery != "auto" or not settings.auto_recovery_enabled:
        raise recovery_needed(directory, found)
    if settings.recover_on_demand:
        early = open_early(directory, facts, settings)
        if early is not None:
            return Database(directory, early.store, settings, early=early)
    return Task("Recovery", lambda task: _recovered(directory, config, task, facts)).run()


def recover_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Recover a database and open it, as work with progress and cancel; start it, or run it.

    `RecoveryManager` is for those who want the plan first, or the stages as they run.
    """
    return Task("Recovery", lambda task: _recovered(directory_of(path), config, task))


def _recovered(
    directory: Path, config: Config | None, task: Task[Any], facts: Mapping[str, Any] | None = None
) -> Database:
    manager = RecoveryManager(directory, config, facts=facts)
    manager.run(task)
    return Database.recovered(manager)


def open_early_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Open it before it is recovered, whatever `recover_on_demand` says; progress and cancel up to then."""

    def work(task: Task[Any]) -> Database:
        directory = directory_of(path)
        settings = config if config is not None else configuration.load(directory)
        early = open_early(directory, _inspect(directory), settings, task)
        if early is not None:
            return Database(directory, early.store, settings, early=early)
        return _recovered(directory, config, task)

    return Task("Open", work)


def open_read_only_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Open, read-only, what a recovery would give; the database itself stays as it is.

    Work with progress and cancel; start it, or run it. A recovery up to the last valid record runs in
    a folder beside the database, which goes when the opened database is closed; until then its lock
    is held. Raises what recovery raises.
    """

    def work(task: Task[Any]) -> Database:
        manager = RecoveryManager(directory_of(path), config, fallback=FallbackKind.LAST_VALID)
        with ExitStack() as stack:
            folder = stack.enter_context(rehearsal_folder(manager.path))
            store = manager.look(folder, task)
            kept = stack.pop_all()
        return Database(manager.path, store, manager.settings, manager.report, on_close=kept.close)

    return Task("Open read-only", work)


def inspect(path: str | Path) -> DatabaseInfo:
    """Look at a database without opening it: takes no lock, changes nothing.

    Raises `DatabaseNotFound` (-14) or `NotADatabase` (-19).
    """
    directory = directory_of(path)
    facts = _inspect(directory)
    if not facts["exists"]:
        raise _missing(directory)
    return DatabaseInfo(
        path=str(directory),
        state=detection.state(facts),
        indicators=detection.indicators(facts),
        page_size=int(facts["page_size"] or 0),
        pages=int(facts["pages"] or 0),
        wal_bytes=int(facts["wal_bytes"] or 0),
        wal_segments=int(facts["wal_segments"] or 0),
        checkpoint_lsn=int(facts["checkpoint_lsn"] or 0),
        checkpoint_at=float(facts["checkpoint_at"] or 0.0),
        holder=detection.opener_text(facts),
        recovery=detection.background_recovery(facts),
    )


def directory_of(path: str | Path) -> Path:
    """The database's directory, absolute; the page file inside it stands for it."""
    chosen = Path(path).expanduser().absolute()
    return chosen.parent if chosen.name == PAGE_FILE and chosen.is_file() else chosen


def ensure_primary(directory: Path) -> None:
    """Raise `DatabaseIsMirror` (-112) or `DatabaseSuperseded` (-113) for what is no primary."""
    standing = bridge.mirror_standing(str(directory))
    role = "primary" if standing is None else standing["role"]
    if standing is None or role == "primary":
        return
    if role == "superseded":
        epoch = standing["epoch"]
        raise DatabaseSuperseded(path=str(directory), successor=standing["other"], epoch=epoch)
    raise DatabaseIsMirror(path=str(directory), primary=standing["other"])


def recovery_needed(directory: Path, found: tuple[Indicator, ...]) -> RecoveryNeeded:
    """The error that says that `directory` was not closed, with the signs of it."""
    error = RecoveryNeeded(path=str(directory), indicators=[indicator.title for indicator in found])
    error.indicators = found
    return error


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


@atexit.register
def _close_what_is_open() -> None:
    """Close at the end of the program what it left open, so that it needs no recovery."""
    for database in list(_OPEN):
        # Nobody is left to be told; what could not be closed is recovered when it is opened next.
        with suppress(HoldfastError):
            database.close()


class Database:
    """An open database. Any thread may use it; a transaction belongs to one thread at a time."""

    def __init__(
        self,
        path: Path,
        store: bridge.Store,
        config: Config,
        report: RecoveryReport | None = None,
        *,
        early: EarlyRecovery | None = None,
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        """Takes over `store`; `on_close` is called once that is closed.

        Use `engine.open`, which finds out what the database needs first.
        """
        self.path = path
        self.store = store
        self.config = config
        self._report = report
        self._early = early
        self.events = EventBus(store.drain_events)
        if early is not None:
            self.events.subscribe(lambda event: early.hear(event, self), kinds=RECOVERING)
        self.tables = Tables(self)
        self.backups = Backups(self)
        self.keeper = BackupKeeper(self)
        self.points = NamedPoints(self)
        self.snapshots = Snapshots(self)
        self.snapshot_keeper = SnapshotKeeper(self)
        self.mirrors = Mirrors(self)
        self.guard = MirrorGuard(self)
        self.health = Health(self)
        self.integrity = Integrity(self)
        self._closing = threading.Lock()
        self._closed = False
        self._aborted = 0
        self._on_close = on_close
        self.events.start()
        if config.backup_schedule != "off":
            self.keeper.start()
        if config.enable_snapshots:
            self.snapshot_keeper.start()
        self.integrity.scrubber.start()
        if config.mirror_fail_over == "automatic":
            self.guard.start()
        self.mirrors.note()
        _OPEN.add(self)

    @property
    def recovery_report(self) -> RecoveryReport | None:
        """What the recovery did that opened this database; None where none was needed.

        Of one that is still going on, how far it is: `outcome` is None and `recovered` is False.
        """
        return self._report if self._early is None else self._early.report

    @classmethod
    def recovered(cls, manager: RecoveryManager) -> Self:
        """The database that `manager` has just recovered. May be called once."""
        return cls(manager.path, manager.take_store(), manager.settings, manager.report)

    def begin(
        self, isolation: Isolation | str = Isolation.REPEATABLE_READ, *, read_only: bool = False
    ) -> bridge.Transaction:
        """Begin a transaction, which the caller commits or aborts."""
        try:
            # A level is a text for the kernel too: looking it up would cost more than beginning.
            return self.store.begin(isolation, read_only)
        except (TypeError, InvalidArgument):
            _isolation(isolation)
            raise

    def transaction(
        self, isolation: Isolation | str = Isolation.REPEATABLE_READ, *, read_only: bool = False
    ) -> bridge.Transaction:
        """Begin a transaction for a `with` block: it commits, or aborts on an error."""
        return self.begin(isolation, read_only=read_only)

    def run(
        self,
        work: Callable[[bridge.Transaction], T],
        attempts: int = 5,
        *,
        isolation: Isolation | str = Isolation.REPEATABLE_READ,
    ) -> T:
        """Do `work(txn)` in a transaction and return its result once that is committed.

        Where the transaction lost to another one (deadlock, conflict, snapshot too old),
        `work` is done again in a new one, up to `attempts` times, after a pause that doubles
        and is drawn at random so that the same two do not meet again. Else, and after the
        last attempt, the error is raised.
        """
        if attempts < 1:
            raise InvalidArgument(argument="attempts", issue="it must be at least 1")
        pause = _FIRST_PAUSE_S
        for attempt in range(1, attempts + 1):
            try:
                with self.transaction(isolation) as txn:
                    # Leaving the block commits, and a commit may lose as well.
                    return work(txn)
            except _WORTH_ANOTHER_TRY:
                if attempt == attempts:
                    raise
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def trees(self) -> list[str]:
        """The names of all trees."""
        return self.store.trees()

    def checkpoint(self) -> dict[str, Any]:
        """Make a checkpoint now; nobody is stopped. Returns what it did."""
        return self.store.checkpoint()

    def flush(self) -> None:
        """Make all committed work durable, whatever the sync mode."""
        self.store.flush()

    def status(self) -> StoreStatus:
        """One sample of the engine."""
        return bridge.status(self.store, time.time())

    def transactions(self) -> list[TransactionInfo]:
        """The transactions that are running."""
        return list(bridge.transactions(self.store))

    def locks(self) -> list[LockInfo]:
        """The locks that are held or waited for."""
        return list(bridge.locks(self.store))

    def wait_for_graph(self) -> list[WaitEdge]:
        """Who waits for whom."""
        return list(bridge.wait_for_graph(self.store))

    def abort_transaction(self, txn_id: int) -> bool:
        """End another transaction, from anywhere; its owner's next call learns it.

        Returns False where no such transaction runs.
        """
        return self.store.abort_transaction(txn_id)

    def abort_all_transactions(self) -> int:
        """Roll back every transaction in flight, at once; returns how many.

        Their owners learn it with their next calls: `TransactionAborted` (-36).
        """
        return self.store.abort_all()

    def check(self, detailed: bool = True) -> CheckReport:
        """Check every invariant of the database; see `check_task` for progress and cancel."""
        return self.check_task(detailed).run()

    def check_task(self, detailed: bool = True) -> Task[CheckReport]:
        """A check as work with progress and cancel; start it, or run it."""

        def work(task: Task[CheckReport]) -> CheckReport:
            job = bridge.Job()
            task.use(job)
            report = bridge.check_report(self.store.check(detailed, job))
            self.health.note_check(report)
            self.integrity.note_check(report, detailed)
            self.events.publish(
                "check_finished", ok=report.ok, problems=len(report.problems), seconds=report.seconds
            )
            return report

        return Task("Check", work)

    def load_task(self, spec: Mapping[str, Any]) -> Task[dict[str, Any]]:
        """A measured workload (see the kernel's `Store.load`) with progress and cancel."""

        def work(task: Task[dict[str, Any]]) -> dict[str, Any]:
            job = bridge.Job()
            task.use(job)
            return self.store.load(dict(spec), job)

        return Task("Load", work)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self, *, finish_recovery: bool = True) -> int:
        """Close cleanly; returns how many live transactions had to be aborted. May be called twice.

        A database that was opened before its recovery was through is recovered to the end first. With
        `finish_recovery=False`, or from a Ctrl-C that is pressed meanwhile on (`KeyboardInterrupt` is
        raised again after the close), what is left to redo and to undo is left to the next opening,
        which goes on from there: the answer takes well under a second, and nothing is lost.
        """
        with self._closing:
            if self._closed:
                return self._aborted
            self._closed = True
            self.keeper.close()
            self.snapshot_keeper.close()
            self.guard.stop()
            try:
                self.integrity.scrubber.stop()
                self.snapshots.close()
                self._aborted = self._close_store(finish_recovery)
                if self._early is not None:
                    self._early.note_closed()
                self.events.publish("database_closed", aborted=self._aborted)
            finally:
                self.events.close()
                self._on_close()
            return self._aborted

    def _close_store(self, finish_recovery: bool) -> int:
        job = bridge.Job()
        if not finish_recovery:
            job.cancel()

        def close(_task: Task[int] | None = None) -> int:
            return int(self.store.close(job)["aborted"])

        if self._early is None:
            return close()
        try:
            # On a thread of its own, so that a Ctrl-C is heard while this one waits.
            closing = Task("Close", close).start()
        except RuntimeError:
            # The program ends, and no thread is to be had any more.
            return close()
        try:
            return closing.wait()
        except KeyboardInterrupt:
            job.cancel()
            closing.wait()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Who breaks off waits for nothing that the next opening can do as well.
        is_broken_off = isinstance(error, KeyboardInterrupt | Cancelled)
        try:
            self.close(finish_recovery=not is_broken_off)
        except HoldfastError:
            # The error that ended the block is the one to tell.
            if error is None:
                raise


def _isolation(value: Isolation | str) -> str:
    try:
        return Isolation(value).value
    except ValueError:
        known = ", ".join(level.value for level in Isolation)
        raise InvalidArgument(argument="isolation", issue=f"it must be one of {known}") from None


def _inspect(directory: Path) -> Mapping[str, Any]:
    if directory.exists() and not directory.is_dir():
        raise NotADatabase(path=str(directory), detail="it is a file, and a database is a directory")
    return bridge.inspect(str(directory))


def _missing(directory: Path) -> HoldfastError:
    if directory.is_dir():
        return NotADatabase(path=str(directory), detail="the directory holds no database")
    return DatabaseNotFound(path=str(directory))


def _open_elsewhere(directory: Path, facts: Mapping[str, Any]) -> HoldfastError:
    holder = facts["holder"]
    if recovered_by := detection.recovery_under_way(facts):
        return RecoveryProgress(message=recovered_by)
    return DatabaseOpenElsewhere(
        path=str(directory),
        holder=detection.opener_text(facts),
        since=holder.get("since"),
        pid=holder.get("pid"),
        host=holder.get("host"),
    )


def _create(directory: Path, wanted: bool, settings: Config | None) -> Database:
    if not wanted or not _is_free(directory):
        raise _missing(directory)
    chosen = settings if settings is not None else configuration.load(directory)
    return Database(directory, bridge.create(directory, chosen), chosen)


# What may lie where a database is to be made: its settings, and the lock of a creation that was
# cut off before it had made anything.
_BEFOREHAND = {configuration.FILE_NAME, "LOCK"}


def _is_free(directory: Path) -> bool:
    """True where a database may be made: nothing is there, or what a creation cut off left there."""
    if not directory.exists() or bool(bridge.inspect(str(directory))["half_made"]):
        return True
    return {entry.name for entry in directory.iterdir()} <= _BEFOREHAND
