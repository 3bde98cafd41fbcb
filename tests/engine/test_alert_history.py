"""The alerts over restarts: kept, put aside where they are damaged, never in the way of a database."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.alerts.alert import (
    AlertType,
)
from engine.alerts.board import Board
from engine.alerts.history import FILE_NAME, MOST_CLEARED, Ledger
from tests.engine.alert_watch import DAY, MIN, START, Watch, wrong


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_alerts_answers_and_levels_outlive_the_program(watch: Watch) -> None:
    watch.board.see([wrong(), wrong("low_disk"), wrong("handles")])
    watch.clocks.pass_by(20 * MIN)
    watch.board.see([wrong(), wrong("low_disk"), wrong("handles")])
    watch.board.acknowledge(2, "kim")
    watch.board.silence(3, DAY)
    watch.board.silence_type(AlertType.LONG_TRANSACTION, DAY)
    before, silences = watch.board.alerts(), watch.board.silences()
    watch.told()
    watch.again()
    assert (watch.board.alerts(), watch.board.silences()) == (before, silences)
    # A year of a closed database is no year that somebody let it wait.
    watch.clocks.pass_by(60.0)
    watch.board.see([wrong(), wrong("low_disk"), wrong("handles")])
    assert watch.told() == []
    assert next(alert for alert in watch.board.alerts() if alert.id == 1).level == 1


def test_nothing_is_written_while_there_is_nothing_to_keep(watch: Watch) -> None:
    watch.board.see([])
    assert watch.board.alerts() == ()
    assert list(watch.directory.iterdir()) == []


def test_an_answer_of_another_program_counts(watch: Watch) -> None:
    watch.board.see([wrong()])
    Board(watch.directory).acknowledge(1, "kim")
    watch.clocks.pass_by(DAY)
    watch.board.see([wrong()])
    assert (watch.only().acknowledged_by, watch.only().level) == ("kim", 0)


def test_cleared_alerts_are_forgotten_after_their_time_and_no_number_is_given_twice(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.see([wrong("low_disk")])
    watch.board.see([])
    watch.clocks.pass_by(7 * DAY + 1)
    watch.board.see([])
    assert [alert.id for alert in watch.board.alerts(cleared=True)] == [2]
    watch.board.see([wrong("handles")])
    assert watch.only().id == 3


def test_of_cleared_alerts_only_so_many_are_kept(watch: Watch) -> None:
    watch.board.see([wrong()])
    one, kept = watch.only(), Ledger()
    for number in range(1, MOST_CLEARED + 51):
        kept.put(replace(one, id=number, cleared_at=START + number))
    kept.prune(0.0)
    assert sorted(kept.alerts) == list(range(51, MOST_CLEARED + 51))


# The file


def test_a_damaged_history_is_put_aside_and_begun_anew(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    file = watch.directory / FILE_NAME
    file.write_bytes(b"what a failing disk made up" * 400)
    with caplog.at_level(logging.WARNING, "engine.alerts"):
        watch.board.see([wrong()])
    assert watch.only().id == 1
    assert any("begun anew" in record.getMessage() for record in caplog.records)
    (aside,) = watch.directory.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes().startswith(b"what a failing disk")
    watch.again()
    assert watch.only().id == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        "UPDATE alerts SET severity = 'purple'",
        "UPDATE alerts SET raised_at = 'yesterday'",
        "UPDATE alerts SET summary = x'00ff'",
        "DROP TABLE alerts",
        "PRAGMA user_version = 99",
        "INSERT INTO silences VALUES ('nothing', 0, 1)",
    ],
)
def test_a_history_that_holds_what_nobody_wrote_is_put_aside(watch: Watch, spoiled: str) -> None:
    watch.board.see([wrong()])
    with closing(sqlite3.connect(watch.directory / FILE_NAME)) as connection:
        connection.execute(spoiled)
        connection.commit()
    watch.again().see([wrong()])
    assert watch.only().key == "no_proved_backup"
    assert len(list(watch.directory.glob(f"{FILE_NAME}.damaged-*"))) == 1
    assert "begun anew" in watch.board.history.note


KILLED_WHILE_WRITING = """
    import os, sqlite3, sys

    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    for number in range(200):
        connection.execute("INSERT INTO silences VALUES (?, 0, 1)", (f"{number}" + "x" * 5000,))
    connection.execute("DELETE FROM alerts")
    os._exit(9)
"""


def test_a_program_that_is_killed_while_it_writes_leaves_the_history_as_it_was(watch: Watch) -> None:
    watch.board.see([wrong()])
    before = watch.board.alerts()
    file = watch.directory / FILE_NAME
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_WHILE_WRITING), str(file)], check=False)
    assert file.with_name(f"{FILE_NAME}-journal").stat().st_size > 0
    watch.again()
    assert (watch.board.alerts(), watch.board.history.note) == (before, "")


def test_a_history_that_was_made_and_never_written_is_no_damage(watch: Watch) -> None:
    (watch.directory / FILE_NAME).touch()
    watch.board.see([wrong()])
    assert (watch.only().id, watch.board.history.note) == (1, "")


def test_where_nothing_can_be_written_alerts_stay_in_memory_until_it_can(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    watch = Watch(gone)
    watch.board.see([wrong()])
    watch.board.acknowledge(1, "kim")
    assert watch.only().acknowledged_by == "kim"
    assert "could not be written" in watch.board.history.note
    gone.mkdir()
    watch.board.see([wrong()])
    watch.again()
    assert watch.only().acknowledged_by == "kim"


def test_of_a_database_that_may_not_be_changed_nothing_is_kept(tmp_path: Path) -> None:
    Watch(tmp_path).board.see([wrong()])
    before = (tmp_path / FILE_NAME).read_bytes()
    watch = Watch(tmp_path, may_write=False)
    watch.board.see([wrong(), wrong("low_disk")])
    watch.board.acknowledge(1, "kim")
    assert {(a.id, a.acknowledged_by) for a in watch.board.alerts()} == {(1, "kim"), (2, "")}
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [FILE_NAME]


def test_a_history_that_another_program_holds_is_not_written_over(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.alerts.history._BUSY_S", 0.05)
    watch.board.see([wrong()])
    with closing(sqlite3.connect(watch.directory / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        watch.board.see([wrong(), wrong("low_disk")])
    watch.again().see([wrong(), wrong("low_disk")])
    assert {(alert.id, alert.key) for alert in watch.board.alerts()} == {
        (1, "no_proved_backup"),
        (2, "low_disk"),
    }
    assert not list(watch.directory.glob("*damaged*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_history_is_private_to_its_owner(watch: Watch) -> None:
    watch.board.see([wrong()])
    assert (watch.directory / FILE_NAME).stat().st_mode & 0o077 == 0
