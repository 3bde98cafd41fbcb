"""Lists of pairs in order, which become trees by two threads, through the kernel's Python face."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS

ROWS = 12_000
Pair = tuple[bytes, bytes]


def pairs(count: int = ROWS) -> list[Pair]:
    """In order, with a long value here and there."""
    return [
        (b"%08d" % number, b"%d" % number * (50_000 if number % 5000 == 77 else number % 30))
        for number in range(count)
    ]


def filled(txn: bridge.Transaction, rows: Any) -> list[Pair]:
    assert txn.tree("t").put_many(rows) == len(rows)
    return list(txn.tree("t").items())


def test_a_list_in_order_becomes_a_tree(path: str) -> None:
    rows = pairs()
    store = bridge.Store.create(path, OPTIONS)
    with store.begin("repeatable_read") as txn:
        assert filled(txn, rows) == rows
        assert len(txn.tree("t")) == ROWS
        txn.tree("t")[b"more"] = b"v"
    store.close()
    store = bridge.Store.open(path, OPTIONS)
    with store.begin("repeatable_read") as txn:
        assert list(txn.tree("t").items()) == [*rows, (b"more", b"v")]
    assert store.check(True)["ok"]
    store.close()


def test_update_takes_a_list_in_order_too(txn: bridge.Transaction) -> None:
    rows = pairs()
    txn.tree("t").update(rows)
    assert list(txn.tree("t").items()) == rows


def test_an_empty_key_can_come_first(txn: bridge.Transaction) -> None:
    rows = [(b"", b"first"), *pairs()]
    assert filled(txn, rows) == rows


def test_a_list_that_is_out_of_order_at_its_end_is_put_all_the_same(txn: bridge.Transaction) -> None:
    rows = [*pairs(), (b"0", b"late")]
    assert filled(txn, rows) == sorted(rows)


def test_of_equal_keys_the_last_counts_in_a_list_that_seems_in_order(txn: bridge.Transaction) -> None:
    rows = pairs()
    again = (rows[9000][0], b"again")
    txn.tree("t").put_many([*rows[:9001], again, *rows[9001:]])
    assert list(txn.tree("t").items()) == [*rows[:9000], again, *rows[9001:]]


def test_pairs_of_any_kind_may_follow_those_in_order(txn: bridge.Transaction) -> None:
    rows = pairs()

    class Named(bytes):
        pass

    mixed: list[Any] = [*rows[:6001], list(rows[6001]), (Named(rows[6002][0]), rows[6002][1]), *rows[6003:]]
    assert filled(txn, mixed) == rows


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ((b"x", "text"), TypeError),
        ((None, b"v"), TypeError),
        ((b"x", b"y", b"z"), ValueError),
        (7, TypeError),
        ((b"x" * 2000, b"v"), errors.KeyTooLong),
    ],
)
def test_a_list_that_cannot_be_put_whole_changes_nothing(
    txn: bridge.Transaction, last: Any, error: type[Exception]
) -> None:
    tree = txn.tree("t")
    rows: list[Any] = [*pairs(), last]
    with pytest.raises(error):
        tree.put_many(rows)
    assert tree == {}
    assert filled(txn, pairs()) == pairs()


def test_a_list_in_order_is_put_into_a_tree_that_holds_something(txn: bridge.Transaction) -> None:
    txn.tree("t")[b"here"] = b"before"
    txn.tree("t").put_many(pairs())
    assert dict(txn.tree("t")) == {**dict(pairs()), b"here": b"before"}


def test_a_rollback_takes_back_what_two_threads_have_built(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    txn.savepoint("before")
    tree.put_many(pairs())
    txn.rollback_to("before")
    assert tree == {}
    assert filled(txn, pairs()) == pairs()


def test_a_list_in_order_is_not_put_twice_at_once(store: bridge.Store) -> None:
    """Two threads with one transaction: each call is whole, or is told that the other is at it."""
    txn = store.begin("repeatable_read")
    trees = [txn.tree("a"), txn.tree("b")]
    together = threading.Barrier(2)
    told: list[Exception] = []

    def put(tree: bridge.Tree) -> None:
        together.wait()
        try:
            tree.put_many(pairs())
        except errors.TransactionBusy as error:
            told.append(error)

    threads = [threading.Thread(target=put, args=(tree,)) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = sorted(len(tree) for tree in trees)
    assert sizes == [0] * len(told) + [ROWS] * (2 - len(told))
    txn.abort()


def test_a_transaction_that_has_ended_takes_no_list(store: bridge.Store) -> None:
    txn = store.begin("repeatable_read")
    tree = txn.tree("t")
    txn.abort()
    with pytest.raises(errors.TransactionEnded):
        tree.put_many(pairs())


def test_a_reader_is_refused_a_list_in_order(store: bridge.Store) -> None:
    with store.begin("repeatable_read") as txn:
        txn.tree("t")
    with store.begin("repeatable_read", read_only=True) as txn, pytest.raises(errors.ReadOnlyDatabase):
        txn.tree("t").put_many(pairs())
