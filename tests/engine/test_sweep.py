"""What only a damaged page led to is given back once the tree that it was of is whole, or gone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import engine
from engine.config import Config
from engine.errors import ReadOnlyDatabase
from engine.integrity.sweep import sweep_task
from tests.engine.conftest import SMALL
from tests.engine.damaged import PAGE, answer

ROWS = 8000
SCHEMA = json.dumps(
    {
        "name": "people",
        "columns": [{"name": "id", "type": "integer", "not_null": True}, {"name": "name", "type": "text"}],
        "primary_key": ["id"],
    }
)
INNER = 2
"""The kind of a page, at byte 20; then its level; its tree is at byte 32, its right neighbour at byte 40."""


def first_inner_page(path: Path) -> int:
    """The leftmost page of level 1 of the tree with most of them: no neighbour leads to what is below it."""
    content = (path / "database.holdfast").read_bytes()

    def number(at: int) -> int:
        return int.from_bytes(content[at : at + 4], "little")

    starts = range(0, len(content), PAGE)
    found = [at for at in starts if content[at + 20 : at + 22] == bytes([INNER, 1])]
    ((tree, pages),) = Counter(number(at + 32) for at in found).most_common(1)
    assert pages >= 2
    own = [at for at in found if number(at + 32) == tree]
    (first,) = {at // PAGE for at in own} - {number(at + 40) for at in own}
    return first


def hurt(path: Path) -> None:
    """Damage that page, once no log has an image of it."""
    with engine.open(path, create=False) as database:
        for _ in range(3):
            database.store.rotate_log()
            database.checkpoint()
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(first_inner_page(path) * PAGE + 300)
        file.write(b"what a disk made up!")


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A closed database: an inner page of an index is damaged beyond what log there is."""
    path = tmp_path / "d.holdfast"
    with engine.open(path, config=Config().changed(**SMALL)) as database, database.transaction() as txn:
        table = txn.create_table(SCHEMA)
        table.insert_many([(n, f"{n * 7919 % ROWS:06} " + "x" * 1000) for n in range(ROWS)])
        txn.create_index("people", "by_name", ["name"])
    hurt(path)
    return path


def test_pages_below_a_damaged_page_of_an_index_are_given_back_by_its_repair(
    indexed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = answer(capsys, "repair", indexed)
    assert (status, report["ok"], report["failed"]) == (0, True, [])
    assert [index["index"] for index in report["rebuilt"]] == ["by_name"]  # type: ignore[index, union-attr]
    assert report["given_back"] > 5  # type: ignore[operator]
    status, told = answer(capsys, "check", indexed)
    assert (status, told["lost_pages"]) == (0, 0)
    assert answer(capsys, "findings", indexed)[1]["findings"] == []
    with engine.open(indexed, create=False) as database, database.transaction(read_only=True) as txn:
        assert len(txn.table("people").by_index("by_name", "000005 " + "x" * 1000)) == 1


def test_what_an_earlier_repair_left_is_told_and_given_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.holdfast"
    with engine.open(path, config=Config().changed(**SMALL)) as database, database.transaction() as txn:
        for name in ("kept", "gone"):
            txn.tree(name).put_many([(b"%06d" % n, name.encode() * 250) for n in range(ROWS)])
    hurt(path)
    with engine.open(path, create=False) as database:
        tree = next(name for name in ("kept", "gone") if not whole(database, name))
        with database.transaction() as txn:
            txn.drop_tree(tree)
        database.store.give_back()
    status, told = answer(capsys, "check", path)
    assert status == 0
    assert told["lost_pages"] > 5  # type: ignore[operator]
    status, report = answer(capsys, "repair", path)
    assert (status, report["given_back"]) == (0, told["lost_pages"])
    assert answer(capsys, "check", path)[1]["lost_pages"] == 0
    with engine.open(path, create=False) as database:
        assert whole(database, "kept" if tree == "gone" else "gone")


def whole(database: engine.Database, name: str) -> bool:
    try:
        with database.transaction(read_only=True) as txn:
            return sum(1 for _ in txn.tree(name)) == ROWS
    except engine.errors.HoldfastError:
        return False


def test_nothing_is_given_back_while_a_tree_is_damaged_or_somebody_is_at_work(indexed: Path) -> None:
    with engine.open(indexed, create=False) as database:
        swept = sweep_task(database).run()
        assert (swept.pages, swept.check.ok, swept.check.lost) == (0, False, 0)
        with database.transaction() as txn:
            txn.drop_index("people", "by_name")
        database.store.give_back()
        with database.transaction(read_only=True):
            assert sweep_task(database).run().pages == 0
        assert sweep_task(database).run().pages > 5
        assert database.check().ok


def test_a_database_that_is_read_only_is_not_swept(indexed: Path) -> None:
    with (
        engine.open(indexed, create=False, read_only=True) as database,
        pytest.raises(ReadOnlyDatabase),
    ):
        sweep_task(database).run()
