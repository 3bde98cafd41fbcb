"""One run of the stages: watched, reported, and taken back where it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
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
from engine.recovery import failures, history, resources
from engine.recovery.estimate import Estimator, Work, learned
from engine.recovery.ground import Ground
from engine.recovery.report import RecoveryReport, StageReport, StageStatus
from engine.recovery.rollback import Rollback
from engine.recovery.stages import STAGES, RecoveryContext, Stage
from engine.recovery.state import BEHIND, RecoveryState
from engine.recovery.watch import StageWatch, Standstill, progress_text
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
        on_demand: bool = False,
    ) -> None:
        rollback = Rollback(path)
        self._lock = threading.Lock()
        self._report = RecoveryReport(
            indicators=indicators,
            stages=pending_stages(),
            rehearsal=ground is Ground.REHEARSAL,
            on_demand=on_demand,
        )
        self._spent = 0.0
        self._standstill = Standstill(settings.recovery_timeout)
        self._peak = resources.Peak()
        # Who opens early waits for nothing that only tells.
        before = () if on_demand else history.read(path).entries
        self._estimator = Estimator(
            _work(facts), learned(entry.report for entry in before), began_at=time.monotonic()
        )
        self.context = RecoveryContext(
            path=path,
            facts=facts,
            config=settings,
            config_error=config_error,
            state=RecoveryState(path, rollback),
            rollback=rollback,
            report=lambda: self._report,
            warn=self._warn,
            noted=self._note_results,
            ground=ground,
            beside=beside,
            plan_hash=plan_hash,
            fallback=fallback,
        )

    @property
    def report(self) -> RecoveryReport:
        """How things stand now."""
        return self._report

    def carry_out(
        self,
        numbers: Iterable[int],
        task: Task[Any] | None,
        instead: Mapping[int, Stage] = MappingProxyType({}),
    ) -> None:
        """Run these stages (0 to 11). Where one fails, take everything back and raise.

        `instead` has stages that are done in another way. Raises an error of -70 to -83, or `Cancelled`.
        """
        began = time.monotonic()
        try:
            for number in numbers:
                self._run_stage(number, instead.get(number, STAGES[number]), task)
        except HoldfastError as error:
            self._spent += time.monotonic() - began
            told = self._end(error)
            if told is error:
                raise
            raise told from error
        self._spent += time.monotonic() - began
        with self._lock:
            self._report = replace(self._report, seconds=self._spent)

    def succeed(self) -> RecoveryReport:
        """Complete the report of a recovery whose last stage has succeeded."""
        results = self.context.results
        with self._lock:
            self._report = replace(
                self._report,
                outcome=Outcome.WARNINGS if self._report.warnings else Outcome.SUCCEEDED,
                seconds=self._spent,
                remaining_s=None,
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
        self._note_history()
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

    def _run_stage(self, number: int, stage: Stage, task: Task[Any] | None) -> None:
        job = bridge.Job()
        began, used = time.monotonic(), time.process_time()
        self._peak.take()
        if task is not None:
            task.stage(stage.name, step=number + 1, steps=len(STAGES))
            task.use(job)
        self._change(number, status=StageStatus.RUNNING)
        try:
            self._require(stage)
            if self._standstill.is_over(0.0):
                limit = self._standstill.limit_s
                raise RecoveryTimeout(stage=stage.name, timeout_seconds=limit, progress="it was not begun")
            self._account(stage)
            metrics = self._watched(number, stage, job)
        except Exception as failure:
            self._measure(number, used)
            error = self._failed(stage, from_exception(failure, stage.name))
            self._settle(number, stage, error, time.monotonic() - began)
        else:
            self._measure(number, used)
            self._change(
                number,
                status=StageStatus.SUCCEEDED,
                metrics=metrics,
                seconds=time.monotonic() - began,
                progress={},
            )

    def _account(self, stage: Stage) -> None:
        """Note durably that the stage is about to begin."""
        if self.context.kernel is None:
            return
        if not self._report.on_demand:
            self._persist("running", stage.name)
        elif stage.changes:
            # Up to here it only read, and whoever waits for the database would wait for the note.
            self._persist(BEHIND, stage.name)

    def _measure(self, number: int, used_before: float) -> None:
        used = time.process_time() - used_before
        self._change(number, processor_seconds=used, memory_bytes=self._peak.take())

    def _watched(self, number: int, stage: Stage, job: bridge.Job) -> Mapping[str, Any]:
        settings = self.context.config
        guard = self.context.guard

        def violation() -> HoldfastError | None:
            self._peak.sample()
            # What is being put in place needs no more room than it was found to have.
            is_at_work = guard is not None and not self._is_installing(number)
            return guard.violation() if guard is not None and is_at_work else None

        watch = StageWatch(
            job,
            idle_s=stage.idle_s or settings.recovery_stage_timeout,
            standstill=self._standstill,
            tell=lambda progress: self._tell_progress(number, progress),
            guard=violation,
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

    def _tell_progress(self, number: int, progress: Mapping[str, Any]) -> None:
        left = self._estimator.remaining_s(time.monotonic(), number + 1, progress)
        with self._lock:
            self._report = replace(self._report, remaining_s=left)
        self._change(number, progress=progress)

    def _is_installing(self, number: int) -> bool:
        return self._report.stages[number].progress.get("stage") == "install"

    def _note_results(self) -> None:
        results = self.context.results
        analysis = results["analysis"]
        self._estimator.work = replace(
            self._estimator.work,
            dirty_bytes=int(analysis["dirty_pages"]) * int(self.context.facts["page_size"]),
            redo_bytes=max(0, int(analysis["end_lsn"]) - int(analysis["redo_lsn"])),
            undo_changes=sum(int(loser["changes"]) for loser in analysis["losers"]),
        )
        with self._lock:
            self._report = replace(
                self._report,
                analysis=analysis,
                redo=results.get("redo", {}),
                undo=results.get("undo", {}),
            )

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
        available = self.context.is_undoable and not self.context.is_decided
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
        is_unaccounted = stage.name in self.context.unaccounted
        status = StageStatus.FAILED if is_unaccounted else StageStatus.WARNING
        self._change(number, status=status, seconds=seconds, error=error)
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
                remaining_s=None,
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
        held = self.context.kernel is not None or self.context.store is not None
        told = self._roll_back(error, status)
        with self._lock:
            self._report = replace(self._report, error=told)
        if held:
            # What was never begun, because the database is another's, is not this database's history.
            self._note_history()
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

    def _note_history(self) -> None:
        if self._report.rehearsal:
            return
        context = self.context
        try:
            history.append(context.path, self._report, at=time.time(), fallback=context.fallback)
        except HoldfastError as error:
            # It only tells: a recovery does not fail for it.
            _log.warning("the history of recoveries could not be kept: %s (%s)", error.name, error.code)

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


def _work(facts: Mapping[str, Any]) -> Work:
    """What is known of it before the log is read."""
    begin, end = int(facts.get("redo_lsn") or 0), int(facts.get("last_lsn") or 0)
    page_bytes = int(facts.get("pages") or 0) * int(facts.get("page_size") or 0)
    # A large log is not read through to tell where it ends; its first pass tells how much there is.
    most = int(facts.get("wal_bytes") or 0) if facts.get("log_goes_on") else max(0, end - begin)
    return Work(log_bytes=most, page_bytes=page_bytes)
