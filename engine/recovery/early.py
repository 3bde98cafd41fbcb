"""Opening a database before its recovery is through: after analysis, the rest in the background.

The log is validated and analysed as in any recovery; then the database is open, the transactions
that the crash cut off hold what they changed, each page is redone when it is first needed, and the
rest follows (see `recovery/ondemand.rs` of the kernel). Up to the opening nothing has changed that
could not be repeated, so a failure or a cancel leaves a database that still needs its recovery.
From there on nothing is taken back: whoever wants all or nothing uses `RecoveryManager`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.config import Config
from engine.errors import HoldfastError
from engine.recovery import detection, history
from engine.recovery.execution import Execution
from engine.recovery.ground import Ground
from engine.recovery.report import RecoveryReport, StageReport, StageStatus
from engine.recovery.stages import STAGES, Metrics, RecoveryContext
from engine.recovery.state import BEHIND
from engine.tasks import Task
from engine.types import CheckReport, Event, Outcome, RecoveryStanding

if TYPE_CHECKING:
    from engine.bridge import Job, Store
    from engine.database import Database

_log = logging.getLogger(__name__)

_BY_NAME = {stage.name: place for place, stage in enumerate(STAGES)}
_TRANSACTIONS = _BY_NAME["Transaction Recovery"]
_INDEXES = _BY_NAME["Index Reconstruction"]
_CONSISTENCY = _BY_NAME["Consistency Validation"]
RECOVERING = ("recovery_progress", "recovery_completed", "recovery_checked")
"""The kinds of events that tell of it."""

_NOTED_EVERY_S = 1.0
_UNENDED = (StageStatus.PENDING, StageStatus.RUNNING)


def _open_early(context: RecoveryContext, job: Job) -> Metrics:
    """Torn pages from the double-write buffer, then the open store."""
    kernel = context.running()
    doublewrite = kernel.restore_doublewrite(job)
    context.store = kernel.open_early()
    # From here on the store holds the lock, and nothing is to be taken back.
    context.kernel = None
    context.rollback.settle()
    return {
        "pages_restored": doublewrite["pages_restored"],
        "records": context.results["analysis"]["records"],
    }


_STAGE = replace(STAGES[_TRANSACTIONS], run=_open_early)


class EarlyRecovery:
    """The recovery of a database that is open already. `report` may be read from any thread."""

    def __init__(self, execution: Execution, store: Store) -> None:
        self.store = store
        self._execution = execution
        self._opened_after_s = execution.report.seconds
        self._noting = threading.Lock()
        self._is_noted = False
        self._is_taken = False
        self._noted_at = 0.0

    @property
    def report(self) -> RecoveryReport:
        """How things stand now. `recovered` once all is redone, undone and on the disk."""
        report, standing = self._execution.report, bridge.recovery_standing(self.store)
        if standing is None:
            return report
        return replace(
            report,
            stages=tuple(_stage_now(stage, standing) for stage in report.stages),
            outcome=_outcome(standing),
            seconds=self._opened_after_s + standing.seconds,
            remaining_s=None,
            analysis=self._execution.context.results["analysis"],
            redo={
                "applied": standing.applied,
                "pages": standing.pages - standing.pages_left,
                "pages_left": standing.pages_left,
                "bytes": standing.log_bytes,
                "opened_after_s": self._opened_after_s,
            },
            undo={
                "transactions": standing.losers - standing.losers_left,
                "transactions_left": standing.losers_left,
            },
        )

    def hear(self, event: Event, database: Database) -> None:
        """Take in what the background tells, one of `RECOVERING`; on the thread of the subscription."""
        if event.kind == "recovery_progress":
            self.note_standing()
            return
        self.note_progress()
        report = self.take_check()
        if report is not None:
            database.health.note_check(report)
            database.integrity.note_check(report, detailed=False)

    def note_standing(self) -> None:
        """Keep how far it is, for who asks from outside; called when there was progress."""
        standing = bridge.recovery_standing(self.store)
        now = time.monotonic()
        if standing is None or now < self._noted_at + _NOTED_EVERY_S:
            return
        self._noted_at = now
        self._keep(standing)

    def take_check(self) -> CheckReport | None:
        """What the check after the recovery found; once, and None before it has ended."""
        with self._noting:
            if self._is_taken:
                return None
            found = self.store.recovery_check()
            self._is_taken = found is not None
        return None if found is None else bridge.check_report(found)

    def _keep(self, standing: RecoveryStanding) -> None:
        with self._noting:
            if self._is_noted:
                return
            try:
                self._execution.context.state.write(BEHIND, self._execution.report, standing.stage, standing)
            except HoldfastError as error:
                _log.warning("how far a recovery is could not be noted: %s (%s)", error.name, error.code)

    def note_progress(self) -> None:
        """Keep the account of the recovery once it is through; called when that may be so."""
        self._note(self.report, is_last=False)

    def note_closed(self) -> None:
        """As `note_progress`, after the close: what was not checked by then is not checked."""
        report = self.report
        stages = (
            replace(stage, status=StageStatus.SKIPPED) if stage.status in _UNENDED else stage
            for stage in report.stages
        )
        self._note(replace(report, stages=tuple(stages)), is_last=True)

    def _note(self, report: RecoveryReport, is_last: bool) -> None:
        context = self._execution.context
        is_checked = all(stage.status not in _UNENDED for stage in report.stages)
        with self._noting:
            if self._is_noted:
                return
            # After the close the directory may be another's.
            self._is_noted = is_last or (report.recovered and is_checked)
            if not report.recovered:
                return
            try:
                if self._is_noted:
                    context.state.write("completed", report)
                    history.append(context.path, report, at=time.time())
                else:
                    context.state.write(BEHIND, report, standing=bridge.recovery_standing(self.store))
            except HoldfastError as error:
                # The database is sound; only the account of it could not be kept.
                _log.warning("a recovery could not be noted: %s (%s)", error.name, error.code)


def open_early(
    path: Path, facts: Mapping[str, Any], settings: Config, task: Task[Any] | None = None
) -> EarlyRecovery | None:
    """Validate and analyse the log, and open the database; its recovery goes on in the background.

    None where the index of the log would take more memory than it may, or a transaction reaches too
    far back: then nothing has changed, and the database has to be recovered first. Raises what the
    stages up to the analysis raise, or `Cancelled`; the database then still needs its recovery.
    """
    signs = detection.indicators(facts)
    execution = Execution(path, facts, signs, settings, None, Ground.IN_PLACE, on_demand=True)
    execution.carry_out(range(_TRANSACTIONS), task)
    context = execution.context
    kernel = context.running()
    context.results["analysis"] = {**kernel.analyse(bridge.Job())}
    context.noted()
    if not kernel.can_open_early():
        context.let_go()
        return None
    execution.carry_out([_TRANSACTIONS], task, {_TRANSACTIONS: _STAGE})
    store, context.store = context.store, None
    assert store is not None, "the stage gives the store or raises"
    return EarlyRecovery(execution, store)


def _outcome(standing: RecoveryStanding) -> Outcome | None:
    if not standing.is_through:
        return None
    return Outcome.WARNINGS if standing.problems else Outcome.SUCCEEDED


def _stage_now(stage: StageReport, standing: RecoveryStanding) -> StageReport:
    """A stage of the report as the background has it."""
    place = stage.number - 1
    if place < _TRANSACTIONS:
        return stage
    if place == _TRANSACTIONS:
        if standing.pages_left == 0 and standing.losers_left == 0:
            return stage
        done = standing.pages - standing.pages_left
        progress = {"stage": standing.stage, "done": done, "total": standing.pages, "unit": "pages"}
        return replace(stage, status=StageStatus.RUNNING, progress=progress)
    if place in (_INDEXES, _CONSISTENCY):
        total, unit = standing.check_total, standing.check_unit
        told = {"stage": standing.checking, "done": standing.check_done, "total": total, "unit": unit}
        status = _check_status(standing)
        return replace(stage, status=status, progress=told if status is StageStatus.RUNNING else {})
    status = StageStatus.SUCCEEDED if standing.is_through else StageStatus.PENDING
    return replace(stage, status=status)


def _check_status(standing: RecoveryStanding) -> StageStatus:
    """Of the check that follows; where the database was closed before its end, it was left out."""
    if standing.problems is not None:
        return StageStatus.WARNING if standing.problems else StageStatus.SUCCEEDED
    return StageStatus.RUNNING if standing.stage in ("log", "check") else StageStatus.PENDING
