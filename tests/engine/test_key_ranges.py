"""Which keys damage keeps out of reach: told to programs and to whoever asks, in no text that may be kept."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.database import Database
from engine.integrity import findings as kept
from engine.integrity.extent import extent_at_once, extent_task
from engine.integrity.findings import Checker, Finding, Priority
from tests.engine.test_findings import INDEX, PLAIN, ROWS, TABLE, harbour, leaves, spoil, told


def read_error(db: Database, name: str, *, is_table: bool) -> errors.HoldfastError:
    """The error of a read of the whole tree or table."""
    with pytest.raises(errors.ChecksumMismatch) as raised, db.transaction() as txn:
        list(txn.table(name).rows() if is_table else txn.tree(name).items())
    return raised.value


def found_by_a_read(db: Database) -> Finding:
    told(lambda: db.integrity.findings())
    (found,) = db.integrity.findings()
    return found


def test_a_read_of_damage_tells_a_program_page_tree_and_keys(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        error = read_error(db, "plain", is_table=False)
        assert (error.fields["page_id"], error.fields["tree"]) == (page, "plain")
        keys = error.key_range
        assert keys is not None
        assert keys.low is not None
        assert keys.high is not None
        with db.transaction() as txn:
            tree = txn.tree("plain")
            before, after = list(tree.keys(stop=keys.low)), list(tree.keys(keys.high))
            assert before[-1] < keys.low < keys.high <= after[0]
            with pytest.raises(errors.ChecksumMismatch):
                list(tree.keys(keys.low, keys.high))
        assert pickle.loads(pickle.dumps(error)).key_range == keys


def test_no_text_of_the_error_and_nothing_that_is_kept_holds_the_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, PLAIN)
    caplog.set_level(logging.DEBUG)
    with engine.open(path, create=False) as db:
        error = read_error(db, "plain", is_table=False)
        found = found_by_a_read(db)
        assert extent_at_once(db, found) is not None
        logging.getLogger("somebody").warning("%s %r %s", error, error, vars(error), exc_info=error)
        events = repr(db.events.recent(1000))
    assert main(["scan", str(path), "plain", "--limit", "2000", "--json"]) == 3
    printed = capsys.readouterr().out
    keys = error.key_range
    assert keys is not None
    texts = [
        str(error),
        repr(error),
        error.to_json(),
        repr(vars(error)),
        error.as_card().to_text(),
        repr(keys),
    ]
    kept_files = [file.read_bytes().decode("latin-1") for file in path.glob("*.json")]
    assert kept_files
    failed = json.loads(printed.splitlines()[-1])["error"]
    for key in (keys.low, keys.high):
        assert key is not None
        word = key.decode()
        assert len(word) > 3, "a bound that short is in texts by chance"
        for text in (*texts, *kept_files, events, caplog.text, json.dumps(failed)):
            assert word not in text


def test_a_finding_of_a_read_has_its_tree_and_about_how_many_rows_at_once(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, TABLE)
    with engine.open(path, create=False) as db:
        read_error(db, "ships", is_table=True)
        found = found_by_a_read(db)
        assert (found.page, found.tree, found.checker) == (page, "ships", Checker.READ)
        assert (found.priority, found.is_estimate) == (Priority.P0, True)
        near, exact = extent_at_once(db, found), extent_task(db, found).run()
        assert near is not None
        assert exact is not None
        assert near.range_words == exact.range_words
        assert near.range_words == f"after id {exact.before - 1}, before id {exact.before + exact.unreadable}"
        assert found.rows == near.unreadable
        assert exact.unreadable / 2 < near.unreadable < exact.unreadable * 2
        (counted,) = db.integrity.findings()
        assert (counted.rows, counted.is_estimate) == (exact.unreadable, False)


def test_a_finding_of_a_read_of_an_index_is_one_of_an_index(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, INDEX)
    with engine.open(path, create=False) as db:
        with pytest.raises(errors.ChecksumMismatch), db.transaction() as txn:
            txn.table("ships").skip(ROWS, index="ships_name")
        found = found_by_a_read(db)
        assert (found.tree, found.table, found.priority) == ("ships_name", "ships", Priority.P2)
        assert (found.rows, extent_at_once(db, found)) == (None, None)


def test_damage_at_the_ends_and_beside_other_damage_is_told(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    pages = leaves(path)[TABLE]
    with (path / "database.holdfast").open("r+b") as file:
        for page in (pages[0], pages[5], pages[6]):
            file.seek(page * 8192 + 300)
            file.write(b"what a disk made up!")
    with engine.open(path, create=False) as db:
        db.check()
        words = {}
        for finding in db.integrity.findings():
            extent = extent_at_once(db, finding)
            assert extent is not None
            words[finding.page] = extent.range_words
        assert words[pages[0]].startswith("from the first key, before id ")
        assert words[pages[5]].endswith("before other damage")
        assert words[pages[6]].startswith("after other damage, before id ")


def test_a_list_that_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        db.check()
    file = path / kept.FILE_NAME
    raw = json.loads(file.read_text())
    for finding in raw["findings"]:
        del finding["is_estimate"]
    file.write_text(json.dumps(raw))
    ledger = kept.load(path)
    assert (len(ledger.findings), ledger.note) == (1, "")


def test_the_command_line_lists_findings_with_their_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, TABLE)
    with engine.open(path, create=False) as db:
        read_error(db, "ships", is_table=True)
        found_by_a_read(db)
    assert main(["findings", str(path)]) == 1
    line = capsys.readouterr().out.splitlines()[2]
    assert "about " in line
    assert "after id " in line
