"""Tables, and what is imported into and exported from them."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine import errors
from engine.data.exporting import ExportKind, export_kind
from engine.data.importing import plan_import
from engine.database import Database

PEOPLE = [(1, "Ada", 1.5, b"\x00\xff"), (2, 'Bo, "the"\nbold', None, None), (3, "", -0.25, b"")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A SQLite database with two tables, a composite key, and two indexes."""
    path = tmp_path / "source.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, score REAL, photo BLOB);
            CREATE UNIQUE INDEX people_name ON people (name);
            CREATE TABLE visits (place TEXT, day INTEGER, note TEXT, PRIMARY KEY (place, day)) WITHOUT ROWID;
            CREATE INDEX visits_day ON visits (day);
            """
        )
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", PEOPLE)
        connection.executemany(
            "INSERT INTO visits VALUES (?, ?, ?)", [("Oslo", day, f"day {day}") for day in range(100)]
        )
        connection.commit()
    return path


def rows_of(path: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def test_a_sqlite_database_comes_in_and_goes_out_the_same(
    database: Database, source: Path, tmp_path: Path
) -> None:
    before = source.read_bytes()
    result = database.tables.import_task(plan_import(source)).run()
    assert dict(result.tables) == {"people": 3, "visits": 100}
    assert source.read_bytes() == before
    people, visits = database.tables.list()
    assert people.primary_key == ("id",)
    assert [(index.name, index.unique) for index in people.indexes] == [("people_name", True)]
    assert visits.primary_key == ("place", "day")
    assert [column.declared.upper() for column in people.columns] == ["INTEGER", "TEXT", "REAL", "BLOB"]
    target = tmp_path / "target.sqlite"
    exported = database.tables.export_task(target).run()
    assert exported.rows == 103
    for table in ("people", "visits"):
        assert rows_of(target, table) == rows_of(source, table)
    with closing(sqlite3.connect(target)) as connection:
        indexes = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    assert {"people_name", "visits_day"} <= {name for (name,) in indexes}


def test_one_table_can_be_taken_under_another_name(database: Database, source: Path) -> None:
    plan = plan_import(source)
    plan.only("people", "friends")
    database.tables.import_task(plan).run()
    assert database.tables.names() == ["friends"]
    with database.transaction() as txn:
        assert txn.table("friends").get(1) == PEOPLE[0]
    with pytest.raises(errors.TableNotFound):
        plan.only("nobody")


def test_a_csv_file_is_guessed_and_what_was_guessed_can_be_changed(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "cities.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["name", "people", "area"])
        writer.writerows([["Ålesund", 67_000, 607.5], ["Bodø", 53_000, 1395.0]])
    plan = plan_import(path)
    assert (plan.kind, plan.delimiter, plan.header) == ("csv", ";", True)
    (table,) = plan.tables
    assert [(column.name, column.type) for column in table.columns] == [
        ("name", "text"),
        ("people", "integer"),
        ("area", "real"),
    ]
    table.target = "cities"
    table.columns[1].type = "text"
    table.primary_key = ["name"]
    database.tables.import_task(plan).run()
    with database.transaction() as txn:
        assert txn.table("cities").get("Bodø") == ("Bodø", "53000", 1395.0)


def test_json_lines_come_in_and_go_out(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "things.jsonl"
    things = [{"id": 1, "what": "tea", "cost": 2.5}, {"id": 2, "what": None, "cost": 0.5}]
    path.write_text("".join(json.dumps(thing) + "\n" for thing in things))
    plan = plan_import(path)
    plan.tables[0].primary_key = ["id"]
    database.tables.import_task(plan).run()
    target = tmp_path / "out.jsonl"
    database.tables.export_task(target, ["things"]).run()
    assert [json.loads(line) for line in target.read_text().splitlines()] == things


def test_bad_input_is_told_by_file_line_and_column_and_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "numbers.csv"
    lines = ["id,amount", *(f"{number},{number}" for number in range(30_000)), "30000,many"]
    path.write_text("\n".join(lines) + "\n")
    plan = plan_import(path)
    plan.tables[0].columns[1].type = "integer"
    with pytest.raises(errors.BadInput) as caught:
        database.tables.import_task(plan).run()
    fields = caught.value.fields
    assert "numbers.csv" in str(fields["file"])
    assert fields["line"] == 30_002
    assert database.tables.names() == []
    assert database.check().ok


def test_a_cancelled_import_changes_nothing(database: Database, source: Path) -> None:
    task = database.tables.import_task(plan_import(source))
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.run()
    assert database.tables.names() == []


def test_a_plan_that_cannot_work_is_refused_before_anything_is_read(database: Database, source: Path) -> None:
    plan = plan_import(source)
    plan.tables[1].target = "people"
    assert plan.issues() == ['two tables would be called "people"']
    with pytest.raises(errors.InvalidArgument):
        database.tables.import_task(plan)
    database.tables.import_task(plan_import(source)).run()
    with pytest.raises(errors.TableExists):
        database.tables.import_task(plan_import(source))


def test_an_export_replaces_a_file_only_when_told_to(
    database: Database, source: Path, tmp_path: Path
) -> None:
    database.tables.import_task(plan_import(source)).run()
    target = tmp_path / "people.csv"
    target.write_text("mine")
    with pytest.raises(errors.DatabaseExists):
        database.tables.export_task(target, ["people"])
    assert target.read_text() == "mine"
    database.tables.export_task(target, ["people"], replace=True).run()
    assert target.read_text(encoding="utf-8").startswith("id,name,score,photo")
    with pytest.raises(errors.TableNotFound):
        database.tables.export_task(tmp_path / "x.csv", ["nobody"])
    with pytest.raises(errors.InvalidArgument):
        database.tables.export_task(tmp_path / "all.csv")


def test_rows_are_changed_through_a_transaction_with_their_indexes(database: Database, source: Path) -> None:
    database.tables.import_task(plan_import(source)).run()
    with database.transaction() as txn:
        people = txn.table("people")
        assert people.update(1, {"name": "Ada L."})
        assert people.by_index("people_name", "Ada L.")[0][0] == 1
        assert people.by_index("people_name", "Ada") == []
        with pytest.raises(errors.UniqueViolation):
            people.insert((4, "Ada L.", None, None))
        assert people.delete(2)
        assert len(people) == 2
    assert database.check().ok


def test_the_kind_of_an_export_follows_from_its_ending() -> None:
    assert export_kind(Path("a.sqlite3")) is ExportKind.SQLITE
    assert export_kind(Path("a.CSV")) is ExportKind.CSV
    assert export_kind(Path("a.txt"), "jsonl") is ExportKind.JSONL
    for path, kind in ((Path("a.txt"), None), (Path("a.csv"), "xml")):
        with pytest.raises(errors.InvalidArgument):
            export_kind(path, kind)


def test_sources_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(errors.HoldfastError) as caught:
        plan_import(tmp_path / "noise.bin")
    assert caught.value.code in (errors.UnsupportedSource.code, errors.BadInput.code)


def test_a_source_that_is_not_there_is_named_and_never_called_a_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedSource, match="there is no such file"):
        plan_import(tmp_path / "none.csv")
    with pytest.raises(errors.UnsupportedSource, match="it is a folder"):
        plan_import(tmp_path)
