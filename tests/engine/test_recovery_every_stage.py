"""All or nothing in each of the twelve stages: failures, aborts, crashes; stale locks; plans made before."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge, errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.recovery import stages
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import RecoveryReport, StageStatus
from engine.recovery.stages import RecoveryContext, Stage
from engine.types import DatabaseState, Outcome
from tests.engine.recovery_faults import assert_whole, crash_in, fail_in, hashes, replace_stage, state_of

Crash = Callable[..., Path]

STAGES = tuple(stage.name for stage in stages.STAGES)
CRITICAL = tuple(stage.name for stage in stages.STAGES if stage.critical)
OPTIONAL = tuple(stage.name for stage in stages.STAGES if not stage.critical)
LAST = STAGES[-1]


def recover(path: Path) -> RecoveryReport:
    manager = RecoveryManager(path)
    report = manager.run()
    manager.take_store().close()
    return report


def abort_in(monkeypatch: pytest.MonkeyPatch, path: Path, name: str, *, has_worked: bool) -> RecoveryManager:
    """Recover, and ask to stop just before or just after the work of a stage."""
    manager = RecoveryManager(path)
    task = manager.run_task()

    def run(real: Stage, context: RecoveryContext, job: bridge.Job) -> stages.Metrics:
        if not has_worked:
            task.cancel()
        metrics = real.run(context, job)
        task.cancel()
        return metrics

    with monkeypatch.context() as patched:
        replace_stage(patched, name, run)
        if has_worked and name == LAST:
            task.run()
        else:
            with pytest.raises(errors.Cancelled):
                task.run()
    return manager


@pytest.mark.parametrize("name", CRITICAL)
def test_a_failure_before_or_after_the_work_of_a_stage_leaves_every_byte_as_it_was(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = crashed(commits=6)
    before = hashes(path)
    # What fails once the last stage has done its work finds the result in place.
    for has_worked in (False, True) if name != LAST else (False,):
        manager = RecoveryManager(path)
        with monkeypatch.context() as patched:
            fail_in(patched, name, errors.IoError(operation="read", path="x"), has_worked=has_worked)
            with pytest.raises(errors.HoldfastError) as caught:
                manager.run()
        assert -83 <= caught.value.code <= -70
        assert hashes(path) == before
        failed = next(stage for stage in manager.report.stages if stage.name == name)
        assert failed.status is StageStatus.FAILED
        assert manager.report.outcome is Outcome.FAILED
        if name not in ("Initialization", "Lock Acquisition"):
            assert manager.report.rolled_back[-1] == "Lock Acquisition"
            assert state_of(path)["status"] == "failed"
    assert recover(path).recovered
    assert_whole(path, 6)


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_failure_in_a_stage_that_recovery_can_do_without_is_a_warning(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = crashed(commits=6)
    fail_in(monkeypatch, name, errors.IoError(operation="read", path="x"))
    report = recover(path)
    assert report.outcome is Outcome.WARNINGS
    assert any(name in warning for warning in report.warnings)
    assert_whole(path, 6)


@pytest.mark.parametrize("name", STAGES)
def test_an_abort_before_or_after_the_work_of_a_stage_leaves_every_byte_as_it_was(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = crashed(commits=6)
    before = hashes(path)
    for has_worked in (False, True):
        manager = abort_in(monkeypatch, path, name, has_worked=has_worked)
        if has_worked and name == LAST:
            # It came too late: what was recovered is in place.
            assert manager.report.recovered
            manager.take_store().close()
        else:
            assert manager.report.outcome is Outcome.CANCELLED
            assert hashes(path) == before
            assert engine.inspect(path).holder is None
    if name != LAST:
        assert recover(path).recovered
    assert_whole(path, 6)


def test_a_recovery_that_is_killed_after_each_stage_in_turn_loses_nothing(crashed: Crash) -> None:
    path = crashed(commits=6)
    before = hashes(path)
    for name in STAGES[:-1]:
        crash_in(path, name)
        left = hashes(path)
        assert {file: content for file, content in left.items() if file in before} == before, name
        assert engine.inspect(path).state is DatabaseState.NEEDS_RECOVERY
    report = recover(path)
    assert report.recovered
    assert report.undo["records"] == 300
    assert_whole(path, 6)


def test_a_recovery_that_is_killed_after_its_last_stage_is_in_place(crashed: Crash) -> None:
    path = crashed(commits=6)
    crash_in(path, LAST)
    assert recover(path).recovered
    assert_whole(path, 6)


def test_where_nothing_is_taken_back_a_recovery_that_failed_in_any_stage_goes_on(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=6)
    in_place = Config().changed(enable_recovery_rollback=False)
    for name in CRITICAL[:-1]:
        manager = RecoveryManager(path, in_place)
        with monkeypatch.context() as patched:
            fail_in(patched, name, errors.DiskFull(path="wal"))
            with pytest.raises(errors.HoldfastError) as caught:
                manager.run()
        if isinstance(caught.value, errors.PartialRecoveryFailure):
            assert caught.value.fields["rollback_available"] is False
    manager = RecoveryManager(path, in_place)
    assert manager.run().recovered
    manager.take_store().close()
    assert_whole(path, 6)


# Locks that nobody holds


def test_a_lock_of_before_a_restart_is_taken_over_though_its_number_is_another_process_now(
    crashed: Crash,
) -> None:
    path = crashed(commits=1)
    # After a restart numbers are given again, and this process may have got the one that is noted.
    noted = {"pid": os.getpid(), "host": platform.node(), "since": "before the power failed"}
    (path / "LOCK").write_text(json.dumps(noted))
    state = {"status": "running", "pid": os.getpid(), "stage": "Transaction Recovery", "rollback": []}
    (path / "recovery.state").write_text(json.dumps(state))
    found = engine.inspect(path)
    assert (found.state, found.holder) == (DatabaseState.NEEDS_RECOVERY, None)
    assert "stale_recovery_lock" in [indicator.name for indicator in found.indicators]
    report = recover(path)
    taken = next(stage.metrics for stage in report.stages if stage.name == "Lock Acquisition")
    assert taken["taken_over_from"].startswith(f"process {os.getpid()} on {platform.node()}")
    assert_whole(path, 1)


def test_a_lock_that_cannot_be_read_is_taken_over(crashed: Crash) -> None:
    path = crashed(commits=1)
    (path / "LOCK").write_bytes(b"\xff\x00 half of it")
    assert recover(path).recovered
    assert_whole(path, 1)


# Plans made before


def _touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def _longer(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"\0")


def _newest_segment(path: Path) -> Path:
    return max((path / "wal").glob("*.wal"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a page was written": lambda path: _touch(path / "database.holdfast"),
    "the log grew": lambda path: _longer(_newest_segment(path)),
    "log was added": lambda path: shutil.copy(_newest_segment(path), path / "wal" / "999999999999.wal"),
    "a copy of a page was written": lambda path: _touch(path / "doublewrite"),
    "a checkpoint was taken": lambda path: _touch(path / "control"),
    "a setting was changed": lambda path: (path / "reliability.toml").write_text('cache_size = "8 MiB"\n'),
    "recovery was asked for": lambda path: (path / ".recovery_needed").touch(),
    "somebody said that it was closed": lambda path: (path / ".clean_shutdown").touch(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_rehearsal_is_not_carried_out_once_what_it_read_has_changed(crashed: Crash, change: str) -> None:
    path = crashed(commits=3)
    agreed = RecoveryManager(path).rehearse().plan_hash
    CHANGES[change](path)
    before = hashes(path)
    with pytest.raises(errors.RecoveryPlanOutdated):
        RecoveryManager(path).run(plan_hash=agreed)
    assert hashes(path) == before


def test_what_only_tells_of_a_database_leaves_its_plan_as_it_is(crashed: Crash) -> None:
    path = crashed(commits=3)
    agreed = RecoveryManager(path).rehearse().plan_hash
    for name in ("LOCK", "audit.log", "history.db", "recoveries.jsonl", "backups.json"):
        (path / name).touch()
    manager = RecoveryManager(path)
    assert manager.run(plan_hash=agreed).recovered
    manager.take_store().close()


def test_another_way_is_not_carried_out_by_the_hash_of_this_one(crashed: Crash) -> None:
    path = crashed(commits=3)
    agreed = RecoveryManager(path).rehearse().plan_hash
    with pytest.raises(errors.RecoveryPlanOutdated):
        RecoveryManager(path, fallback="last-valid").run(plan_hash=agreed)


def test_a_database_that_another_program_recovered_meanwhile_is_not_recovered_by_an_old_plan(
    crashed: Crash, capsys: pytest.CaptureFixture[str]
) -> None:
    path = crashed(commits=3)
    manager = RecoveryManager(path)
    agreed = manager.rehearse().plan_hash
    with engine.open(path) as db, db.transaction() as txn:
        txn.tree("t")[b"new"] = b"since the rehearsal"
    before = hashes(path)
    with pytest.raises(errors.RecoveryPlanOutdated):
        manager.run(plan_hash=agreed)
    assert hashes(path) == before
    told = command(capsys, "recover", str(path), "--plan-hash", agreed)
    assert (told["recovered"], told["error"]) == (False, None)
    with engine.open(path, recovery="never") as db, db.transaction() as txn:
        assert txn.tree("t")[b"new"] == b"since the rehearsal"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told
