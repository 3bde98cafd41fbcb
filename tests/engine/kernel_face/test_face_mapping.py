"""Trees as mappings, and cursors over them, through the kernel's Python face."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS, contents, fill


def test_a_tree_behaves_as_a_dictionary(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    assert isinstance(tree, MutableMapping)
    assert not tree
    assert tree == {}
    tree[b"b"] = b"2"
    tree[b"a"] = b"1"
    tree.update({b"c": b"3"})
    tree.update([(b"d", b"4")])
    assert list(tree) == [b"a", b"b", b"c", b"d"]
    assert list(reversed(tree)) == [b"d", b"c", b"b", b"a"]
    assert tree == {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}
    assert tree != {b"a": b"1"}
    assert len(tree) == 4
    assert b"a" in tree
    assert b"x" not in tree
    assert "a" not in tree
    assert tree.get(b"x") is None
    assert tree.get(b"x", 7) == 7
    assert tree.setdefault(b"a", b"9") == b"1"
    assert tree.setdefault(b"e", b"5") == b"5"
    assert tree.pop(b"e") == b"5"
    assert tree.pop(b"e", None) is None
    assert tree.popitem() == (b"d", b"4")
    del tree[b"a"]
    with pytest.raises(KeyError):
        tree[b"a"]
    with pytest.raises(KeyError):
        del tree[b"a"]
    tree.clear()
    with pytest.raises(KeyError):
        tree.popitem()
    with pytest.raises(TypeError):
        hash(tree)


def test_keys_and_values_are_bytes_and_nothing_else(txn: bridge.Transaction) -> None:
    tree: Any = txn.tree("t")
    for key, value in (("a", b"1"), (b"a", "1"), (b"a", None), (1, b"1")):
        with pytest.raises(TypeError):
            tree[key] = value
    with pytest.raises(TypeError):
        tree.update(name=b"1")
    with pytest.raises(ValueError, match="a key and a value"):
        tree.update([(b"a", b"b", b"c")])


def test_an_update_that_fails_changes_nothing(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")

    def pairs() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        tree.update(pairs())
    with pytest.raises(errors.KeyTooLong):
        tree.put_many([(b"a", b"1"), (b"x" * 2000, b"2")])
    assert tree == {}


def test_ranges_are_half_open_in_both_directions(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    keys = [b"%04d" % number for number in range(1000)]
    assert tree.put_many([(key, key * 3) for key in keys]) == 1000
    assert list(tree.keys(b"0100", b"0200")) == keys[100:200]
    assert list(tree.keys(b"0100", b"0200", reverse=True)) == keys[199:99:-1]
    assert list(tree.keys(None, b"0003")) == keys[:3]
    assert list(tree.keys(b"0997", None)) == keys[997:]
    assert list(tree.values(stop=b"0002")) == [b"0000" * 3, b"0001" * 3]
    assert list(tree.items(b"0998")) == [(key, key * 3) for key in keys[998:]]
    with pytest.raises(TypeError):
        tree.values(None)


def test_long_values_come_back_whole(path: str) -> None:
    store = bridge.Store.create(path, OPTIONS)
    value = os.urandom(200_000)
    fill(store, {b"long": value, b"empty": b""})
    store.close()
    store = bridge.Store.open(path, OPTIONS)
    assert contents(store) == {b"long": value, b"empty": b""}
    store.close()


def test_a_cursor_shows_its_own_changes_beyond_where_it_stands(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree.put_many([(b"%04d" % number, b"old") for number in range(100)])
    cursor = tree.items()
    assert next(cursor) == (b"0000", b"old")
    tree[b"0001"] = b"new"
    del tree[b"0002"]
    tree[b"0002a"] = b"added"
    tree[b"0000"] = b"behind"
    assert [next(cursor) for _ in range(3)] == [(b"0001", b"new"), (b"0002a", b"added"), (b"0003", b"old")]


def test_a_tree_can_be_changed_while_it_is_walked(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree.put_many([(b"%04d" % number, b"old") for number in range(500)])
    for key in tree:
        tree[key] = b"new"
    assert set(tree.values()) == {b"new"}
    for key in tree.keys(reverse=True):
        del tree[key]
    assert not tree


def test_a_cursor_that_has_ended_stays_at_its_end(txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree[b"a"] = b"1"
    cursor = iter(tree)
    assert list(cursor) == [b"a"]
    tree[b"b"] = b"2"
    assert next(cursor, None) is None


def test_a_cursor_ends_with_its_transaction(store: bridge.Store, txn: bridge.Transaction) -> None:
    tree = txn.tree("t")
    tree.put_many([(b"%04d" % number, b"v") for number in range(100)])
    cursor = iter(tree)
    next(cursor)
    txn.commit()
    with pytest.raises(errors.TransactionEnded):
        next(cursor)
