"""The scrubber: finds damage by itself, keeps where it was, gives way, and does what the settings say."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.database import Database
from engine.hours import Hours
from engine.integrity.findings import Checker
from engine.integrity.scrubber import Pace, Scrubber, ScrubState, scrub_task

PAGE = 8192
FAST = {"scrub_rate": 20_000}


def filled(path: Path, *, forget_log: bool = True) -> Path:
    config = Config().changed(segment_size="1 MiB") if forget_log else Config()
    with engine.open(path, config=config) as db:
        with db.transaction() as txn:
            tree = txn.tree("t")
            for i in range(3000):
                tree[b"%06d" % i] = b"v" * 100
        if forget_log:
            for _ in range(3):
                db.store.rotate_log()
                db.checkpoint()
    return path


def write_into(path: Path, page: int, content: bytes = b"what a disk made up!", at: int = 300) -> None:
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + at)
        file.write(content)


def opened(path: Path, **settings: object) -> Database:
    return engine.open(path, create=False, config=Config().changed(**{**FAST, **settings}))


def test_damage_that_nobody_reads_is_found_and_told_once(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    write_into(path, 12)
    with opened(path) as db:
        note = scrub_task(db).run()
        assert (note.rounds, note.found, note.last_round_pages) == (1, 1, db.status().pages)
        (found,) = db.integrity.findings()
        assert (found.page, found.checker) == (12, Checker.SCRUBBER)
        assert scrub_task(db).run().found == 1
        assert len(db.integrity.findings()) == 1
    with opened(path) as db:
        assert db.integrity.scrubbed.rounds == 2
        assert db.integrity.scrubber.progress().note.rounds == 2


def test_damage_that_the_log_reaches_is_repaired_without_anybody_reading_it(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast", forget_log=False)
    write_into(path, 12)
    with opened(path) as db:
        scrub_task(db).run()
        assert db.integrity.findings() == ()
        (loss,) = db.integrity.losses
        assert (loss.lost, loss.verified) == ("nothing", True)
        assert (path / loss.kept).exists()
        assert db.store.page_info(12)["ok"]
        assert db.check().ok


def test_a_page_that_was_lost_in_zeros_is_found_and_free_pages_are_not(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    with opened(path) as db:
        assert scrub_task(db).run().found == 0
    write_into(path, 12, bytes(PAGE), at=0)
    with opened(path) as db:
        scrub_task(db).run()
        assert [finding.page for finding in db.integrity.findings()] == [12]


def test_rubbish_on_a_free_page_is_no_damage(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    with opened(path) as db:
        free = next(p for p in range(2, db.status().pages) if not db.store.page_info(p)["ok"])
    write_into(path, free, b"nobody needs this page", at=0)
    with opened(path) as db:
        scrub_task(db).run()
        assert db.integrity.findings() == ()
        assert db.check().ok


def test_damage_is_only_told_where_the_setting_says_report(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast", forget_log=False)
    write_into(path, 12)
    with opened(path, corruption_action="report") as db:
        scrub_task(db).run()
        assert len(db.integrity.findings()) == 1
        assert not db.store.page_info(12)["ok"]


def test_damage_that_cannot_be_repaired_stops_changes_where_the_setting_says_halt(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    write_into(path, 12)
    with opened(path, corruption_action="halt") as db:
        scrub_task(db).run()
        with pytest.raises(errors.WritesHalted), db.transaction() as txn:
            txn.tree("t")[b"new"] = b"value"
        with db.transaction(read_only=True) as txn:
            assert txn.tree("t", create=False)[b"000000"] == b"v" * 100


def test_a_round_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    with opened(path, scrub_rate=100, scrub_cover_within="1 h") as db:
        reached = threading.Event()
        task = scrub_task(db)
        task.observe(lambda progress: reached.set() if progress.done >= 10 else None)
        task.start()
        assert reached.wait(20)
        task.cancel()
        with pytest.raises(errors.Cancelled):
            task.wait(20)
    with opened(path) as db:
        began_at = db.integrity.scrubbed.next_page
        assert 10 <= began_at < db.status().pages
        assert db.integrity.scrubbed.rounds == 0
        assert scrub_task(db).run().rounds == 1


def test_a_paused_scrubber_reads_nothing_and_a_closed_one_leaves_no_thread(tmp_path: Path) -> None:
    with opened(filled(tmp_path / "d.holdfast")) as db:
        scrubber = db.integrity.scrubber
        scrubber.pause()
        for _ in range(200):
            if scrubber.progress().state is ScrubState.PAUSED:
                break
            time.sleep(0.01)
        assert scrubber.progress().state is ScrubState.PAUSED
        assert db.integrity.scrubbed.rounds == 0
    assert not any(thread.name == "holdfast-scrubber" for thread in threading.enumerate())
    assert scrubber.progress().state is ScrubState.OFF


def test_it_stays_off_where_the_settings_say_so_and_runs_when_asked(tmp_path: Path) -> None:
    with opened(filled(tmp_path / "d.holdfast"), enable_continuous_validation=False) as db:
        assert db.integrity.scrubber.progress().state is ScrubState.OFF
        assert scrub_task(db).run().rounds == 1


def test_in_a_read_only_database_it_tells_and_repairs_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast", forget_log=False)
    write_into(path, 12)
    with engine.open(path, create=False, read_only=True, config=Config().changed(**FAST)) as db:
        scrub_task(db).run()
        assert [finding.page for finding in db.integrity.findings()] == [12]
        assert not db.store.page_info(12)["ok"]


def test_a_verb_of_the_command_line_is_not_joined_by_the_scrubber(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "d.holdfast")
    paused: list[str] = []
    monkeypatch.setattr(Scrubber, "pause", lambda _self: paused.append("paused"))
    assert main(["check", str(path)]) == 0
    assert main(["repair", str(path), "--plan"]) == 0
    assert main(["findings", str(path)]) == 0
    assert len(paused) == 3


def test_the_pace_covers_the_database_in_time_and_steps_back_under_load(database: Database) -> None:
    quiet = database.status()
    pace = Pace(100, 300)
    large = replace(quiet, pages=300_000)
    assert pace.rate(large) == 1000
    assert not pace.is_stepping_back
    committed = replace(large.transactions, committed=large.transactions.committed + 1000)
    busy = replace(large, at=large.at + 1, transactions=committed)
    assert pace.rate(busy) == 100
    assert pace.is_stepping_back
    assert pace.rate(replace(busy, at=busy.at + 1, waiters=1)) == 25
    assert pace.rate(replace(busy, at=busy.at + 2)) == 1000


def test_it_waits_for_the_end_of_its_pause_and_for_its_hours(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    with opened(path) as db:
        scrub_task(db).run()
    with opened(path, scrub_pause="1 h") as db:
        wait = db.integrity.scrubber._until_due()
        assert 3500 < wait <= 3600
    with opened(path, scrub_pause="0 s") as db:
        assert db.integrity.scrubber._until_due() == 0


@pytest.mark.parametrize(
    ("hours", "at", "wait_min"),
    [
        ("always", "12:00", 0),
        ("22:00-06:00", "23:30", 0),
        ("22:00-06:00", "05:59", 0),
        ("22:00-06:00", "06:00", 16 * 60),
        ("9:00 - 17:00", "08:15", 45),
        ("9:00-17:00", "17:00", 16 * 60),
    ],
)
def test_hours_of_the_day_may_pass_midnight(hours: str, at: str, wait_min: int) -> None:
    moment = datetime.strptime(f"2026-03-05 {at}", "%Y-%m-%d %H:%M").timestamp()
    assert Hours.parse(hours).wait_s(moment) == wait_min * 60


@pytest.mark.parametrize("hours", ["", "never", "25:00-06:00", "22-06", "22:00-06:61"])
def test_hours_that_cannot_be_read_are_refused_with_their_fix(hours: str) -> None:
    with pytest.raises(errors.ConfigInvalid) as caught:
        Config().changed(scrub_hours=hours)
    assert "22:00-06:00" in str(caught.value.fields["fix"])


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = filled(tmp_path / "d.holdfast")
    write_into(path, 12)
    (path / "reliability.toml").write_text("scrub_rate = 20000\n")
    return path


def test_the_command_line_lets_it_cover_the_database_once(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", str(damaged), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["scrub"]["rounds"] == 1
    assert [finding["page"] for finding in told["findings"]] == [12]
