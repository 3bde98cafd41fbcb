"""What can be done when the preferred recovery fails, and what it says to cost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine import bridge, errors
from engine.cli.__main__ import main
from engine.opening import open_read_only_task
from engine.recovery.fallbacks import FallbackKind, offers, salvage_task
from engine.recovery.manager import RecoveryManager
from engine.recovery.saving import salvage_open_task
from engine.types import Outcome

Crash = Callable[..., Path]


@pytest.fixture
def damaged(crashed: Crash) -> Path:
    """A crashed database whose log is damaged after about half of its commits."""
    path = crashed(commits=60)
    segment = min((path / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    facts = bridge.inspect(str(path))
    place = (facts["redo_lsn"] + facts["last_lsn"]) // 2
    content[place : place + 64] = b"\xa5" * 64
    segment.write_bytes(content)
    with pytest.raises(errors.WalCorrupted):
        RecoveryManager(path).run()
    return path


def contents(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in files
        if file.name not in ("LOCK", "recovery.state", "recoveries.jsonl")
    }


def test_each_way_says_what_it_costs_before_it_is_chosen(damaged: Path) -> None:
    before = contents(damaged)
    found = offers(damaged)
    assert [offer.kind for offer in found] == [kind for kind in FallbackKind if kind != FallbackKind.MIRROR]
    assert all(offer.cost for offer in found)
    last_valid = found[0]
    assert last_valid.is_possible
    assert last_valid.figures["lost_bytes"] > 0
    assert last_valid.figures["lost_commits"] > 0
    assert "commits" in last_valid.cost
    assert contents(damaged) == before


def test_a_recovery_up_to_the_last_valid_record_is_rehearsed_then_done(damaged: Path) -> None:
    before = contents(damaged)
    promised = offers(damaged)[0].figures
    manager = RecoveryManager(damaged, fallback="last-valid")
    rehearsal = manager.rehearse()
    assert contents(damaged) == before
    with pytest.raises(errors.RecoveryPlanOutdated):
        RecoveryManager(damaged).run(plan_hash=rehearsal.plan_hash)
    report = manager.run(plan_hash=rehearsal.plan_hash)
    manager.take_store().close()
    assert report.outcome is Outcome.SUCCEEDED
    for told in (rehearsal, report):
        lost = told.lost[0]
        assert lost["what"] == "log"
        assert lost["lost_commits"] == promised["lost_commits"]
    with engine.open(damaged, create=False) as db:
        with db.transaction() as txn:
            keys = list(txn.tree("t"))
        # Whole transactions, in their order, up to the damage.
        commits = len(keys) // 5
        assert keys == [b"%06d-%d" % (number, part) for number in range(commits) for part in range(5)]
        assert 0 < commits < 60
        assert db.check().ok


def test_a_damaged_log_can_be_looked_at_without_changing_anything(damaged: Path) -> None:
    before = contents(damaged)
    with open_read_only_task(damaged).run() as db:
        with db.transaction() as txn:
            assert 0 < len(txn.tree("t")) < 300
        with pytest.raises(errors.HoldfastError), db.transaction() as txn:
            txn.tree("t")[b"new"] = b"x"
        with pytest.raises(errors.DatabaseOpenElsewhere):
            engine.open(damaged)
    assert contents(damaged) == before
    assert not list(damaged.parent.glob(".*rehearsal*"))


def test_a_salvage_puts_what_can_be_read_into_a_new_database(damaged: Path, tmp_path: Path) -> None:
    before = contents(damaged)
    target = tmp_path / "saved.holdfast"
    task = salvage_task(damaged, target)
    report = task.run()
    assert task.outcome is Outcome.WARNINGS
    assert not report.is_complete
    assert report.lost_commits > 0
    saved = {tree.name: tree.records for tree in report.trees}
    assert 0 < saved["t"] < 300
    assert contents(damaged) == before
    with engine.open(target, create=False) as db, db.transaction() as txn:
        assert len(txn.tree("t")) == saved["t"]
    with pytest.raises(errors.TargetNotEmpty):
        salvage_task(damaged, target).run()


def test_a_salvage_works_without_control_file_and_log(crashed: Crash, tmp_path: Path) -> None:
    path = crashed(commits=5)
    with engine.open(path):
        pass
    (path / "control").unlink()
    for segment in (path / "wal").glob("*.wal"):
        segment.unlink()
    report = salvage_task(path, tmp_path / "saved.holdfast").run()
    assert report.without_log
    assert {tree.name: tree.records for tree in report.trees} == {"t": 25, "other": 1}


def test_a_salvage_that_fails_leaves_no_target(tmp_path: Path) -> None:
    path = tmp_path / "nothing.holdfast"
    path.mkdir()
    (path / "database.holdfast").write_bytes(b"\x01" * 20_000)
    with pytest.raises(errors.RecoveryImpossible):
        salvage_task(path, tmp_path / "saved.holdfast").run()
    assert not (tmp_path / "saved.holdfast").exists()


def test_the_command_line_offers_and_carries_out(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recover", str(damaged), "--fallbacks", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["fallbacks"]
    assert [offer["kind"] for offer in told] == ["last-valid", "backup", "read-only", "salvage"]
    assert main(["recover", str(damaged), "--fallbacks"]) == 0
    assert "Costs:" in capsys.readouterr().out
    target = tmp_path / "saved.holdfast"
    assert main(["recover", str(damaged), "--fallback", "salvage", "--to", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False
    assert main(["recover", str(damaged), "--fallback", "last-valid", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recovered"] is True
    assert report["lost"][0]["what"] == "log"


def test_the_command_after_a_rehearsal_does_just_what_was_rehearsed(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recover", str(damaged), "--fallback", "last-valid", "--rehearse"]) == 0
    command = capsys.readouterr().out.strip().splitlines()[-1]
    name, *words = shlex.split(command)
    assert name == "holdfast"
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recovered"] is True
    assert report["lost"][0]["what"] == "log"


def test_a_salvage_of_an_open_database_closes_it_unless_there_is_no_place_for_the_new_one(
    tmp_path: Path,
) -> None:
    path, target = tmp_path / "db.holdfast", tmp_path / "saved.holdfast"
    with engine.open(path) as database:
        with database.transaction() as txn:
            txn.tree("t")[b"k"] = b"v"
        with pytest.raises(errors.TargetNotEmpty):
            salvage_open_task(database, tmp_path).run()
        assert not database.is_closed
        report = salvage_open_task(database, target).run()
        assert report.is_complete
        assert database.is_closed
    for place in (path, target):
        with engine.open(place, create=False) as opened, opened.transaction() as txn:
            assert txn.tree("t")[b"k"] == b"v"
