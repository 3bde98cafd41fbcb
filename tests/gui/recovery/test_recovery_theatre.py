"""The three lanes while a recovery runs: what each has gone through, and how fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.recovery.execution import pending_stages
from engine.recovery.report import RecoveryReport, StageStatus
from gui.recovery.theatre import Theatre

READING, TRANSACTIONS = 6, 7


@pytest.fixture
def theatre(qtbot: Any, theme: Any) -> Theatre:
    made = Theatre()
    qtbot.addWidget(made)
    return made


def running(number: int, **progress: Any) -> RecoveryReport:
    """A recovery at this stage."""
    stages = []
    for stage in pending_stages():
        if stage.number < number:
            stage = replace(stage, status=StageStatus.SUCCEEDED, seconds=0.1)
        elif stage.number == number:
            stage = replace(stage, status=StageStatus.RUNNING, progress=progress)
        stages.append(stage)
    return RecoveryReport(indicators=(), stages=tuple(stages))


def words(theatre: Theatre, name: str) -> str:
    return theatre.passes[name].words()


def test_analysis_runs_while_the_log_is_read_for_it_takes_what_it_needs_from_there(theatre: Theatre) -> None:
    theatre.show_start(is_rehearsal=False)
    done = {"stage": "log validation", "done": 1 << 20, "total": 4 << 20, "unit": "bytes"}
    theatre.show_report(running(READING, **done, records=12345, pages=67, bytes=1 << 20))
    assert words(theatre, "analysis").startswith("running")
    for count in ("12,345 records", "67 pages", "MiB"):
        assert count in words(theatre, "analysis")
    theatre.show_report(running(TRANSACTIONS, stage="double-write"))
    assert words(theatre, "analysis").startswith("running"), "its result is told a moment later"
    assert words(theatre, "redo").startswith("waiting")


def test_a_lane_tells_records_pages_and_bytes_and_how_many_of_each_a_second(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("gui.recovery.theatre.time.monotonic", lambda: next(clock))
    theatre.show_start(is_rehearsal=False)
    done = {"stage": "redo", "total": 200, "unit": "pages"}
    theatre.show_report(running(TRANSACTIONS, **done, done=10, records=100, pages=10, bytes=1 << 20))
    theatre.show_report(running(TRANSACTIONS, **done, done=60, records=2100, pages=60, bytes=9 << 20))
    shown = words(theatre, "redo")
    for part in ("60 pages / 200 pages", "2,100 records", "1,000 records/s", "25.0 pages/s", "4.00 MiB/s"):
        assert part in shown, (part, shown)


def test_what_a_pass_does_not_count_is_left_out(theatre: Theatre) -> None:
    theatre.show_start(is_rehearsal=False)
    done = {"stage": "undo", "done": 5, "total": 10, "unit": "records"}
    theatre.show_report(running(TRANSACTIONS, **done, records=5, pages=0, bytes=0))
    assert "5 records" in words(theatre, "undo")
    assert "pages" not in words(theatre, "undo")
