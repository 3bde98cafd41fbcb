"""Databases that open before their recovery is through."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine import bridge, errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.recovery import history
from engine.recovery.early import EarlyRecovery
from engine.recovery.report import StageStatus
from engine.tasks import Task
from engine.types import DatabaseState, Outcome

Crash = Callable[..., Path]

SETTINGS = Config().changed(enable_continuous_validation=False)


def test_a_database_is_open_after_analysis_and_whole_after_its_close(crashed: Crash) -> None:
    path = crashed(commits=40)
    with engine.open(path, config=SETTINGS) as db:
        report = db.recovery_report
        assert report is not None
        assert report.on_demand
        assert len(report.analysis["losers"]) == 1
        with db.transaction(read_only=True) as txn:
            assert len(txn.tree("t")) == 40 * 5
            assert txn.tree("other")[b"last"] == b"commit"
    done = db.recovery_report
    assert done is not None
    assert done.recovered
    assert done.outcome is Outcome.SUCCEEDED
    assert (done.redo["pages_left"], done.undo["transactions"]) == (0, 1)
    assert done.seconds >= done.redo["opened_after_s"] > 0
    assert engine.inspect(path).state is DatabaseState.CLEAN
    state = json.loads((path / "recovery.state").read_text())
    assert state["status"] == "completed"
    assert state["report"]["on_demand"] is True
    assert [entry.outcome for entry in history.read(path).entries] == ["succeeded"]
    with engine.open(path, create=False, recovery="never") as db:
        assert db.status().recovery is None
        assert db.recovery_report is None
        assert db.check().ok


def test_the_rest_is_done_in_the_background_told_and_checked(crashed: Crash) -> None:
    path = crashed(commits=40)
    checked = threading.Event()
    with engine.open(path, config=SETTINGS) as db:
        db.events.subscribe(lambda _: checked.set(), kinds=["recovery_checked"])
        recent = {event.kind for event in db.events.recent()}
        assert checked.wait(60) or "recovery_checked" in recent
        standing = db.status().recovery
        assert standing is not None
        assert (standing.stage, standing.pages_left, standing.losers_left) == ("done", 0, 0)
        assert standing.problems == 0
        report = db.recovery_report
        assert report is not None
        assert {stage.status for stage in report.stages} == {StageStatus.SUCCEEDED}
        assert not (path / ".recovery_needed").exists()


def test_a_second_crash_meanwhile_is_recovered_as_any_other(crashed: Crash) -> None:
    path = crashed(commits=5)
    (path / ".recovery_needed").touch()
    (path / "recovery.state").write_text(json.dumps({"status": "running", "stage": "Transaction Recovery"}))
    with engine.open(path, config=SETTINGS) as db, db.transaction(read_only=True) as txn:
        assert len(txn.tree("t")) == 25
    assert engine.inspect(path).indicators == ()


def test_a_log_that_is_damaged_is_told_before_anything_changed(crashed: Crash) -> None:
    path = crashed(commits=40)
    log = min((path / "wal").glob("*.wal"))
    content = bytearray(log.read_bytes())
    middle = len(content.rstrip(b"\0")) // 2
    content[middle : middle + 64] = b"x" * 64
    log.write_bytes(content)
    before = (path / "database.holdfast").read_bytes()
    with pytest.raises(engine.errors.WalCorrupted):
        engine.open(path, config=SETTINGS)
    assert (path / "database.holdfast").read_bytes() == before
    assert log.read_bytes() == content


def test_others_are_told_of_a_recovery_that_goes_on_behind_an_open_database(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=3)
    # Its end is not noted: to others it goes on.
    monkeypatch.setattr(EarlyRecovery, "note_progress", lambda _self: None)
    with engine.open(path, config=SETTINGS):
        found = engine.inspect(path)
        assert found.state is DatabaseState.OPEN_ELSEWHERE
        assert str(found.holder).endswith("which recovers it in the background")
        # It is in use: to wait for the end of its recovery would not help.
        with pytest.raises(engine.errors.DatabaseOpenElsewhere, match="recovers it in the background"):
            engine.open(path)
    assert engine.inspect(path).holder is None


def test_a_crash_behind_the_opening_leaves_nothing_to_be_taken_back(crashed: Crash) -> None:
    path = crashed(commits=3)
    (path / ".recovery_needed").touch()
    (path / "recovery.state").write_text(json.dumps({"status": "behind", "stage": "Transaction Recovery"}))
    assert "stale_recovery_lock" not in {sign.name for sign in engine.inspect(path).indicators}
    assert "recovery_marker" in {sign.name for sign in engine.inspect(path).indicators}
    engine.open(path).close()
    assert engine.inspect(path).indicators == ()


@pytest.mark.parametrize("wanted", [True, False])
def test_the_setting_decides(crashed: Crash, wanted: bool) -> None:
    path = crashed(commits=3)
    with engine.open(path, config=SETTINGS.changed(recover_on_demand=wanted)) as db:
        report = db.recovery_report
        assert report is not None
        assert report.on_demand is wanted
        assert (db.status().recovery is not None) is wanted


def test_who_asks_from_outside_is_told_how_far_it_is(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = crashed(commits=40)
    # Its end is not noted: to others it goes on.
    monkeypatch.setattr(EarlyRecovery, "note_progress", lambda _self: None)
    with engine.open(path, config=SETTINGS) as db:
        assert db._early is not None
        db._early._noted_at = 0.0
        db._early.note_standing()
        standing = db.status().recovery
        told = engine.inspect(path).recovery
        assert standing is not None
        assert told is not None
        assert told["pages"] == standing.pages > 0
        assert "pages recovered" in told["words"]
        assert main(["info", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["recovery"]["pages"] == standing.pages
        assert main(["info", str(path)]) == 0
        assert told["words"] in capsys.readouterr().out
    assert engine.inspect(path).recovery is None


AFTER_A_CHECKPOINT = """
    import sys, time
    import engine

    db = engine.open(sys.argv[1])
    for tree in ("before", "after"):
        for number in range(40):
            with db.transaction() as txn:
                txn.tree(tree)[b"%s %06d" % (tree.encode(), number)] = b"v" * 1000
        if tree == "before":
            db.checkpoint()
    print("ready", flush=True)
    time.sleep(600)
"""


def test_damage_that_the_check_behind_the_opening_finds_is_a_finding(
    tmp_path: Path, until_killed: Callable[..., None]
) -> None:
    path = tmp_path / "older.holdfast"
    until_killed(AFTER_A_CHECKPOINT, str(path))
    pages = path / "database.holdfast"
    content = bytearray(pages.read_bytes())
    damaged = content.index(b"before 000007") // 8192
    content[damaged * 8192 + 4096] ^= 1
    pages.write_bytes(content)
    with engine.open(path, config=SETTINGS) as db:
        pause, deadline = threading.Event(), time.monotonic() + 60
        while not db.integrity.findings() and time.monotonic() < deadline:
            pause.wait(0.02)
        assert [finding.page for finding in db.integrity.findings()] == [damaged]
        assert db.integrity.last_check is not None
        assert not db.integrity.last_check.ok
        with db.transaction(read_only=True) as txn:
            assert len(txn.tree("after")) == 40


def test_a_close_that_does_not_finish_the_recovery_leaves_it_to_the_next_opening(
    crashed: Crash,
) -> None:
    path = crashed(commits=40)
    db = engine.open(path, config=SETTINGS)
    db.close(finish_recovery=False)
    with engine.open(path, config=SETTINGS, create=False) as again, again.transaction(read_only=True) as txn:
        assert len(txn.tree("t")) == 40 * 5
        assert txn.tree("other")[b"last"] == b"commit"
    assert engine.inspect(path).state is DatabaseState.CLEAN
    with engine.open(path, create=False, recovery="never") as db:
        assert db.check().ok


@pytest.mark.parametrize("broken_off", [KeyboardInterrupt, errors.Cancelled])
def test_a_block_that_is_broken_off_does_not_wait_for_the_recovery(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch, broken_off: type[BaseException]
) -> None:
    path = crashed(commits=40)
    seen: list[bool] = []
    real = engine.Database.close

    def close(db: engine.Database, *, finish_recovery: bool = True) -> int:
        seen.append(finish_recovery)
        return real(db, finish_recovery=finish_recovery)

    monkeypatch.setattr(engine.Database, "close", close)
    with pytest.raises(broken_off), engine.open(path, config=SETTINGS):
        raise broken_off
    with engine.open(path, config=SETTINGS) as db:
        assert db.check().ok
    assert seen == [False, True]


def test_a_ctrl_c_during_the_close_leaves_the_rest_of_the_recovery(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crashed(commits=40)
    db = engine.open(path, config=SETTINGS)
    real, real_job, waits = Task.wait, bridge.Job, iter([KeyboardInterrupt])
    jobs: list[bridge.Job] = []

    def job() -> bridge.Job:
        jobs.append(real_job())
        return jobs[-1]

    def wait(task: Task[int], timeout_s: float | None = None) -> int:
        for pressed in waits:
            raise pressed
        return real(task, timeout_s)

    monkeypatch.setattr("engine.database.Task.wait", wait)
    monkeypatch.setattr("engine.database.bridge.Job", job)
    with pytest.raises(KeyboardInterrupt):
        db.close()
    monkeypatch.undo()
    assert [job.cancelled for job in jobs] == [True]
    assert db.is_closed
    with engine.open(path, config=SETTINGS, create=False) as again:
        assert again.check().ok
        with again.transaction(read_only=True) as txn:
            assert len(txn.tree("t")) == 40 * 5
