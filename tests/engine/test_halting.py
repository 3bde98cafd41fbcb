"""`corruption_action = "halt"`: damage that could not be repaired stops all changes, whoever finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine
from engine import errors
from engine.config import Config
from engine.database import Database
from engine.integrity.plan import Elsewhere, plan_task
from engine.integrity.repair import repair_task
from engine.integrity.scrubber import scrub_task
from tests.engine.test_findings import INDEX, PLAIN, harbour, spoil, told

HALT = Config().changed(corruption_action="halt", segment_size="1 MiB")


def write(db: Database) -> None:
    with db.transaction() as txn:
        txn.tree("other")[b"k"] = b"v"


def assert_halted(db: Database) -> None:
    assert db.status().is_halted
    with pytest.raises(errors.WritesHalted) as raised:
        write(db)
    assert "could not be repaired" in raised.value.message
    with db.transaction() as txn:
        assert txn.tree("plain", create=False)[b"000000"] == b"v" * 100


def assert_written(db: Database) -> None:
    assert not db.status().is_halted
    write(db)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, PLAIN)
    return path


def test_damage_that_a_check_finds_stops_all_changes_until_the_finding_is_closed(damaged: Path) -> None:
    kinds: list[str] = []
    with engine.open(damaged, create=False, config=HALT) as db:
        db.events.subscribe(lambda event: kinds.append(event.kind))
        assert_written(db)
        assert not db.check().ok
        assert_halted(db)
        (found,) = db.integrity.findings()
        db.integrity.dismiss(found.id, "closed by hand")
        assert_written(db)
        db.events.drain()
    assert [kind for kind in kinds if kind.startswith("writes")] == ["writes_halted", "writes_resumed"]


def test_damage_that_the_scrubber_finds_stops_all_changes(damaged: Path) -> None:
    with engine.open(damaged, create=False, config=HALT) as db:
        scrub_task(db).run()
        assert_halted(db)
        db.integrity.dismiss(db.integrity.findings()[0].id, "closed by hand")
        assert_written(db)


def test_damage_that_a_read_meets_stops_all_changes_until_the_finding_is_closed(damaged: Path) -> None:
    with engine.open(damaged, create=False, config=HALT) as db:
        with pytest.raises(errors.ChecksumMismatch), db.transaction() as txn:
            list(txn.tree("plain").items())
        assert_halted(db)
        told(lambda: db.integrity.findings())
        db.integrity.dismiss(db.integrity.findings()[0].id, "closed by hand")
        told(lambda: not db.status().is_halted)
        assert_written(db)


def test_what_was_changed_before_the_damage_was_found_is_rolled_back(damaged: Path) -> None:
    with engine.open(damaged, create=False, config=HALT) as db:
        txn = db.begin()
        txn.tree("other")[b"before"] = b"v"
        db.check()
        with pytest.raises(errors.WritesHalted):
            txn.commit()
        assert txn.status == "aborted"
        db.integrity.dismiss(db.integrity.findings()[0].id, "closed by hand")
        with db.transaction() as txn:
            assert b"before" not in txn.tree("other")


def test_changes_stay_stopped_when_the_database_is_opened_again(damaged: Path) -> None:
    with engine.open(damaged, create=False, config=HALT) as db:
        db.check()
    with engine.open(damaged, create=False, config=HALT) as db:
        assert_halted(db)
    with engine.open(
        damaged, create=False, config=HALT.changed(corruption_action="isolate_and_repair")
    ) as db:
        assert_written(db)


def test_a_repair_works_while_changes_are_stopped_and_has_them_taken_again(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    with engine.open(path, create=False, config=HALT) as db:
        db.backups.full_task(tmp_path / "backups").run()
    spoil(path, PLAIN)
    with engine.open(path, create=False, config=HALT) as db:
        db.check()
        assert_halted(db)
        plan = plan_task(db, Elsewhere((tmp_path / "backups",))).run()
        assert [remedy.source for remedy in plan.remedies] == ["backup"]
        assert repair_task(db, plan).run().check.ok
        assert_written(db)


def test_damage_that_the_log_reaches_stops_nothing(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast", forget_log=False)
    spoil(path, PLAIN)
    with engine.open(path, create=False, config=HALT.changed(segment_size=Config().segment_size)) as db:
        assert not db.check().ok
        assert_written(db)


def test_an_index_that_nothing_reaches_stops_changes_and_its_rebuilding_frees_them(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, INDEX)
    with engine.open(path, create=False, config=HALT) as db:
        db.check()
        assert_halted(db)
        report = repair_task(db, plan_task(db).run()).run()
        assert [new.index for new in report.rebuilt] == ["ships_name"]
        assert_written(db)
