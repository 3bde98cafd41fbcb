"""Rows that only a former primary, or a point in the past, has: written to a file, and picked one by one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import engine
from engine.backups.former import former_task
from engine.backups.rows_file import rows_file_task
from engine.cli.__main__ import main
from engine.errors import InvalidArgument
from engine.mirrors.failover import fail_over_task
from tests.engine.damaged import answer

SCHEMA = json.dumps(
    {
        "name": "people",
        "columns": [
            {"name": "id", "type": "integer", "not_null": True},
            {"name": "name", "type": "text"},
            {"name": "face", "type": "blob"},
        ],
        "primary_key": ["id"],
    }
)


def row(number: int, word: str = "old") -> tuple[int, str, bytes]:
    return (number, f"{word}, {number}", bytes([0, number % 256]))


@pytest.fixture
def parted(tmp_path: Path) -> tuple[Path, Path]:
    """A successor and the former primary: rows 300 to 309 and the key b"x" are only there, 0 to 2 differ."""
    former, successor = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    with engine.open(former) as database:
        with database.transaction() as txn:
            txn.create_table(SCHEMA).insert_many([row(n) for n in range(300)])
            txn.tree("t")[b"both"] = b"1"
        database.mirrors.add(successor)
        database.mirrors.level_task(successor).run()
        database.mirrors.remove(successor)
        with database.transaction() as txn:
            people = txn.table("people")
            people.insert_many([row(n) for n in range(300, 310)])
            for number in range(3):
                people.update(number, {"name": "there"})
            txn.tree("t")[b"x\xff"] = b"\x00only there"
    fail_over_task(successor).run()
    with engine.open(successor, create=False) as database, database.transaction() as txn:
        txn.table("people").insert(row(900))
    return successor, former


def test_rows_that_only_a_former_primary_has_are_written_with_what_is_here(
    parted: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    successor, former = parted
    target = tmp_path / "rows.jsonl"
    status, told = answer(capsys, "mirror", successor, "compare", former, "--rows", target)
    assert status == 0
    assert told["rows"] == {"path": str(target), "only_there": 11, "differ": 3, "problems": []}
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    people = {line["key"][0]: line for line in lines if line["table"] == "people"}
    assert set(people) == {0, 1, 2, *range(300, 310)}
    assert people[305] == {
        "table": "people",
        "kind": "only_there",
        "key": [305],
        "there": {"id": 305, "name": "old, 305", "face": {"$hex": "0031"}},
        "here": None,
    }
    assert (people[1]["kind"], people[1]["there"]["name"]) == ("differs", "there")
    assert people[1]["here"]["name"] == "old, 1"
    (tree,) = [line for line in lines if line["table"] == "t"]
    assert tree["key"] == [{"$hex": "78ff"}]
    assert tree["there"] == {"value": {"$hex": b"\x00only there".hex()}}


def test_rows_written_as_csv_can_be_imported(
    parted: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    successor, former = parted
    target = tmp_path / "rows.csv"
    arguments = ("mirror", successor, "compare", former, "--rows", target, "--table", "people")
    assert answer(capsys, *arguments)[0] == 0
    with target.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "name", "face"]
    assert rows[1] == ["0", "there", "0000"]
    assert len(rows) == 14
    assert answer(capsys, "import", successor, target, "--table", "saved", "--key", "id")[0] == 0
    with engine.open(successor, create=False) as database, database.transaction(read_only=True) as txn:
        assert len(txn.table("saved")) == 13


def test_single_rows_of_a_former_primary_are_brought_over(
    parted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    successor, former = parted
    rescue = ("mirror", successor, "rescue", former)
    status, told = answer(capsys, *rescue, "--table", "people", "--key", "301", "--key", "[302]")
    assert (status, told["tables"][0]["put_back"]) == (0, 2)  # type: ignore[index]
    assert answer(capsys, *rescue, "--table", "t", "--key", '{"$hex": "78ff"}')[0] == 0
    with engine.open(successor, create=False) as database, database.transaction(read_only=True) as txn:
        assert len(txn.table("people")) == 303
        assert txn.table("people").get(300) is None
        assert dict(txn.tree("t")) == {b"both": b"1", b"x\xff": b"\x00only there"}
    for table, key in (("people", "5000"), ("t", "nobody"), ("people", '{"hex": "00"}')):
        assert main(["mirror", str(successor), "rescue", str(former), "--table", table, "--key", key]) == 3
        assert "--key" in capsys.readouterr().err


def test_a_file_of_rows_is_whole_or_as_it_was(parted: tuple[Path, Path], tmp_path: Path) -> None:
    successor, former = parted
    target = tmp_path / "rows.jsonl"
    target.write_text("mine")
    with (
        engine.open(successor, create=False) as database,
        former_task(former, database).run() as past,
    ):
        with pytest.raises(InvalidArgument):
            rows_file_task(past, database, target, ["nobody"]).run()
        for wrong, names in ((tmp_path / "rows.txt", ()), (tmp_path / "rows.csv", ())):
            with pytest.raises(InvalidArgument):
                rows_file_task(past, database, wrong, names)
        assert target.read_text() == "mine"
        assert rows_file_task(past, database, target, ["people"]).run().only_there == 10
    assert len(target.read_text().splitlines()) == 13
    assert not [item for item in tmp_path.iterdir() if item.name.startswith(".rows")]


def test_rows_that_differ_from_a_point_in_the_past_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "a.holdfast", tmp_path / "gone.jsonl"
    with engine.open(path) as database, database.transaction() as txn:
        txn.create_table(SCHEMA).insert_many([row(n) for n in range(20)])
    assert main(["backup", str(path), str(tmp_path / "backups")]) == 0
    assert main(["mark", str(path), "before"]) == 0
    with engine.open(path) as database, database.transaction() as txn:
        for number in range(4):
            txn.table("people").delete(number)
    capsys.readouterr()
    arguments = ("difference", path, "--backups", tmp_path / "backups", "--to-name", "before")
    status, told = answer(capsys, *arguments, "--rows", target)
    assert (status, told["rows"]["only_there"]) == (0, 4)  # type: ignore[index]
    assert [json.loads(line)["there"]["id"] for line in target.read_text().splitlines()] == [0, 1, 2, 3]
