"""Ends of every kind of a transaction, savepoints, and tables, through the kernel's Python face."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS, contents, fill

SCHEMA = json.dumps(
    {
        "name": "people",
        "columns": [
            {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
            {"name": "name", "type": "text", "declared": "TEXT", "not_null": True},
            {"name": "photo", "type": "blob", "declared": "BLOB", "not_null": False},
        ],
        "primary_key": ["id"],
        "indexes": [],
    }
)


def test_what_is_committed_is_there_after_reopening(path: str) -> None:
    store = bridge.Store.create(path, OPTIONS)
    with store.begin("repeatable_read") as txn:
        txn.tree("t")[b"a"] = b"1"
    lost = store.begin("repeatable_read")
    lost.tree("t")[b"b"] = b"2"
    assert store.close() == {"aborted": 1}
    store = bridge.Store.open(path, OPTIONS)
    assert store.trees() == ["t"]
    assert contents(store) == {b"a": b"1"}
    assert store.close() == {"aborted": 0}
    assert store.close() == {"aborted": 0}


def test_a_block_commits_and_an_error_rolls_back(store: bridge.Store) -> None:
    fill(store, {b"a": b"1"})
    with pytest.raises(ZeroDivisionError), store.begin("repeatable_read") as txn:  # noqa: PT012
        txn.tree("t")[b"a"] = b"2"
        raise ZeroDivisionError
    assert txn.status == "aborted"
    assert contents(store) == {b"a": b"1"}
    with store.begin("repeatable_read") as txn:
        txn.tree("t")[b"a"] = b"3"
        txn.abort()
    assert contents(store) == {b"a": b"1"}
    with store.begin("repeatable_read") as txn:
        txn.tree("t")[b"a"] = b"4"
        txn.commit()
    assert txn.status == "committed"
    assert contents(store) == {b"a": b"4"}


def test_nothing_works_after_the_end(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    assert txn.commit() > 0
    calls: list[Callable[[], object]] = [
        txn.commit,
        lambda: txn.savepoint("s"),
        lambda: txn.tree("other"),
        lambda: tree.get(b"a"),
        lambda: tree.put_many([(b"a", b"b")]),
        lambda: len(tree),
        lambda: next(iter(tree)),
    ]
    for call in calls:
        with pytest.raises(errors.TransactionEnded):
            call()
    txn.abort()
    assert txn.status == "committed"


def test_savepoints_bring_back_what_was(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree[b"a"] = b"1"
    txn.savepoint("before")
    tree[b"a"] = b"2"
    later = txn.tree("later")
    later[b"x"] = b"y"
    cursor = iter(tree)
    txn.rollback_to("before")
    assert list(cursor) == [b"a"]
    assert tree[b"a"] == b"1"
    with pytest.raises(errors.TreeNotFound):
        later[b"x"]
    txn.tree("later")
    assert later == {}
    with pytest.raises(errors.SavepointNotFound):
        txn.rollback_to("never")


def test_a_dropped_tree_takes_no_more_writes(store: bridge.Store, txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree[b"a"] = b"1"
    txn.drop_tree("t")
    with pytest.raises(errors.TreeNotFound):
        tree[b"a"] = b"2"
    txn.tree("t")[b"b"] = b"3"
    assert tree == {b"b": b"3"}
    txn.commit()
    assert contents(store) == {b"b": b"3"}


def test_a_read_only_transaction_makes_no_tree(store: bridge.Store) -> None:
    with store.begin("repeatable_read", read_only=True) as txn, pytest.raises(errors.TreeNotFound):
        txn.tree("missing")
    fill(store, {b"a": b"1"})
    with store.begin("repeatable_read", read_only=True) as txn, pytest.raises(errors.ReadOnlyDatabase):
        txn.tree("t")[b"a"] = b"2"
    store.set_read_only(True)
    with pytest.raises(errors.ReadOnlyDatabase):
        fill(store, {b"a": b"2"})
    store.set_read_only(False)
    fill(store, {b"a": b"2"})


def test_a_dropped_handle_rolls_its_transaction_back(store: bridge.Store) -> None:
    fill(store, {b"a": b"1"})
    txn = store.begin("repeatable_read")
    txn.tree("t")[b"a"] = b"2"
    del txn
    gc.collect()
    assert store.transactions() == []
    assert contents(store) == {b"a": b"1"}


def test_a_transaction_keeps_its_database_open_and_locked(path: str) -> None:
    store = bridge.Store.create(path, OPTIONS)
    txn = store.begin("repeatable_read")
    tree = txn.tree("t")
    del store
    gc.collect()
    tree[b"a"] = b"1"
    with pytest.raises(errors.DatabaseOpenElsewhere):
        bridge.Store.open(path, OPTIONS)
    txn.commit()
    del txn, tree
    gc.collect()
    assert bridge.inspect(path)["holder"] is None


def test_rows_come_and_go(store: bridge.Store, txn: bridge.Transaction) -> None:
    table = txn.create_table(SCHEMA)
    assert table.insert((1, "Ada", b"\x01")) == (1,)
    assert table.insert({"name": "Bea"}) == (2,)
    assert table.insert_many([(number, f"n{number}", None) for number in range(3, 100)]) == 97
    assert table.get(1) == (1, "Ada", b"\x01")
    assert table.get((2,)) == (2, "Bea", None)
    assert table.get(1000) is None
    assert table.update(2, {"name": "Bee"})
    assert not table.update(1000, {"name": "nobody"})
    assert table.delete(3)
    assert not table.delete(3)
    assert len(table) == 98
    assert table.columns == ["id", "name", "photo"]
    with pytest.raises(errors.UniqueViolation):
        table.insert((1, "again", None))
    with pytest.raises(errors.NotNullViolation):
        table.insert((500, None, None))
    with pytest.raises(errors.ColumnNotFound):
        table.update(1, {"nothing": 1})
    txn.create_index("people", "by_name", ["name"])
    assert table.by_index("by_name", "Bee") == [(2, "Bee", None)]
    txn.commit()
    schema = json.loads(store.table_schema("people"))
    assert (schema["rows"], [index["name"] for index in schema["indexes"]]) == (98, ["by_name"])
    assert store.tables() == ["people"]


def test_tables_are_read_by_pages_and_by_rows(txn: bridge.Transaction) -> None:
    table = txn.create_table(SCHEMA)
    table.insert_many([(number, f"n{number % 7}", b"x" * 100) for number in range(1000)])
    assert [row[0] for row in table.rows()] == list(range(1000))
    assert [row[0] for row in table.rows(10, 13)] == [10, 11, 12]
    assert [row[0] for row in table.rows(stop=3, reverse=True)] == [2, 1, 0]
    seen: list[Any] = []
    after = None
    while page := table.page(after, limit=300, cell_limit=10):
        seen += [row[0] for _, row in page]
        after = page[-1][0]
        assert page[0][1][2] == b"x" * 10
    assert seen == list(range(1000))
    assert table.key_of(after) == (999,) if after else False
    for row in table.rows(990):
        table.delete(row[0])
    assert len(table) == 990
