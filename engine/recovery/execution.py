"""One run of the stages: watched, reported, and taken back where it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import bridge
from engine.config import Config
from engine.errors import (
    Cancelled,
    ConfigInvalid,
    HoldfastError,
    RecoveryRollbackFailed,
    RecoveryStageDependencyFailed,
    RecoveryTimeout,
    from_exception,
)
from engine.recovery import failures
from engine.recovery.ground import Ground
from engine.recovery.report import RecoveryReport, StageReport, StageStatus
from engine.recovery.rollback import Rollback
from engine.recovery.stages import STAGES, RecoveryContext, Stage
from engine.recovery.state import RecoveryState
from engine.recovery.watch import StageWatch, progress_text
from engine.tasks import Task
from engine.types import Indicator, Outcome

_log = logging.getLogger(__name__)

_DONE = (StageStatus.SUCCEEDED, StageStatus.WARNING)


def pending_stages() -> tuple[StageReport, ...]:
    """The twelve stages before anything was done."""
    return tuple(
        StageReport(number, stage.name, stage.does, stage.critical)
        for number, stage in enumerate(STAGES, start=1)
    )


class Execution:
    """The stages of one recovery, in order. `report` may be read from any thread at any time."""

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        indicators: tuple[Indicator, ...],
        settings: Config,
        config_error: ConfigInvalid | None,
        ground: Ground,
        *,
        beside: Path | None = None,
        plan_hash: str = "",
        fallback: str = "",
    ) -> None:
        rollback = Rollback(path)
        self._lock = threading.Lock()
        self._report = RecoveryReport(
            indicators=indicators, stages=pending_stages(), rehearsal=ground is Ground.REHEARSAL
        )
        self._began = time.monotonic()
        self._spent = 0.0
        self.context = RecoveryContext(
            path=path,
            facts=facts,
            config=settings,
            config_error=config_error,
            state=RecoveryState(path, rollback),
            rollback=rollback,
            report=lambda: self._report,
            warn=self._warn,
            ground=ground,
            beside=beside,
            plan_hash=plan_hash,
            fallback=fallback,
        )

    @property
    def report(self) -> RecoveryReport:
        """How things stand now."""
        return self._report

    def carry_out(self, numbers: Iterable[int], task: Task[RecoveryReport] | None) -> None:
        """Run these stages (0 to 11). Where one fails, take everything back and raise.

        Raises an error of -70 to -83, or `Cancelled`.
        """
        began = time.monotonic()
        deadline = began - self._spent + self.context.config.recovery_timeout
        try:
            for number in numbers:
                self._run_stage(number, STAGES[number], task, deadline)
        except HoldfastError as error:
            self._spent += time.monotonic() - began
            told = self._end(error)
            if told is error:
                raise
            raise told from error
        self._spent += time.monotonic() - began

    def succeed(self) -> RecoveryReport:
        """Complete the report of a recovery whose last stage has succeeded."""
        results = self.context.results
        with self._lock:
            self._report = replace(
                self._report,
                outcome=Outcome.WARNINGS if self._report.warnings else Outcome.SUCCEEDED,
                seconds=self._spent,
                overlay_bytes=results["overlay"]["bytes"],
                analysis=results["analysis"],
                redo=results["redo"],
                undo=results["undo"],
                lost=tuple(self.context.lost)
                + tuple(
                    {"what": "index", "detail": f"The index {name} is missing until it is rebuilt."}
                    for name in sorted(self.context.failed_indexes)
                ),
            )
        if not self._report.rehearsal:
            try:
                self.context.state.write("completed", self._report)
            except HoldfastError as error:
                # The database is open and sound; only the account of it could not be kept.
                self._warn(error.message)
        return self._report

    def note_plan(self, plan_hash: str) -> RecoveryReport:
        """Put the hash of what was rehearsed into the report."""
        with self._lock:
            self._report = replace(self._report, plan_hash=plan_hash)
            return self._report

    def take_back(self) -> RecoveryReport:
        """Undo a recovery that waits for its last stages. Raises `RecoveryRollbackFailed` (-81)."""
        told = self._end(Cancelled(operation="Recovery"))
        if isinstance(told, RecoveryRollbackFailed):
            raise told
        return self._report

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
            if began > deadline:
                limit = self.context.config.recovery_timeout
                raise RecoveryTimeout(stage=stage.name, timeout_seconds=limit, progress="it was not begun")
            if self.context.kernel is not None:
                self._persist("running", stage.name)
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
        settings = self.context.config
        guard = self.context.guard
        watch = StageWatch(
            job,
            idle_s=stage.idle_s or settings.recovery_stage_timeout,
            deadline=deadline,
            total_s=settings.recovery_timeout,
            tell=lambda progress: self._change(number, progress=progress),
            guard=guard.violation if guard is not None else lambda: None,
        )
        try:
            with watch:
                return stage.run(self.context, job)
        except Cancelled as error:
            if watch.violation is not None:
                raise watch.violation from error
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
        is_final = isinstance(coded, Cancelled | RecoveryRollbackFailed)
        if is_final or not stage.changes or not stage.critical or self._report.rehearsal:
            return coded
        completed = [entry.name for entry in self._report.stages if entry.status in _DONE]
        available = self.context.is_undoable and not error.metadata.get("installing")
        return failures.partial(coded, stage.name, completed, rollback_available=available)

    def _settle(self, number: int, stage: Stage, error: HoldfastError, seconds: float) -> None:
        if isinstance(error, Cancelled):
            self._change(number, status=StageStatus.CANCELLED, seconds=seconds, error=error)
            raise error
        if stage.critical:
            path = self.context.path
            _log.error("recovery of %s failed in %s: %s (%s)", path, stage.name, error.name, error.code)
            self._change(number, status=StageStatus.FAILED, seconds=seconds, error=error)
            raise error
        self._change(number, status=StageStatus.WARNING, seconds=seconds, error=error)
        self._warn(f"{stage.name}: {error.message}")

    def _end(self, error: HoldfastError) -> HoldfastError:
        """Take everything back and let go of the database; return the error to raise."""
        status = "cancelled" if isinstance(error, Cancelled) else "failed"
        results = self.context.results
        with self._lock:
            self._report = replace(
                self._report,
                outcome=Outcome.CANCELLED if status == "cancelled" else Outcome.FAILED,
                seconds=self._spent,
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
        told = self._roll_back(error, status)
        with self._lock:
            self._report = replace(self._report, error=told)
        return told

    def _roll_back(self, error: HoldfastError, status: str) -> HoldfastError:
        context = self.context
        store, context.store = context.store, None
        holds = context.kernel is not None or store is not None
        attempts: list[Callable[[], object]] = [self._note_rollback]
        if holds:
            # While the lock is held: afterwards the database may be another's.
            attempts.insert(0, lambda: self._persist(status, None))
        attempts.append(context.let_go)
        if store is not None:
            attempts.append(store.close)
        told = error
        for attempt in attempts:
            try:
                attempt()
            except RecoveryRollbackFailed as failure:
                failure.__cause__ = failure.__cause__ or error
                told = failure
            except HoldfastError as failure:
                # The first error is the one to tell; this one is for the log file.
                _log.warning("after a failed recovery: %s (%s)", failure.name, failure.code)
        return told

    def _note_rollback(self) -> None:
        undone = [entry.stage for entry in self.context.rollback.stages]
        self.context.rollback.roll_back()
        with self._lock:
            self._report = replace(self._report, rolled_back=tuple(reversed(undone)))

    def _persist(self, status: str, stage: str | None) -> None:
        if not self._report.rehearsal:
            self.context.state.write(status, self._report, stage)

    def _warn(self, text: str) -> None:
        with self._lock:
            self._report = replace(self._report, warnings=(*self._report.warnings, text))

    def _change(self, number: int, **values: Any) -> None:
        with self._lock:
            stages = list(self._report.stages)
            stages[number] = replace(stages[number], **values)
            self._report = replace(self._report, stages=tuple(stages))
