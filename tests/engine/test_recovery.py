"""Recovery of databases whose writer was killed, stage by stage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine import bridge, errors
from engine.config import Config
from engine.recovery import resources
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import StageStatus
from engine.recovery.stages import STAGES
from engine.tasks import Task
from engine.types import DatabaseState, Outcome

Crash = Callable[..., Path]

NAMES = [
    "Initialization",
    "Lock Acquisition",
    "Config Validation",
    "Resource Check",
    "WAL Discovery",
    "WAL Validation",
    "Transaction Recovery",
    "Index Reconstruction",
    "Consistency Validation",
    "Resource Cleanup",
    "Database Unlock",
    "Finalization",
]


def assert_whole(path: Path, commits: int) -> None:
    """Everything that was acknowledged is there, nothing that was not, and the check finds nothing."""
    with engine.open(path, create=False, recovery="never") as db:
        with db.transaction() as txn:
            tree = txn.tree("t")
            expected = [b"%06d-%d" % (number, part) for number in range(commits) for part in range(5)]
            assert list(tree) == expected
            assert len(tree) == commits * 5
            assert txn.tree("other")[b"last"] == b"commit"
        report = db.check()
        assert report.ok, report.problems


def test_the_twelve_stages_build_only_on_earlier_ones() -> None:
    assert [stage.name for stage in STAGES] == NAMES
    for place, stage in enumerate(STAGES):
        assert set(stage.depends_on) <= set(NAMES[:place])
    assert [stage.name for stage in STAGES if not stage.critical] == [
        "Index Reconstruction",
        "Resource Cleanup",
    ]


def test_a_killed_database_shows_its_signs_and_is_recovered_on_open(crashed: Crash) -> None:
    path = crashed(commits=40)
    found = engine.inspect(path)
    assert found.state is DatabaseState.NEEDS_RECOVERY
    assert "unclean_shutdown" in [indicator.name for indicator in found.indicators]
    with engine.open(path) as db:
        assert db.recovery_report is not None
    report = db.recovery_report
    assert report is not None
    assert report.recovered
    assert report.outcome is Outcome.SUCCEEDED
    assert len(report.analysis["losers"]) == 1
    assert report.undo["transactions"] == 1
    assert_whole(path, 40)
    assert engine.inspect(path).state is DatabaseState.CLEAN


LARGE_WRITER = """
    import sys, engine
    from engine.config import Config
    database = engine.open(sys.argv[1], config=Config().changed(checkpoint_log_volume="1 GiB"))
    for n in range(80):
        with database.transaction() as txn:
            txn.tree("t")[b"%d" % n] = b"x" * (1 << 20)
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_log_too_large_to_be_read_at_once_is_a_sign_too(
    tmp_path: Path, until_killed: Callable[..., None]
) -> None:
    path = tmp_path / "large.holdfast"
    until_killed(LARGE_WRITER, str(path))
    facts = bridge.inspect(str(path))
    assert facts["log_goes_on"]
    signs = {indicator.name: indicator.detail for indicator in engine.inspect(path).indicators}
    assert "beyond LSN" in signs["unfinished_log"]
    assert RecoveryManager(path).run().outcome is Outcome.SUCCEEDED


def test_an_open_that_recovers_reads_once_how_the_log_ends(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looks, inspect = crashed(commits=3), [], bridge.inspect
    monkeypatch.setattr(bridge, "inspect", lambda at: looks.append(at) or inspect(at))
    with engine.open(path, config=Config().changed(recover_on_demand=False)) as database:
        assert database.recovery_report is not None
    assert looks == [str(path)]


def test_ask_and_never_raise_with_the_indicators_and_change_nothing(crashed: Crash) -> None:
    path = crashed(commits=3)
    for choice in ("ask", "never"):
        with pytest.raises(errors.RecoveryNeeded) as caught:
            engine.open(path, recovery=choice)  # type: ignore[arg-type]
        assert "unclean_shutdown" in [indicator.name for indicator in caught.value.indicators]
    assert engine.inspect(path).state is DatabaseState.NEEDS_RECOVERY
    with pytest.raises(errors.RecoveryNeeded):
        engine.open(path, read_only=True)


def test_auto_asks_where_the_settings_say_so(crashed: Crash, config: Config) -> None:
    with pytest.raises(errors.RecoveryNeeded):
        engine.open(crashed(commits=1), config=config.changed(auto_recovery_enabled=False))


def test_every_stage_reports_its_time_and_metrics(crashed: Crash) -> None:
    manager = RecoveryManager(crashed(commits=20))
    report = manager.run_task().run()
    manager.take_store().close()
    assert [stage.name for stage in report.stages] == NAMES
    assert {stage.status for stage in report.stages} == {StageStatus.SUCCEEDED}
    by_name = {stage.name: stage.metrics for stage in report.stages}
    assert by_name["WAL Discovery"]["segments"] >= 1
    assert by_name["WAL Validation"]["end_lsn"] > 0
    assert by_name["Transaction Recovery"]["losers"] == 1
    assert by_name["Consistency Validation"]["problems"] == 0
    assert by_name["Resource Check"]["memory"]["required"] > 0
    shape = json.loads(json.dumps(report.to_json()))
    assert shape["recovered"] is True
    assert shape["rehearsal"] is False
    assert shape["lost"] == []
    assert shape["error"] is None


def test_the_plan_says_what_recovery_then_does(crashed: Crash) -> None:
    path = crashed(commits=10)
    manager = RecoveryManager(path)
    plan = manager.plan()
    assert plan.start_lsn <= plan.end_lsn
    assert len(plan.losers) == 1
    assert plan.committed >= 1
    assert not (path / ".recovery_needed").exists()
    assert engine.inspect(path).state is DatabaseState.NEEDS_RECOVERY
    report = manager.run()
    manager.take_store().close()
    assert [loser["txn"] for loser in report.analysis["losers"]] == [loser["txn"] for loser in plan.losers]
    assert_whole(path, 10)


def test_a_cancelled_recovery_leaves_a_database_that_can_be_recovered(crashed: Crash) -> None:
    path = crashed(commits=10)
    manager = RecoveryManager(path)
    task = manager.run_task()
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.run()
    assert task.outcome is Outcome.CANCELLED
    assert_recoverable(path, 10)


@pytest.mark.parametrize("name", NAMES[2:])
def test_a_recovery_cancelled_in_any_stage_can_be_run_again(crashed: Crash, name: str) -> None:
    path = crashed(commits=5)
    manager = RecoveryManager(path)
    task: Task[object] = Task("Recovery", manager.run)  # type: ignore[arg-type]
    # Cancel arrives as the stage begins: from there on it must answer, wherever it is.
    stop = task.observe(lambda progress: task.cancel() if progress.stage == name else None)
    try:
        task.run()
    except errors.Cancelled:
        assert manager.report.outcome is Outcome.CANCELLED
    else:
        # It had passed the last point at which it can be stopped.
        manager.take_store().close()
    finally:
        stop()
    assert_recoverable(path, 5)


def assert_recoverable(path: Path, commits: int) -> None:
    engine.open(path, create=False).close()
    assert_whole(path, commits)


def test_an_interrupted_recovery_is_found_and_told(crashed: Crash) -> None:
    path = crashed(commits=2)
    (path / ".recovery_needed").touch()
    (path / "recovery.state").write_text(json.dumps({"status": "running", "stage": "Transaction Recovery"}))
    names = [indicator.name for indicator in engine.inspect(path).indicators]
    assert "recovery_marker" in names
    assert "stale_recovery_lock" in names
    assert_recoverable(path, 2)
    assert not (path / ".recovery_needed").exists()
    assert json.loads((path / "recovery.state").read_text())["status"] == "completed"


def test_the_marker_alone_is_reason_enough(tmp_path: Path) -> None:
    path = tmp_path / "d.holdfast"
    engine.open(path).close()
    (path / ".recovery_needed").touch()
    with engine.open(path, create=False) as db:
        assert db.recovery_report is not None
    assert engine.inspect(path).indicators == ()


def test_wrong_settings_stop_a_recovery_before_it_changes_anything(crashed: Crash) -> None:
    path = crashed(commits=2)
    (path / "reliability.toml").write_text('recovery_timeout = "soon"\n')
    manager = RecoveryManager(path)
    with pytest.raises(errors.RecoveryConfigurationError) as caught:
        manager.run()
    assert caught.value.fields["setting"] == "recovery_timeout"
    assert isinstance(caught.value.__cause__, errors.ConfigInvalid)
    statuses = {stage.name: stage.status for stage in manager.report.stages}
    assert statuses["Config Validation"] is StageStatus.FAILED
    assert statuses["Finalization"] is StageStatus.SKIPPED
    (path / "reliability.toml").unlink()
    assert_recoverable(path, 2)


def test_too_little_memory_is_told_with_the_need(
    crashed: Crash, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=2)
    # Whatever the settings, a recovery needs little: only the machine can have too little of it.
    with monkeypatch.context() as machine:
        machine.setattr(resources, "available_memory", lambda: 8 << 20)
        with pytest.raises(errors.InsufficientResources) as caught:
            RecoveryManager(path, config).run()
    assert caught.value.fields["resource"] == "memory"
    assert caught.value.fields["required"] > caught.value.fields["available"]
    assert_recoverable(path, 2)


def test_no_two_recoveries_at_once(crashed: Crash) -> None:
    path = crashed(commits=2)
    first, second = RecoveryManager(path), RecoveryManager(path)
    first.run()
    with pytest.raises(errors.DatabaseLocked) as caught:
        second.run()
    assert isinstance(caught.value.__cause__, errors.DatabaseOpenElsewhere)
    first.take_store().close()
    assert_whole(path, 2)


def test_a_damaged_log_is_told_and_nothing_is_changed(crashed: Crash) -> None:
    path = crashed(commits=60)
    segment = min((path / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    # In the middle of what was committed, well before the end of the log. In the first segment an
    # LSN is the place in the file.
    place = bridge.inspect(str(path))["redo_lsn"] + 20_000
    content[place : place + 64] = b"\xa5" * 64
    segment.write_bytes(content)
    manager = RecoveryManager(path)
    with pytest.raises(errors.WalCorrupted) as caught:
        manager.run()
    assert caught.value.is_critical_recovery_failure() or caught.value.is_recoverable()
    failed = next(stage for stage in manager.report.stages if stage.status is StageStatus.FAILED)
    assert failed.name in ("WAL Discovery", "WAL Validation")
    assert bytes(content) == segment.read_bytes()


def test_a_lost_log_is_told(crashed: Crash) -> None:
    path = crashed(commits=2)
    for segment in (path / "wal").glob("*.wal"):
        segment.unlink()
    with pytest.raises(errors.HoldfastError) as caught:
        RecoveryManager(path).run()
    assert -83 <= caught.value.code <= -70


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_file_that_may_not_be_read_is_told_by_its_path(crashed: Crash) -> None:
    path = crashed(commits=1)
    (path / "control").chmod(0)
    with pytest.raises(errors.RecoveryPermissionError):
        RecoveryManager(path).run()


def test_a_missing_database_is_not_recovered(tmp_path: Path) -> None:
    with pytest.raises(errors.DatabaseNotFound):
        RecoveryManager(tmp_path / "nothing")


def test_ten_kills_in_a_row_lose_nothing(crashed: Crash) -> None:
    for commits in range(1, 11):
        assert_recoverable(crashed(commits=commits), commits)
