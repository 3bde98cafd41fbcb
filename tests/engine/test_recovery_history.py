"""What a database keeps of its recoveries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.recovery import history, resources
from engine.recovery.execution import Execution, pending_stages
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import RecoveryReport, StageStatus

Crash = Callable[..., Path]

IDLE = RecoveryReport(indicators=(), stages=pending_stages())


def test_each_recovery_is_kept_with_its_figures(crashed: Crash) -> None:
    path = crashed(commits=200)
    (path / "reliability.toml").write_text('cache_size = "1 KiB"\n')
    with pytest.raises(errors.RecoveryConfigurationError):
        RecoveryManager(path).run()
    (path / "reliability.toml").unlink()
    manager = RecoveryManager(path)
    manager.rehearse()
    manager.run()
    manager.take_store().close()
    told = history.read(path)
    # A rehearsal leaves no trace.
    assert [entry.outcome for entry in told.entries] == ["succeeded", "failed"]
    assert told.note == ""
    done, failed = told.entries
    assert done.at >= failed.at > 0
    assert failed.report["error"]["code"] == -76
    assert failed.report["rolled_back"] == ["Lock Acquisition"]
    assert done.report["redo"]["applied"] > 0
    assert done.seconds > 0
    # What a process takes beyond what it has freed before: nothing, where a small recovery fits into that.
    assert done.report["memory_bytes"] == max(stage["memory_bytes"] for stage in done.stages)
    assert done.report["bottleneck"]["stage"] in [stage["name"] for stage in done.stages]
    validation = next(stage for stage in done.stages if stage["name"] == "WAL Validation")
    assert validation["bytes_per_s"] > 0
    assert validation["processor_seconds"] >= 0
    assert done.report["log_bytes"] == done.report["analysis"]["bytes"] > 0
    assert done.report["log_bytes_per_s"] > 0
    assert done.report["processor_seconds"] >= validation["processor_seconds"]


def entry(outcome: str, seconds: float, *, rolled_back: tuple[str, ...] = ()) -> history.Entry:
    report = {"outcome": outcome, "recovered": outcome == "succeeded", "seconds": seconds, "stages": []}
    return history.Entry(1.0, "", {**report, "rolled_back": list(rolled_back)})


def test_the_figures_are_those_of_all_recoveries_that_nobody_cancelled() -> None:
    entries = (
        entry("succeeded", 1.0),
        entry("succeeded", 200.0),
        entry("failed", 3.0, rolled_back=("Transaction Recovery",)),
        entry("cancelled", 0.1, rolled_back=("Transaction Recovery",)),
        entry("succeeded", 3.0),
    )
    figures = history.History(entries).figures
    assert (figures.recovery_count_total, figures.rollback_count_total) == (5, 2)
    assert figures.recovery_duration_seconds == 68.0
    assert (figures.recovery_success_rate, figures.rto_compliance_rate) == (0.75, 0.5)
    none = history.History().figures
    assert (none.recovery_count_total, none.recovery_success_rate, none.rto_compliance_rate) == (
        0,
        None,
        None,
    )


def test_the_command_line_tells_the_figures(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=20)
    assert main(["recover", str(path)]) == 0
    assert "of processor time" in capsys.readouterr().out
    assert main(["recover", str(path), "--history", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["recovery_count_total"] == 1
    assert told["figures"]["recovery_success_rate"] == 1.0
    assert told["recoveries"][0]["log_bytes"] > 0
    assert main(["recover", str(path), "--history"]) == 0
    assert "100% succeeded, 100% within 120 s" in capsys.readouterr().out


def test_the_most_memory_is_what_came_on_top() -> None:
    peak = resources.Peak()
    block = bytearray(b"x") * (256 << 20)
    assert peak.take() > 128 << 20
    del block
    assert peak.take() < 128 << 20


def test_a_recovery_tells_what_its_stages_took(crashed: Crash) -> None:
    manager = RecoveryManager(crashed(commits=200))
    report = manager.run()
    manager.take_store().close()
    slowest = report.slowest
    assert slowest is not None
    assert slowest.seconds == max(stage.seconds for stage in report.stages)
    assert all(stage.bottleneck in ("processor", "disk", "") for stage in report.stages)
    assert report.memory_bytes == max(stage.memory_bytes for stage in report.stages)
    assert report.remaining_s is None


def test_a_database_that_is_open_elsewhere_keeps_no_note_of_the_attempt(crashed: Crash) -> None:
    path = crashed(commits=2)
    holder = RecoveryManager(path)
    holder.prepare()
    with pytest.raises(errors.DatabaseLocked):
        RecoveryManager(path).run()
    assert history.read(path).entries == ()
    holder.roll_back()


def test_the_losers_are_known_before_redo_begins(crashed: Crash, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = RecoveryManager(crashed(commits=2))
    seen: list[RecoveryReport] = []
    real = Execution._note_results

    def look(execution: Execution) -> None:
        real(execution)
        seen.append(execution.report)

    monkeypatch.setattr(Execution, "_note_results", look)
    manager.run()
    manager.take_store().close()
    after_analysis = seen[0]
    assert after_analysis.stages[6].status is StageStatus.RUNNING
    assert [loser["changes"] for loser in after_analysis.analysis["losers"]] == [300]
    assert not after_analysis.redo


def test_damaged_lines_are_skipped_with_a_word(tmp_path: Path) -> None:
    history.append(tmp_path, IDLE, at=1.0)
    file = tmp_path / history.FILE_NAME
    file.write_bytes(
        file.read_bytes() + b'{"at": 2, "rep\n\xff\xfe\n[]\n{"at": "x", "fallback": "", "report": {}}\n'
    )
    # Cut off in the middle of a line when the power failed.
    file.write_bytes(file.read_bytes() + b'{"at": 3')
    history.append(tmp_path, IDLE, at=4.0)
    told = history.read(tmp_path)
    assert [entry.at for entry in told.entries] == [4.0, 1.0]
    assert told.skipped == 5
    assert "5 damaged lines" in told.note


def test_the_history_is_bounded(tmp_path: Path) -> None:
    for number in range(2 * history.KEPT + 5):
        history.append(tmp_path, IDLE, at=float(number))
    kept = [entry.at for entry in history.read(tmp_path).entries]
    assert history.KEPT <= len(kept) < 2 * history.KEPT
    assert kept[:2] == [2 * history.KEPT + 4.0, 2 * history.KEPT + 3.0]


def test_a_file_that_cannot_be_written_does_not_fail_a_recovery(crashed: Crash) -> None:
    path = crashed(commits=2)
    (path / history.FILE_NAME).mkdir()
    manager = RecoveryManager(path, Config())
    assert manager.run().recovered
    manager.take_store().close()
    assert history.read(path).entries == ()


def test_the_command_line_shows_the_history(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=3)
    assert main(["recover", str(path), "--history"]) == 0
    assert "No recovery is noted" in capsys.readouterr().out
    assert main(["recover", str(path), "--json"]) == 0
    capsys.readouterr()
    assert main(["recover", str(path), "--history", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["outcome"] for entry in told["recoveries"]] == ["succeeded"]
    assert main(["recover", str(path), "--history"]) == 0
    assert "succeeded" in capsys.readouterr().out
