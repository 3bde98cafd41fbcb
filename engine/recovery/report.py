"""What a recovery intends to do, is doing and has done, as values that can be shown anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.errors import HoldfastError
from engine.types import Indicator, Outcome

_THROUGH_BYTES = ("WAL Validation", "Transaction Recovery", "Consistency Validation")
_BUSY = 0.7
"""The share of one processor from which a stage is held up by it rather than by the disk."""
_TOO_SHORT_S = 0.02


class StageStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    WARNING = "warning"
    """A stage that is not critical failed; recovery went on."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not begun, because an earlier stage failed."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StageReport:
    """One of the twelve stages, as it stands."""

    number: int
    name: str
    does: str
    critical: bool
    status: StageStatus = StageStatus.PENDING
    seconds: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    """While it runs: `stage` (what it is at), `done`, `total`, `unit`."""
    error: HoldfastError | None = None
    processor_seconds: float = 0.0
    """That this program has used meanwhile, on all its threads."""
    memory_bytes: int = 0
    """The most that this program has taken meanwhile, beyond what it had when the recovery began."""

    @property
    def bytes_per_s(self) -> float:
        """How fast it went through log and pages; 0 for a stage that does not."""
        size = float(self.metrics.get("bytes") or 0) if self.name in _THROUGH_BYTES else 0.0
        return size / self.seconds if self.seconds > 0 else 0.0

    @property
    def bottleneck(self) -> str:
        """What it mostly waited for, "processor" or "disk"; empty for one too short to tell."""
        if self.seconds < _TOO_SHORT_S:
            return ""
        return "processor" if self.processor_seconds >= _BUSY * self.seconds else "disk"

    def to_json(self) -> dict[str, Any]:
        """The shape of one element of `stages` in `recover --json`."""
        value: dict[str, Any] = {
            "name": self.name,
            "status": self.status.value,
            "seconds": round(self.seconds, 6),
            "metrics": dict(self.metrics),
            "processor_seconds": round(self.processor_seconds, 6),
            "memory_bytes": self.memory_bytes,
            "bytes_per_s": round(self.bytes_per_s),
            "bottleneck": self.bottleneck or None,
        }
        if self.error is not None:
            value["error"] = self.error.to_dict()
        return value


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What a recovery would do; made by reading only."""

    indicators: tuple[Indicator, ...]
    stages: tuple[StageReport, ...]
    checkpoint_lsn: int
    start_lsn: int
    """Where redo begins: the oldest change that may not be in the data file."""
    end_lsn: int
    """Where the valid log ends."""
    end_reason: str
    segments: int
    bytes: int
    records: int
    committed: int
    """Transactions that ended after the checkpoint and are kept."""
    losers: tuple[Mapping[str, Any], ...]
    """Unfinished transactions, to be undone: txn, started_at, changes, first_lsn."""
    dirty_pages: int
    hash: str
    """Stands for this plan: `run` with it is refused where the database has changed since."""


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """One recovery, live or ended. A new value for each change: safe to keep and to share."""

    indicators: tuple[Indicator, ...]
    stages: tuple[StageReport, ...]
    outcome: Outcome | None = None
    """None while it runs."""
    seconds: float = 0.0
    analysis: Mapping[str, Any] = field(default_factory=dict)
    redo: Mapping[str, Any] = field(default_factory=dict)
    undo: Mapping[str, Any] = field(default_factory=dict)
    lost: tuple[Mapping[str, Any], ...] = ()
    """What could not be brought back, each with `what` and `detail`; empty when nothing is lost."""
    warnings: tuple[str, ...] = ()
    error: HoldfastError | None = None
    rehearsal: bool = False
    """Everything was done beside the database, and dropped."""
    plan_hash: str = ""
    """Of a rehearsal: what `run` takes to do just this, or refuse."""
    overlay_bytes: int = 0
    """Written beside the originals before they were replaced."""
    rolled_back: tuple[str, ...] = ()
    """The stages that were taken back after a failure or on request, the last one first."""
    on_demand: bool = False
    """The database was opened after analysis; the rest was done, or is, while it is in use."""
    remaining_s: float | None = None
    """While it runs: how long the rest will take; None while that cannot be told."""

    @property
    def slowest(self) -> StageReport | None:
        """The stage that took longest: what it waited for held up the whole. None before one has ended."""
        return max(
            (stage for stage in self.stages if stage.seconds > 0), key=lambda s: s.seconds, default=None
        )

    @property
    def memory_bytes(self) -> int:
        """The most memory taken in any stage."""
        return max((stage.memory_bytes for stage in self.stages), default=0)

    @property
    def log_bytes(self) -> int:
        """Log that was read, from the checkpoint on; 0 before analysis."""
        return int(self.analysis.get("bytes") or 0)

    @property
    def log_bytes_per_s(self) -> float:
        """Log processed a second, over all stages; 0 where none was."""
        return self.log_bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def processor_seconds(self) -> float:
        """That this program has used in all stages together."""
        return sum(stage.processor_seconds for stage in self.stages)

    @property
    def recovered(self) -> bool:
        """True once the database can be used again."""
        return self.outcome in (Outcome.SUCCEEDED, Outcome.WARNINGS) and not self.rehearsal

    def to_json(self) -> dict[str, Any]:
        """The shape of `recover --json`."""
        return {
            "recovered": self.recovered,
            "rehearsal": self.rehearsal,
            "on_demand": self.on_demand,
            "plan_hash": self.plan_hash or None,
            "outcome": self.outcome.value if self.outcome else None,
            "seconds": round(self.seconds, 6),
            "indicators": [indicator_json(indicator) for indicator in self.indicators],
            "stages": [stage.to_json() for stage in self.stages],
            "analysis": dict(self.analysis),
            "redo": dict(self.redo),
            "undo": dict(self.undo),
            "lost": [dict(loss) for loss in self.lost],
            "warnings": list(self.warnings),
            "overlay_bytes": self.overlay_bytes,
            "rolled_back": list(self.rolled_back),
            "memory_bytes": self.memory_bytes,
            "processor_seconds": round(self.processor_seconds, 6),
            "log_bytes": self.log_bytes,
            "log_bytes_per_s": round(self.log_bytes_per_s),
            "bottleneck": _bottleneck_json(self.slowest),
            "error": self.error.to_dict() if self.error else None,
        }


def indicator_json(indicator: Indicator) -> dict[str, str]:
    return {"name": indicator.name, "title": indicator.title, "detail": indicator.detail}


def _bottleneck_json(slowest: StageReport | None) -> dict[str, Any] | None:
    if slowest is None:
        return None
    return {
        "stage": slowest.name,
        "resource": slowest.bottleneck or None,
        "seconds": round(slowest.seconds, 6),
    }
