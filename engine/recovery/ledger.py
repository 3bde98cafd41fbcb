"""The loss ledger: what a recovery has done, checked and lost, as a text to keep."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.recovery.report import RecoveryReport, StageStatus
from engine.units import counted, format_size


def checks(report: RecoveryReport) -> tuple[str, ...]:
    """Each check that was passed, in words; only those whose stage has succeeded."""
    metrics: Mapping[str, Mapping[str, Any]] = {
        stage.name: stage.metrics for stage in report.stages if stage.status is StageStatus.SUCCEEDED
    }
    found = []
    if log := metrics.get("WAL Validation"):
        found.append(f"Every checksum of {log['entries']:,} log entries, {format_size(log['bytes'])}.")
    if metrics.get("Transaction Recovery"):
        found.append(
            "Every change of a committed transaction is on its page; every unfinished one is undone."
        )
    if consistency := metrics.get("Consistency Validation"):
        found.append(
            f"Checksum, structure and references of {counted(consistency['pages'], 'page')} with "
            f"{counted(consistency['records'], 'record')}: no problem."
        )
    return tuple(found)


def losses(report: RecoveryReport) -> tuple[str, ...]:
    """What could not be brought back, in words; empty where nothing was lost."""
    return tuple(str(loss.get("detail") or loss.get("what") or "") for loss in report.lost)


def ledger(report: RecoveryReport, path: Path, at: float) -> str:
    """The whole account of one recovery of the database at `path` that ended at `at` (Unix seconds)."""
    when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
    kind = "Rehearsal of a recovery" if report.rehearsal else "Recovery"
    lines = [f"{kind} of {path}", f"{when}, {report.seconds:.2f} s", "", "Lost"]
    lines += [f"  {loss}" for loss in losses(report)] or ["  Nothing that was committed."]
    lines += ["", "Undone, because it was never committed"]
    losers = report.analysis.get("losers") or ()
    lines += [f"  Transaction {loser['txn']}: {counted(loser['changes'], 'change')}" for loser in losers] or [
        "  Nothing."
    ]
    lines += ["", "Checked"]
    lines += [f"  {check}" for check in checks(report)]
    lines += [f"  Warning: {warning}" for warning in report.warnings]
    lines += ["", "Stages"]
    lines += [
        f"  {stage.number:2d}. {stage.name:24} {stage.status.value:10} {stage.seconds:8.3f} s"
        for stage in report.stages
    ]
    return "\n".join(lines) + "\n"
