"""Health of one open database: a report for whoever asks, at most once a second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.health.checks import HealthCheck, checks
from engine.health.figures import Figures, Gauge
from engine.health.score import Deduction, Evidence, HealthState, Part, score
from engine.types import BackupStanding, CheckReport, SnapshotStanding, StoreStatus

if TYPE_CHECKING:
    from engine.database import Database


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How the database and its machine are doing at one moment."""

    at: float
    score: int
    """0 to 100."""
    state: HealthState
    deductions: tuple[Deduction, ...]
    parts: tuple[Part, ...]
    checks: tuple[HealthCheck, ...]
    figures: Figures
    status: StoreStatus
    backups: BackupStanding | None = None
    snapshots: SnapshotStanding | None = None


class Health:
    """Judges a database by figures of its engine, of this process and of the machine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gauge: Gauge | None = None
        self._last_check: CheckReport | None = None
        self._lock = threading.Lock()

    def report(self) -> HealthReport:
        """Look now. Takes no lock of the engine; the processor is judged since the last look."""
        with self._lock:
            if self._gauge is None:
                self._gauge = Gauge(self._database.path)
                # So short a time says little of a processor, but the first answer must not be 0.
                time.sleep(0.05)
            figures = self._gauge.read()
        database = self._database
        standing = database.keeper.standing()
        snapshots = database.snapshot_keeper.standing()
        found = database.integrity.standing()
        evidence = Evidence(
            figures,
            database.status(),
            database.config,
            self._last_check,
            standing,
            found,
            database.mirrors.standing(),
            snapshots,
        )
        judged = score(evidence)
        return HealthReport(
            at=figures.at,
            score=judged.value,
            state=judged.state,
            deductions=judged.deductions,
            parts=judged.parts,
            checks=checks(evidence, judged),
            figures=figures,
            status=evidence.status,
            backups=standing,
            snapshots=snapshots,
        )

    def note_check(self, report: CheckReport) -> None:
        """Take the result of a check into account from now on."""
        self._last_check = report
