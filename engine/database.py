"""One open database: its transactions, its figures, and the services that look after it."""

from __future__ import annotations

import atexit
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from engine import bridge
from engine.alerts.service import Alerts
from engine.backups.backup import Backups
from engine.backups.keeper import BackupKeeper
from engine.backups.named import NamedPoints
from engine.config import Config
from engine.data.tables import Tables
from engine.errors import (
    Cancelled,
    Deadlock,
    HoldfastError,
    InvalidArgument,
    SnapshotTooOld,
    WriteConflict,
)
from engine.events import EventBus
from engine.health.report import Health
from engine.integrity.service import Integrity
from engine.mirrors.guard import MirrorGuard
from engine.mirrors.mirrors import Mirrors
from engine.recovery.early import RECOVERING, EarlyRecovery
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import RecoveryReport
from engine.snapshots.keeper import SnapshotKeeper
from engine.snapshots.snapshots import Snapshots
from engine.tasks import Task
from engine.types import (
    CheckReport,
    Isolation,
    LockInfo,
    StoreStatus,
    TransactionInfo,
    WaitEdge,
)

T = TypeVar("T")

# A conflict is over when the other transaction is, so the pauses are those of transactions,
# not those of failing devices.
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.25
_WORTH_ANOTHER_TRY = (Deadlock, WriteConflict, SnapshotTooOld)


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
        self.alerts = Alerts(self)
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
        self.alerts.start()
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
            self.alerts.close()
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
