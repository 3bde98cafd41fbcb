"""Brings a database back: plans, rehearses, recovers, and takes back."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge, config
from engine.errors import (
    ConfigInvalid,
    DatabaseNotFound,
    HoldfastError,
    InvalidArgument,
    IoError,
    NotADatabase,
    PermissionDenied,
)
from engine.recovery import detection, failures, fingerprint
from engine.recovery.execution import Execution, pending_stages
from engine.recovery.fallbacks import FallbackKind
from engine.recovery.ground import Ground, rehearsal_folder
from engine.recovery.report import RecoveryPlan, RecoveryReport
from engine.recovery.stages import STAGES
from engine.tasks import Task
from engine.types import Indicator

if TYPE_CHECKING:
    from engine.bridge import Store
    from engine.config import Config

# Up to here nothing but what lies beside the originals has changed.
_PREPARED = STAGES.index(next(stage for stage in STAGES if stage.name == "Database Unlock"))


class RecoveryManager:
    """The recovery of one database: `plan` and `rehearse` where wanted, then `run`, `take_store`.

    In place of `run`: `prepare`, then either `install` or `roll_back`. Unless the setting
    `enable_recovery_rollback` is off, a recovery is all or nothing: one that fails or is cancelled
    leaves the database as it found it. After that, and after a rehearsal, the same manager may be
    used again. With `fallback`, "last-valid", rehearsal and recovery go up to the last valid record of
    a damaged log (see `fallbacks`). `report` may be read from any thread at any time; the methods are
    for one at a time.
    """

    def __init__(
        self,
        path: Path | str,
        settings: Config | None = None,
        *,
        fallback: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """`settings` go over `reliability.toml`. `facts` are what `bridge.inspect` has just told of the
        database, whose log need not be read once more to tell how it ends.

        Raises `DatabaseNotFound`, `NotADatabase`, -77, -78.
        """
        if fallback not in ("", FallbackKind.LAST_VALID):
            raise InvalidArgument(argument="fallback", issue='only "last-valid" is a kind of recovery')
        self.path = Path(path)
        self.fallback = fallback
        self._chosen = settings
        self._facts = facts if facts is not None else self._look()
        self._indicators = detection.indicators(self._facts)
        self._settings, self._invalid = self._load_settings()
        self._idle = RecoveryReport(indicators=self._indicators, stages=pending_stages())
        self._execution: Execution | None = None
        self._turn = threading.Lock()

    @property
    def indicators(self) -> tuple[Indicator, ...]:
        """The signs that recovery is needed; none for a cleanly closed database."""
        return self._indicators

    @property
    def report(self) -> RecoveryReport:
        """How things stand now: of the last rehearsal or recovery that was begun."""
        execution = self._execution
        return execution.report if execution is not None else self._idle

    @property
    def settings(self) -> Config:
        """The settings that the recovery uses, and that the recovered database is open with."""
        return self._settings

    @property
    def is_prepared(self) -> bool:
        """Whether a recovery waits for `install` or `roll_back`."""
        execution = self._execution
        return execution is not None and execution.context.kernel is not None

    def plan(self, task: Task[RecoveryPlan] | None = None) -> RecoveryPlan:
        """Read the log and say what `run` would do. Holds the database's lock meanwhile.

        Changes nothing. Raises what the stages of reading raise: -71, -73, `Cancelled`, ...
        """
        job = bridge.Job()
        if task is not None:
            task.use(job)
        kernel = None
        with rehearsal_folder(self.path) as folder:
            try:
                kernel = bridge.begin_recovery(self.path, self._settings, Ground.REHEARSAL, folder)
                found = kernel.discover_log(job)
                if self.fallback:
                    kernel.cut_log(job)
                valid = kernel.validate_log(job)
                analysis = kernel.analyse(job)
                stands_for = fingerprint.plan_hash(self.path, self.fallback)
            except HoldfastError as error:
                told = failures.stage_error(error, "Planning")
                raise told from told.__cause__
            finally:
                if kernel is not None:
                    kernel.abandon()
        return RecoveryPlan(
            indicators=self.indicators,
            stages=pending_stages(),
            checkpoint_lsn=found["checkpoint_lsn"],
            start_lsn=analysis["redo_lsn"],
            end_lsn=valid["end_lsn"],
            end_reason=valid["end_reason"],
            segments=len(found["segments"]),
            bytes=max(0, int(valid["end_lsn"]) - int(analysis["redo_lsn"])),
            records=analysis["records"],
            committed=analysis["committed"],
            losers=tuple(analysis["losers"]),
            dirty_pages=analysis["dirty_pages"],
            hash=stands_for,
        )

    def plan_task(self) -> Task[RecoveryPlan]:
        """`plan` as work with progress and cancel; start it, or run it."""
        return Task("Recovery plan", self.plan)

    def rehearse(self, task: Task[RecoveryReport] | None = None) -> RecoveryReport:
        """Carry every stage out beside the database, check the result, and drop it.

        The report says what was replayed, undone and lost, how long each stage took, and has the
        `plan_hash` with which `run` does the same or refuses. The original is only read (its lock
        is held meanwhile). Raises what `run` raises; a failure here is a failure foreseen.
        """
        with rehearsal_folder(self.path) as folder:
            execution = self._begin(Ground.REHEARSAL, beside=folder)
            stands_for = fingerprint.plan_hash(self.path, self.fallback)
            execution.carry_out(range(len(STAGES)), task)
            execution.context.let_go()
            execution.succeed()
            return self._tell_warnings(execution.note_plan(stands_for), task)

    def rehearse_task(self) -> Task[RecoveryReport]:
        """`rehearse` as work with progress and cancel; start it, or run it."""
        return Task("Recovery rehearsal", self.rehearse)

    def run(self, task: Task[RecoveryReport] | None = None, *, plan_hash: str = "") -> RecoveryReport:
        """Carry the twelve stages out; afterwards `take_store` gives the open database.

        With the `plan_hash` of a plan or rehearsal, `RecoveryPlanOutdated` (-68) is raised, and
        nothing is done, where a file that recovery reads has changed since.

        Returns a report whose outcome is success, or success with warnings where a stage that
        is not critical failed. Else raises an error of -70 to -83, or `Cancelled`; `report`
        then says which stage failed, what had been done, and what was taken back.
        """
        self.prepare(task, plan_hash=plan_hash)
        return self.install(task)

    def run_task(self, *, plan_hash: str = "") -> Task[RecoveryReport]:
        """`run` as work with progress and cancel; start it, or run it."""
        return Task("Recovery", lambda task: self.run(task, plan_hash=plan_hash))

    def prepare(self, task: Task[RecoveryReport] | None = None, *, plan_hash: str = "") -> RecoveryReport:
        """Carry out every stage but the last two: all is recovered and checked, nothing installed.

        Holds the database's lock until `install` or `roll_back` is called. As `run` otherwise.
        """
        # A log is cut on an overlay only.
        undoable = self._settings.enable_recovery_rollback or self.fallback
        execution = self._begin(Ground.OVERLAY if undoable else Ground.IN_PLACE, plan_hash=plan_hash)
        execution.carry_out(range(_PREPARED), task)
        return execution.report

    def prepare_task(self, *, plan_hash: str = "") -> Task[RecoveryReport]:
        """`prepare` as work with progress and cancel; start it, or run it."""
        return Task("Recovery", lambda task: self.prepare(task, plan_hash=plan_hash))

    def install(self, task: Task[RecoveryReport] | None = None) -> RecoveryReport:
        """Put what was prepared in place of the originals; see `run`."""
        execution = self._prepared()
        execution.carry_out(range(_PREPARED, len(STAGES)), task)
        return self._tell_warnings(execution.succeed(), task)

    def install_task(self) -> Task[RecoveryReport]:
        """`install` as work with progress; start it, or run it."""
        return Task("Recovery", self.install)

    def look(self, folder: Path, task: Task[RecoveryReport] | None = None) -> Store:
        """Recover to `folder` and give what is there, open and read-only; the database stays as it is.

        Its lock is held until the store is closed; the folder may go then. Raises what `run` raises.
        """
        execution = self._begin(Ground.REHEARSAL, beside=folder)
        execution.carry_out(range(_PREPARED), task)
        kernel, execution.context.kernel = execution.context.running(), None
        store = kernel.look()
        execution.succeed()
        return store

    def roll_back(self) -> RecoveryReport:
        """Drop what was prepared: the database is as it was, and its lock is released.

        Raises `RecoveryRollbackFailed` (-81).
        """
        return self._prepared().take_back()

    def take_store(self) -> Store:
        """The recovered database, open; the caller closes it. Once only, after it was installed."""
        execution = self._execution
        store = execution.context.store if execution is not None else None
        if execution is None or store is None:
            raise RuntimeError("there is no recovered database to take")
        execution.context.store = None
        return store

    def _begin(self, ground: Ground, *, beside: Path | None = None, plan_hash: str = "") -> Execution:
        with self._turn:
            if self.is_prepared:
                raise RuntimeError("a recovery is prepared: install it or roll it back first")
            if self._execution is not None:
                # What was found when the manager was made may have changed by the attempt before.
                self._facts = self._look()
            self._execution = Execution(
                self.path,
                self._facts,
                self._indicators,
                self._settings,
                self._invalid,
                ground,
                beside=beside,
                plan_hash=plan_hash,
                fallback=self.fallback,
            )
            return self._execution

    def _prepared(self) -> Execution:
        execution = self._execution
        if execution is None or not self.is_prepared:
            raise RuntimeError("no recovery is prepared")
        return execution

    def _look(self) -> Mapping[str, Any]:
        if self.path.exists() and not self.path.is_dir():
            raise NotADatabase(path=str(self.path), detail="it is a file, and a database is a directory")
        try:
            facts = bridge.inspect(str(self.path))
        except (IoError, PermissionDenied) as error:
            raise failures.stage_error(error, "Initialization") from error
        if not facts.get("exists"):
            if self.path.is_dir():
                raise NotADatabase(path=str(self.path), detail="the directory holds no database")
            raise DatabaseNotFound(path=str(self.path))
        return facts

    def _load_settings(self) -> tuple[Config, ConfigInvalid | None]:
        if self._chosen is not None:
            return self._chosen, None
        try:
            return config.load(self.path), None
        except ConfigInvalid as error:
            # Its own stage says so, where every other problem is told too.
            return config.Config(), error

    @staticmethod
    def _tell_warnings(report: RecoveryReport, task: Task[RecoveryReport] | None) -> RecoveryReport:
        if task is not None:
            for warning in report.warnings:
                task.warn(warning)
        return report
