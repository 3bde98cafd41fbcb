"""Carries out a recovery: the twelve stages in order, watched, reported, and able to be run again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge, config
from engine.errors import (
    Cancelled,
    ConfigInvalid,
    DatabaseNotFound,
    HoldfastError,
    RecoveryStageDependencyFailed,
    from_exception,
)
from engine.recovery import detection, failures
from engine.recovery.report import RecoveryPlan, RecoveryReport, StageReport, StageStatus
from engine.recovery.stages import STAGES, RecoveryContext, Stage
from engine.recovery.state import RecoveryState
from engine.recovery.watch import StageWatch, progress_text
from engine.tasks import Task
from engine.types import Indicator, Outcome

if TYPE_CHECKING:
    from engine.bridge import Store
    from engine.config import Config

_log = logging.getLogger(__name__)

_DONE = (StageStatus.SUCCEEDED, StageStatus.WARNING)


class RecoveryManager:
    """One recovery of one database, in this order: `plan` where wanted, `run`, `take_store`.

    `report` may be read from any thread at any time. A failed or cancelled recovery leaves the
    database as one that needs recovery: make a new manager and run it again.
    """

    def __init__(self, path: Path | str, settings: Config | None = None) -> None:
        """`settings` go over `reliability.toml`. Raises `DatabaseNotFound`, `NotADatabase`."""
        self.path = Path(path)
        self._facts: Mapping[str, Any] = bridge.inspect(str(self.path))
        if not self._facts.get("exists"):
            raise DatabaseNotFound(path=str(self.path))
        self._report = RecoveryReport(
            indicators=detection.indicators(self._facts),
            stages=tuple(
                StageReport(number, stage.name, stage.does, stage.critical)
                for number, stage in enumerate(STAGES, start=1)
            ),
        )
        self._lock = threading.Lock()
        self._context = self._new_context(settings)

    @property
    def indicators(self) -> tuple[Indicator, ...]:
        """The signs that recovery is needed; none for a cleanly closed database."""
        return self._report.indicators

    @property
    def report(self) -> RecoveryReport:
        """How things stand now."""
        return self._report

    @property
    def settings(self) -> Config:
        """The settings that the recovery uses, and that the recovered database is open with."""
        return self._context.config

    def plan(self, task: Task[RecoveryPlan] | None = None) -> RecoveryPlan:
        """Read the log and say what `run` would do. Holds the database's lock meanwhile.

        Changes nothing. Raises what the stages of reading raise: -71, -73, `Cancelled`, ...
        """
        job = bridge.Job()
        if task is not None:
            task.use(job)
        kernel = None
        try:
            kernel = bridge.begin_recovery(self.path, self._context.config)
            found = kernel.discover_log(job)
            valid = kernel.validate_log(job)
            analysis = kernel.analyse(job)
        except HoldfastError as error:
            raise failures.stage_error(error, "Planning") from error.__cause__
        finally:
            if kernel is not None:
                kernel.abandon()
        return RecoveryPlan(
            indicators=self.indicators,
            stages=self._report.stages,
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
        )

    def plan_task(self) -> Task[RecoveryPlan]:
        """`plan` as work with progress and cancel; start it, or run it."""
        return Task("Recovery plan", self.plan)

    def run_task(self) -> Task[RecoveryReport]:
        """`run` as work with progress and cancel; start it, or run it."""
        return Task("Recovery", self.run)

    def run(self, task: Task[RecoveryReport] | None = None) -> RecoveryReport:
        """Carry the twelve stages out; afterwards `take_store` gives the open database.

        Returns a report whose outcome is success, or success with warnings where a stage that
        is not critical failed. Else raises an error of -70 to -83, or `Cancelled`; `report`
        then says which stage failed and what had been done.
        """
        began = time.monotonic()
        deadline = began + self._context.config.recovery_timeout
        try:
            for number, stage in enumerate(STAGES):
                self._run_stage(number, stage, task, deadline)
        except HoldfastError as error:
            self._end(error, time.monotonic() - began)
            raise
        self._succeed(time.monotonic() - began)
        if task is not None:
            for warning in self._report.warnings:
                task.warn(warning)
        return self._report

    def take_store(self) -> Store:
        """The recovered database, open; the caller closes it. Once only, after `run` succeeded."""
        store, self._context.store = self._context.store, None
        if store is None:
            raise RuntimeError("there is no recovered database to take")
        return store

    def _new_context(self, settings: Config | None) -> RecoveryContext:
        invalid: ConfigInvalid | None = None
        if settings is None:
            try:
                settings = config.load(self.path)
            except ConfigInvalid as error:
                # Its own stage says so, where every other problem is told too.
                settings, invalid = config.Config(), error
        return RecoveryContext(
            path=self.path,
            facts=self._facts,
            config=settings,
            config_error=invalid,
            state=RecoveryState(self.path),
            report=lambda: self._report,
            warn=self._warn,
        )

    def _run_stage(
        self, number: int, stage: Stage, task: Task[RecoveryReport] | None, deadline: float
    ) -> None:
        job = bridge.Job()
        began = time.monotonic()
        if task is not None:
            task.stage(stage.name, step=number + 1, steps=len(STAGES))
            task.use(job)
        self._change(number, status=StageStatus.RUNNING)
        try:
            self._require(stage)
            if self._context.kernel is not None:
                self._context.state.write("running", self._report, stage.name)
            metrics = self._watched(number, stage, job, deadline)
        except Exception as failure:
            error = self._failed(stage, from_exception(failure, stage.name))
            self._settle(number, stage, error, time.monotonic() - began)
        else:
            self._change(
                number,
                status=StageStatus.SUCCEEDED,
                metrics=metrics,
                seconds=time.monotonic() - began,
                progress={},
            )

    def _watched(self, number: int, stage: Stage, job: bridge.Job, deadline: float) -> Mapping[str, Any]:
        settings = self._context.config
        watch = StageWatch(
            job,
            idle_s=stage.idle_s or settings.recovery_stage_timeout,
            deadline=deadline,
            total_s=settings.recovery_timeout,
            tell=lambda progress: self._change(number, progress=progress),
        )
        try:
            with watch:
                return stage.run(self._context, job)
        except Cancelled as error:
            if watch.expired is None:
                raise
            raise failures.timed_out(stage.name, watch.expired, progress_text(watch.last), error) from error

    def _require(self, stage: Stage) -> None:
        """Raise unless every stage that this one builds on has succeeded."""
        for dependency in stage.depends_on:
            found = next(entry for entry in self._report.stages if entry.name == dependency)
            if found.status not in _DONE:
                cause = found.error
                raise RecoveryStageDependencyFailed(
                    stage=stage.name,
                    dependency=dependency,
                    dependency_error=cause.message if cause else found.status.value,
                ) from cause

    def _failed(self, stage: Stage, error: HoldfastError) -> HoldfastError:
        coded = failures.stage_error(error, stage.name)
        if isinstance(coded, Cancelled) or not stage.changes or not stage.critical:
            return coded
        completed = [entry.name for entry in self._report.stages if entry.status in _DONE]
        return failures.partial(coded, stage.name, completed)

    def _settle(self, number: int, stage: Stage, error: HoldfastError, seconds: float) -> None:
        if isinstance(error, Cancelled):
            self._change(number, status=StageStatus.CANCELLED, seconds=seconds, error=error)
            raise error
        if stage.critical:
            _log.error("recovery of %s failed in %s: %s (%s)", self.path, stage.name, error.name, error.code)
            self._change(number, status=StageStatus.FAILED, seconds=seconds, error=error)
            raise error
        self._change(number, status=StageStatus.WARNING, seconds=seconds, error=error)
        self._warn(f"{stage.name}: {error.message}")

    def _succeed(self, seconds: float) -> None:
        results = self._context.results
        outcome = Outcome.WARNINGS if self._report.warnings else Outcome.SUCCEEDED
        with self._lock:
            self._report = replace(
                self._report,
                outcome=outcome,
                seconds=seconds,
                analysis=results["analysis"],
                redo=results["redo"],
                undo=results["undo"],
                lost=tuple(
                    {"what": "index", "detail": f"The index {name} is missing until it is rebuilt."}
                    for name in sorted(self._context.failed_indexes)
                ),
            )
        try:
            self._context.state.write("completed", self._report)
        except HoldfastError as error:
            # The database is open and sound; only the account of it could not be kept.
            self._warn(error.message)

    def _end(self, error: HoldfastError, seconds: float) -> None:
        """Let go of everything; the marker stays, so that the next open recovers."""
        status = "cancelled" if isinstance(error, Cancelled) else "failed"
        results = self._context.results
        with self._lock:
            self._report = replace(
                self._report,
                outcome=Outcome.CANCELLED if status == "cancelled" else Outcome.FAILED,
                seconds=seconds,
                error=error,
                stages=tuple(
                    replace(entry, status=StageStatus.SKIPPED)
                    if entry.status is StageStatus.PENDING
                    else entry
                    for entry in self._report.stages
                ),
                analysis=results.get("analysis", {}),
                redo=results.get("redo", {}),
                undo=results.get("undo", {}),
            )
        self._release(status)

    def _release(self, status: str) -> None:
        context = self._context
        kernel, context.kernel = context.kernel, None
        store, context.store = context.store, None
        attempts: list[Callable[[], object]] = []
        if kernel is not None or store is not None:
            attempts.append(lambda: context.state.write(status, self._report))
        if kernel is not None:
            attempts.append(kernel.abandon)
        if store is not None:
            attempts.append(store.close)
        for attempt in attempts:
            try:
                attempt()
            except HoldfastError as error:
                # The first error is the one to tell; this one is for the log file.
                _log.warning("after a failed recovery: %s (%s)", error.name, error.code)

    def _warn(self, text: str) -> None:
        with self._lock:
            self._report = replace(self._report, warnings=(*self._report.warnings, text))

    def _change(self, number: int, **values: Any) -> None:
        with self._lock:
            stages = list(self._report.stages)
            stages[number] = replace(stages[number], **values)
            self._report = replace(self._report, stages=tuple(stages))
