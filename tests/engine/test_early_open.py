"""Databases that open before their recovery is through."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine.config import Config
from engine.recovery import history
from engine.recovery.report import StageStatus
from engine.types import DatabaseState, Outcome

Crash = Callable[..., Path]

SETTINGS = Config().changed(recover_on_demand=True, enable_continuous_validation=False)


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


@pytest.mark.parametrize("wanted", [True, False])
def test_the_setting_decides(crashed: Crash, wanted: bool) -> None:
    path = crashed(commits=3)
    with engine.open(path, config=SETTINGS.changed(recover_on_demand=wanted)) as db:
        report = db.recovery_report
        assert report is not None
        assert report.on_demand is wanted
        assert (db.status().recovery is not None) is wanted
