"""A recovery is all or nothing: rolled back, rehearsed, aborted, crashed, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge, errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.recovery import fingerprint, resources
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import StageStatus
from engine.recovery.rollback import Action, ActionKind, Rollback
from engine.types import DatabaseState, Outcome
from tests.engine.recovery_faults import ROOT, assert_whole, crash_in, fail_in, hashes, state_of

Crash = Callable[..., Path]

# Rehearsals


def test_a_rehearsal_changes_no_byte_and_says_what_recovery_then_does(crashed: Crash) -> None:
    path = crashed(commits=30)
    before = hashes(path)
    manager = RecoveryManager(path)
    rehearsal = manager.rehearse_task().run()
    assert hashes(path) == before
    assert not list(path.parent.glob(".*rehearsal*"))
    assert rehearsal.rehearsal
    assert not rehearsal.recovered
    assert rehearsal.outcome is Outcome.SUCCEEDED
    assert {stage.status for stage in rehearsal.stages} == {StageStatus.SUCCEEDED}
    assert rehearsal.overlay_bytes > 0
    assert rehearsal.to_json()["rehearsal"] is True
    report = manager.run(plan_hash=rehearsal.plan_hash)
    manager.take_store().close()
    for part in ("analysis", "redo", "undo"):
        told, done = dict(getattr(rehearsal, part)), dict(getattr(report, part))
        told.pop("seconds"), done.pop("seconds")
        assert told == done
    assert_whole(path, 30)


def test_a_plan_is_refused_once_the_database_has_changed(crashed: Crash) -> None:
    path = crashed(commits=3)
    manager = RecoveryManager(path)
    agreed = manager.plan().hash
    assert agreed == manager.rehearse().plan_hash == fingerprint.plan_hash(path)
    os.utime(path / "database.holdfast", ns=(1, 1))
    before = hashes(path)
    with pytest.raises(errors.RecoveryPlanOutdated) as caught:
        manager.run(plan_hash=agreed)
    assert caught.value.code == -68
    assert hashes(path) == before
    manager.run(plan_hash=manager.rehearse().plan_hash)
    manager.take_store().close()
    assert_whole(path, 3)


def test_a_rehearsal_foresees_a_failure(crashed: Crash, monkeypatch: pytest.MonkeyPatch) -> None:
    path = crashed(commits=3)
    before = hashes(path)
    wrong = errors.RecoveryVerificationFailed(check_name="pages", details="page 3", critical=True)
    fail_in(monkeypatch, "Consistency Validation", wrong)
    with pytest.raises(errors.RecoveryVerificationFailed):
        RecoveryManager(path).rehearse()
    assert hashes(path) == before
    assert not list(path.parent.glob(".*rehearsal*"))


def test_the_command_line_rehearses_and_carries_the_plan_out(
    crashed: Crash, capsys: pytest.CaptureFixture[str]
) -> None:
    path = crashed(commits=4)
    before = hashes(path)
    assert main(["recover", str(path), "--rehearse", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rehearsal"], told["recovered"]) == (True, False)
    assert hashes(path) == before
    assert main(["recover", str(path), "--rehearse"]) == 0
    assert "the database is as it was" in capsys.readouterr().out
    os.utime(path / "control", ns=(1, 1))
    assert main(["recover", str(path), "--plan-hash", told["plan_hash"], "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == -68
    assert main(["recover", str(path), "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan_hash"]
    assert main(["recover", str(path), "--plan-hash", plan, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recovered"] is True
    assert_whole(path, 4)


# Failures and aborts


def test_a_failure_after_changes_names_the_stages_and_that_they_are_taken_back(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=2)
    fail_in(monkeypatch, "Transaction Recovery", errors.DiskFull(path="wal"))
    manager = RecoveryManager(path)
    with pytest.raises(errors.PartialRecoveryFailure) as caught:
        manager.run()
    fields = caught.value.fields
    assert fields["completed_stages"][-1] == "WAL Validation"
    assert fields["failed_stage"] == "Transaction Recovery"
    assert fields["rollback_available"] is True
    assert isinstance(caught.value.__cause__, errors.InsufficientResources)
    assert manager.report.rolled_back == ("Transaction Recovery", "Lock Acquisition")


def test_a_recovery_can_be_looked_at_and_rolled_back_before_it_is_installed(crashed: Crash) -> None:
    path = crashed(commits=5)
    before = hashes(path)
    manager = RecoveryManager(path)
    report = manager.prepare_task().run()
    assert manager.is_prepared
    assert report.outcome is None
    done = [stage.name for stage in report.stages if stage.status is StageStatus.SUCCEEDED]
    assert done[-1] == "Resource Cleanup"
    with pytest.raises(errors.RecoveryProgress):
        engine.open(path)
    report = manager.roll_back()
    assert report.rolled_back == ("Transaction Recovery", "Lock Acquisition")
    assert report.outcome is Outcome.CANCELLED
    assert hashes(path) == before
    manager.prepare()
    assert manager.install_task().run().recovered
    manager.take_store().close()
    assert_whole(path, 5)


def test_without_the_setting_a_recovery_works_in_place(crashed: Crash) -> None:
    path = crashed(commits=5)
    manager = RecoveryManager(path, Config().changed(enable_recovery_rollback=False))
    manager.prepare()
    assert not (path / "recovery.blocks").exists()
    report = manager.install()
    assert report.overlay_bytes == 0
    manager.take_store().close()
    assert_whole(path, 5)


def test_an_abort_is_answered_within_a_second_and_changes_nothing(crashed: Crash) -> None:
    path = crashed(commits=4000)
    before = hashes(path)
    for name in ("WAL Validation", "Transaction Recovery", "Consistency Validation"):
        answered = abort_in(path, name)
        assert hashes(path) == before
        # A bound for people, not a measurement: it is some milliseconds on an idle machine.
        assert answered < 1.0, f"{name}: {answered:.2f} s"


def abort_in(path: Path, name: str) -> float:
    """Cancel a recovery as soon as it is in the stage `name`; return the seconds to its answer."""
    task = RecoveryManager(path).run_task()
    reached = threading.Event()
    task.observe(lambda progress: reached.set() if progress.stage == name else None)
    task.start()
    assert reached.wait(60)
    asked = time.monotonic()
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.wait(30)
    return time.monotonic() - asked


def test_a_rollback_that_fails_says_what_could_not_be_put_back(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=2)
    fail_in(monkeypatch, "Consistency Validation", errors.IoError(operation="read", path="x"))

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("engine.recovery.rollback.sync_directory", refuse)
    manager = RecoveryManager(path)
    with pytest.raises(errors.RecoveryRollbackFailed) as caught:
        manager.run()
    assert caught.value.fields["stage"] == "Lock Acquisition"
    assert "Permission denied" in caught.value.fields["reason"]
    assert caught.value.fields["manual_intervention_needed"] is True
    monkeypatch.undo()
    # The lock was released all the same, and recovery can be run again.
    assert_whole(path, 2)


# Crashes of a recovery


@pytest.mark.parametrize("name", ["Lock Acquisition", "Transaction Recovery", "Resource Cleanup"])
def test_a_recovery_that_crashed_is_taken_back_and_run_again(crashed: Crash, name: str) -> None:
    path = crashed(commits=8)
    before = hashes(path)
    crash_in(path, name)
    kept = state_of(path)
    assert kept["status"] == "running"
    assert kept["rollback"][0]["created_files"] == [".recovery_needed"]
    left = hashes(path)
    # Nothing of what was there has changed.
    assert {file: content for file, content in left.items() if file in before} == before
    found = engine.inspect(path)
    assert found.state is DatabaseState.NEEDS_RECOVERY
    assert "stale_recovery_lock" in [indicator.name for indicator in found.indicators]
    manager = RecoveryManager(path)
    report = manager.run()
    metrics = next(stage.metrics for stage in report.stages if stage.name == "Lock Acquisition")
    assert metrics["settled"] == "dropped"
    assert metrics["taken_over_from"].startswith("process ")
    manager.take_store().close()
    assert not (path / "recovery.blocks").exists()
    assert_whole(path, 8)


def test_two_recoveries_of_two_processes_are_told_who_is_first(crashed: Crash) -> None:
    path = crashed(commits=2)
    manager = RecoveryManager(path)
    manager.prepare()
    command = [sys.executable, "-m", "engine.cli", "recover", str(path), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 3
    assert error["code"] == -73
    assert f"process {os.getpid()} on" in error["message"]
    manager.roll_back()
    assert_whole(path, 2)


def test_a_stale_lock_file_is_taken_over(crashed: Crash) -> None:
    path = crashed(commits=1)
    (path / "LOCK").write_text('{"pid": 1, "host": "here", "since": "before the power failed"}')
    manager = RecoveryManager(path)
    report = manager.run()
    metrics = next(stage.metrics for stage in report.stages if stage.name == "Lock Acquisition")
    assert metrics["taken_over_from"] == "process 1 on here, since before the power failed"
    manager.take_store().close()


# Resources


def test_too_little_room_for_the_overlay_is_told_before_redo(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=2)
    before = hashes(path)

    def need(folder: Path, **_sizes: int) -> resources.Need:
        return resources.Need("disk", 1 << 60, 5, "bytes")

    monkeypatch.setattr("engine.recovery.stages.resources.overlay_need", need)
    with pytest.raises(errors.PartialRecoveryFailure) as caught:
        RecoveryManager(path).run()
    cause = caught.value.__cause__
    assert isinstance(cause, errors.InsufficientResources)
    assert (cause.fields["resource"], cause.fields["required"]) == ("disk", 1 << 60)
    assert hashes(path) == before


def test_a_recovery_that_takes_more_memory_than_it_stated_is_stopped(tmp_path: Path) -> None:
    guard = resources.Guard(tmp_path, memory_bytes=-(1 << 40))
    found = guard.violation()
    assert found is not None
    assert found.fields["resource"] == "memory"
    assert guard.violation() is None  # It looks once a second.
    assert resources.Guard(tmp_path, memory_bytes=1 << 40).violation() is None


# The rollback data


def test_rollback_undoes_the_newest_first_and_survives_in_the_state(tmp_path: Path) -> None:
    (tmp_path / "changed").write_bytes(b"before")
    undone: list[str] = []
    rollback = Rollback(tmp_path)
    rollback.locked("one", "LOCK", lambda: undone.append("lock"))
    rollback.created("two", "created")
    rollback.modifies("two", "changed")
    rollback.performs("three", "overlay", lambda: undone.append("overlay"))
    (tmp_path / "created").touch()
    (tmp_path / "changed").write_bytes(b"after")
    kept = json.loads(json.dumps(rollback.to_json()))
    assert [entry["stage"] for entry in kept] == ["one", "two", "three"]
    assert kept[1]["modified_files"] == ["changed"]
    assert rollback.roll_back() == ("three", "two", "one")
    assert undone == ["overlay", "lock"]
    assert (tmp_path / "changed").read_bytes() == b"before"
    assert not (tmp_path / "created").exists()
    assert rollback.roll_back() == ()
    # As after a crash, from what was kept.
    (tmp_path / "created").touch()
    (tmp_path / "changed").write_bytes(b"half")
    Rollback.of_crashed(tmp_path, kept).roll_back()
    assert (tmp_path / "changed").read_bytes() == b"before"
    assert not (tmp_path / "created").exists()


def test_a_damaged_state_reaches_nothing_outside_the_database(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    inside = tmp_path / "d"
    inside.mkdir()
    action = Action(ActionKind.DELETE_FILE, "../outside").to_json()
    Rollback.of_crashed(inside, [{"stage": "x", "actions": [action]}]).roll_back()
    assert outside.exists()
    for nonsense in (None, 7, "x", [7], [{"stage": "x"}], [{"stage": "x", "actions": [{"kind": "no"}]}]):
        assert Rollback.of_crashed(inside, nonsense).roll_back() == ()


# Stopped while it is put in place


def stopped_in_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RecoveryManager, Path]:
    """A recovery whose installation was decided and is then broken off; what held it up is given back."""
    manager = RecoveryManager(path)
    manager.prepare()
    data, aside = path / "database.holdfast", path / "aside"
    kernel = manager._prepared().context.running()

    class BreaksOff:
        """The kernel's side, whose last step cannot write to an original: it stops there as for an abort."""

        def finish(self, job: bridge.Job) -> bridge.Store:
            data.rename(aside)
            data.mkdir()
            try:
                return kernel.finish(job)
            except errors.IoError as error:
                raise errors.Cancelled(installing=error.metadata["installing"]) from error
            finally:
                data.rmdir()
                aside.rename(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

    monkeypatch.setattr(manager._prepared().context, "kernel", BreaksOff())
    return manager, path


def test_a_recovery_stopped_while_it_is_put_in_place_says_so_and_the_next_opening_does_the_rest(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, path = stopped_in_place(crashed(commits=20), monkeypatch)
    task = manager.install_task()
    with pytest.raises(errors.Cancelled, match="the next opening puts the rest in place") as caught:
        task.run()
    assert task.outcome is Outcome.CANCELLED
    assert "Open the database" in caught.value.suggested_action
    report = manager.report
    assert report.outcome is Outcome.CANCELLED
    assert report.rolled_back == ()
    assert report.stages[-1].status is StageStatus.CANCELLED
    assert not manager.is_prepared
    found = engine.inspect(path)
    assert "unfinished_installation" in {indicator.name for indicator in found.indicators}
    assert_whole(path, 20)
    assert engine.inspect(path).indicators == ()


def test_an_installation_that_failed_after_the_decision_is_not_said_to_be_taken_back(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=20)
    manager = RecoveryManager(path)
    manager.prepare()
    data, aside = path / "database.holdfast", path / "aside"
    data.rename(aside)
    data.mkdir()
    with pytest.raises(errors.PartialRecoveryFailure) as caught:
        manager.install()
    assert caught.value.fields["rollback_available"] is False
    data.rmdir()
    aside.rename(data)
    assert_whole(path, 20)
