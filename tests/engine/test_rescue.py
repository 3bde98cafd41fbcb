"""The past beside the present: what differs, and putting rows or tables back in one transaction."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.past import Past, difference_task, differing_rows, past_task, rows_then
from engine.backups.point import AT_BACKUP, at_lsn
from engine.backups.rescue import Choice, Conflicts, rescue_preview_task, rescue_task
from engine.config import Config
from engine.database import Database
from engine.tasks import TaskProgress

ROOT = Path(engine.__file__).resolve().parent.parent
SCHEMA: dict[str, Any] = {
    "name": "people",
    "columns": [{"name": "id", "type": "integer"}, {"name": "name", "type": "text", "not_null": True}],
    "primary_key": ["id"],
    "indexes": [{"name": "by_name", "columns": ["name"], "unique": True}],
}
PEOPLE = [(i, f"name {i}") for i in range(10)]


@pytest.fixture
def lived(tmp_path: Path, config: Config) -> Iterator[Database]:
    """Ten people and a tree are in a backup; then two go, one is renamed, one comes, a table goes."""
    settings = config.changed(archive_log=True, backup_folder=str(tmp_path / "chain"))
    with engine.open(tmp_path / "lived.holdfast", config=settings) as opened:
        with opened.transaction() as txn:
            txn.create_table(json.dumps(SCHEMA)).insert_many(PEOPLE)
            words = {**SCHEMA, "name": "words", "primary_key": [], "indexes": []}
            txn.create_table(json.dumps(words)).insert_many([(1, "one"), (2, "two")])
            txn.tree("settings").update({b"a": b"1", b"b": b"2"})
        opened.backups.full_task(tmp_path / "chain").run()
        with opened.transaction() as txn:
            people = txn.table("people")
            people.delete(3)
            people.delete(4)
            people.update(5, {"name": "renamed"})
            people.insert((20, "new"))
            txn.drop_table("words")
            txn.tree("settings")[b"a"] = b"changed"
        yield opened
        if not opened.is_closed:
            report = opened.check()
            assert report.ok, report.problems


@contextmanager
def past_of(database: Database) -> Iterator[Past]:
    with past_task(database.keeper.folder, AT_BACKUP, scratch=database.path.parent).run() as past:
        yield past
    assert not list(database.path.parent.glob(".holdfast-past-*")), "the scratch folder goes"


def commits(database: Database) -> int:
    return sum(entry["op"] == "Commit" for entry in database.store.read_log(0, 100_000))


def people(database: Database, name: str = "people") -> list[tuple[Any, ...]]:
    with database.transaction(read_only=True) as txn:
        return list(txn.table(name).rows())


def test_the_difference_is_counted_by_table_and_shown_by_row(lived: Database) -> None:
    before = commits(lived)
    with past_of(lived) as past:
        found = {table.name: table for table in difference_task(past, lived).run()}
        rows = differing_rows(past, lived, "people").rows
        assert [(row.key, row.kind) for row in rows] == [
            ((3,), "removed"),
            ((4,), "removed"),
            ((5,), "changed"),
            ((20,), "added"),
        ]
        assert (rows[2].then, rows[2].now) == ((5, "name 5"), (5, "renamed"))
        gone = differing_rows(past, lived, "words")
        assert [row.then for row in gone.rows] == [(1, "one"), (2, "two")]
        first = differing_rows(past, lived, "people", limit=3)
        rest = differing_rows(past, lived, "people", first.after, limit=3)
        assert (*first.rows, *rest.rows) == rows
        assert rest.after is None
        whole = rows_then(past, lived, "people").rows
        assert [row.then for row in whole] == PEOPLE
        assert [row.kind for row in whole[2:6]] == ["same", "removed", "removed", "changed"]
        first = rows_then(past, lived, "people", limit=4)
        assert (*first.rows, *rows_then(past, lived, "people", first.after).rows) == whole
        assert [row.kind for row in rows_then(past, lived, "settings").rows] == ["changed", "same"]
        tree = differing_rows(past, lived, "settings").rows
        assert [(row.key, row.then, row.now) for row in tree] == [((b"a",), (b"1",), (b"changed",))]
    counts = found["people"]
    assert (counts.then, counts.now, counts.added, counts.changed, counts.removed) == (10, 9, 1, 1, 2)
    assert (found["words"].then, found["words"].now) == (2, None)
    assert found["settings"].changed == 1
    assert commits(lived) == before, "nothing is written"


def test_missing_rows_come_back_and_the_rest_stays(lived: Database) -> None:
    with past_of(lived) as past:
        told = rescue_preview_task(past, lived, [Choice("people")]).run()
        done = rescue_task(past, lived, [Choice("people")]).run()
    assert done.tables == told
    assert (told[0].put_back, told[0].overwritten, told[0].kept) == (2, 0, 1)
    assert [row for row in people(lived) if row[0] in (3, 4, 5, 20)] == [
        (3, "name 3"),
        (4, "name 4"),
        (5, "renamed"),
        (20, "new"),
    ]


def test_a_whole_database_becomes_what_it_was_in_one_commit_and_can_be_gone_back_on(lived: Database) -> None:
    now = people(lived)
    committed = commits(lived)
    names = ["people", "words", "settings"]
    with past_of(lived) as past:
        done = rescue_task(past, lived, [Choice(name) for name in names], Conflicts.EXACT).run()
        left = difference_task(past, lived).run()
    assert all(table.is_same for table in left), left
    assert people(lived) == PEOPLE
    assert [table.is_new for table in done.tables] == [False, True, False]
    assert commits(lived) == committed + 1
    # And back again, from the moment before it.
    with past_task(lived.keeper.folder, at_lsn(done.before.lsn), [lived.path]).run() as before:
        rescue_task(before, lived, [Choice("people")], Conflicts.EXACT).run()
    assert people(lived) == now


def test_chosen_rows_come_back_alone_and_a_table_may_go_beside_its_own(lived: Database) -> None:
    with past_of(lived) as past:
        rows = {row.key[0]: row.key_bytes for row in differing_rows(past, lived, "people").rows}
        choice = Choice("people", (rows[3], rows[5], rows[20]))
        told = rescue_preview_task(past, lived, [choice], Conflicts.OVERWRITE).run()
        done = rescue_task(past, lived, [choice], Conflicts.OVERWRITE).run()
        assert done.tables == told
        beside = rescue_task(past, lived, [Choice("people", into="people then")]).run()
    assert (told[0].put_back, told[0].overwritten, told[0].removed) == (1, 1, 0)
    ids = [row[0] for row in people(lived)]
    assert 3 in ids
    assert 4 not in ids
    assert 20 in ids
    assert beside.tables[0].is_new
    assert people(lived, "people then") == PEOPLE


def test_a_unique_value_taken_by_somebody_else_ends_it_and_nothing_is_changed(lived: Database) -> None:
    with lived.transaction() as txn:
        txn.table("people").insert((30, "name 3"))
    before = people(lived)
    with past_of(lived) as past:
        with pytest.raises(errors.UniqueViolation):
            rescue_task(past, lived, [Choice("settings"), Choice("people")], Conflicts.OVERWRITE).run()
        assert people(lived) == before
        with lived.transaction(read_only=True) as txn:
            assert txn.tree("settings")[b"a"] == b"changed", "all or nothing, across tables"
        assert lived.points.all() == (), "no moment is left of what did not happen"
        # As a whole, the row in the way goes too.
        rescue_task(past, lived, [Choice("people")], Conflicts.EXACT).run()
    assert people(lived) == PEOPLE


def test_a_table_with_other_columns_is_told_and_can_be_rescued_beside(lived: Database) -> None:
    with lived.transaction() as txn:
        other = {**SCHEMA["columns"][1], "not_null": False}
        txn.drop_table("people")
        txn.create_table(json.dumps({**SCHEMA, "columns": [SCHEMA["columns"][0], other]}))
    with past_of(lived) as past:
        found = {table.name: table for table in difference_task(past, lived).run()}
        assert found["people"].problem
        with pytest.raises(errors.SchemaInvalid):
            rescue_task(past, lived, [Choice("people")]).run()
        rescue_task(past, lived, [Choice("people", into="people then")]).run()
    assert people(lived, "people then") == PEOPLE


def test_a_rescue_that_is_cancelled_changes_nothing(lived: Database) -> None:
    before = people(lived)
    with past_of(lived) as past:
        task = rescue_task(past, lived, [Choice("people")], Conflicts.EXACT)

        def stop(progress: TaskProgress) -> None:
            if progress.stage == "Putting rows back":
                task.cancel()

        task.observe(stop)
        with pytest.raises(errors.Cancelled):
            task.run()
    assert people(lived) == before
    assert lived.points.all() == ()


def test_somebody_elses_change_meanwhile_is_not_overwritten_unseen(lived: Database) -> None:
    with past_of(lived) as past:
        other = lived.begin()
        other.table("people").update(5, {"name": "in the middle of it"})
        task = rescue_task(past, lived, [Choice("people")], Conflicts.OVERWRITE)
        task.start()
        other.commit()
        try:
            task.wait(30)
        except errors.WriteConflict:
            assert (5, "in the middle of it") in people(lived)
        else:
            assert (5, "name 5") in people(lived)


def test_choices_that_make_no_sense_are_refused_at_once(lived: Database) -> None:
    with past_of(lived) as past:
        for choices in ([], [Choice("people"), Choice("people")], [Choice("people", into="settings")]):
            with pytest.raises(errors.InvalidArgument):
                rescue_task(past, lived, choices)
        with pytest.raises(errors.TableNotFound):
            rescue_task(past, lived, [Choice("nobody")])


def test_the_command_line_marks_compares_and_rescues(lived: Database) -> None:
    def holdfast(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "engine.cli", *map(str, arguments), "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=100, encoding="utf-8", check=False
        )
        assert done.returncode == status, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    path, chain = lived.path, lived.keeper.folder
    now = people(lived)
    lived.close()
    point = holdfast("mark", path, "as it is", "--note", "a word")["marked"]
    assert holdfast("mark", path)["named"][0]["note"] == "a word"
    line = holdfast("timeline", path, "--backups", chain, "--commits")
    assert line["reachable_commits"] == line["newest"][-1]["txn"] * 0 + 1
    assert line["named"][0]["name"] == "as it is"
    told = holdfast("restore", chain, path.with_name("no.holdfast"), "--to-name", "as it is", "--preview")
    assert told["lsn"] == point["lsn"]
    to = ("--backups", chain, "--to-lsn", line["backups"][0]["end_lsn"])
    told = holdfast("difference", path, *to)["tables"]
    assert next(table for table in told if table["name"] == "people")["removed"] == 2
    rescue = ("rescue", path, *to, "--table", "people")
    assert holdfast(*rescue, "--key", "3", "--preview")["tables"][0]["put_back"] == 1
    assert holdfast(*rescue, "--key", "77", status=3)["error"]["code"] == -2
    assert holdfast(*rescue, "--conflicts", "exact")["tables"][0]["removed"] == 1
    back = ("rescue", path, "--backups", chain, "--to-name", point["name"], "--table", "people")
    assert holdfast(*back, "--conflicts", "exact")["rescued"]
    with engine.open(path, create=False) as database:
        assert people(database) == now
