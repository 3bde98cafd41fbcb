"""The kernel's Python face on real databases: mapping, transactions, cursors, ends of every kind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine import bridge, errors

OPTIONS: dict[str, Any] = {
    "page_size": 4096,
    "cache_bytes": 4 << 20,
    "segment_bytes": 1 << 20,
    "log_buffer_bytes": 1 << 20,
    "lock_timeout_s": 20.0,
}
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


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.holdfast")


@pytest.fixture
def store(path: str) -> Iterator[bridge.Store]:
    store = bridge.Store.create(path, OPTIONS)
    yield store
    store.close()


@pytest.fixture
def txn(store: bridge.Store) -> bridge.Transaction:
    return store.begin("repeatable_read")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def fill(store: bridge.Store, items: dict[bytes, bytes], name: str = "t") -> None:
    with store.begin("repeatable_read") as txn:
        txn.tree(name).update(items)


def contents(store: bridge.Store, name: str = "t") -> dict[bytes, bytes]:
    with store.begin("read_committed", read_only=True) as txn:
        return dict(txn.tree(name, create=False).items())


def wait_until_someone_waits(store: bridge.Store) -> None:
    """Returns once the lock table has a waiter: there is no other sign of a thread that waits."""
    stop = threading.Event()
    for _ in range(10_000):
        if store.wait_for_graph():
            return
        stop.wait(0.001)
    raise AssertionError("nobody waits")


# Mapping


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


# Cursors


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


# Transactions


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


# Threads


def test_two_threads_in_one_transaction_are_told(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    holder = store.begin("repeatable_read")
    holder.lock("name")
    txn = store.begin("repeatable_read")
    tree = txn.tree("t")
    waiting = pool.submit(txn.lock, "name")
    wait_until_someone_waits(store)
    for call in (lambda: tree.get(b"a"), txn.commit, txn.abort, lambda: len(tree)):
        with pytest.raises(errors.TransactionBusy):
            call()
    holder.commit()
    waiting.result()
    tree[b"a"] = b"1"
    txn.commit()


def test_snapshots_do_not_see_what_comes_later(store: bridge.Store) -> None:
    fill(store, {b"a": b"1"})
    snapshot = store.begin("repeatable_read")
    committed = store.begin("read_committed")
    assert snapshot.tree("t")[b"a"] == b"1"
    writer = store.begin("repeatable_read")
    writer.tree("t")[b"a"] = b"2"
    assert committed.tree("t")[b"a"] == b"1"
    writer.commit()
    assert committed.tree("t")[b"a"] == b"2"
    assert snapshot.tree("t")[b"a"] == b"1"
    with pytest.raises(errors.WriteConflict):
        snapshot.tree("t")[b"a"] = b"3"
    snapshot.abort()
    committed.abort()


def test_a_writer_waits_for_the_record_of_another(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    fill(store, {b"a": b"1"})
    first, second = store.begin("read_committed"), store.begin("read_committed")
    first.tree("t")[b"a"] = b"2"
    tree = second.tree("t")
    waiting = pool.submit(tree.__setitem__, b"a", b"3")
    wait_until_someone_waits(store)
    (edge,) = store.wait_for_graph()
    assert (edge["waiter"], edge["holder"]) == (second.id, first.id)
    first.commit()
    waiting.result()
    second.commit()
    assert contents(store) == {b"a": b"3"}


Pair = tuple[list[bridge.Transaction], list[Future[None]]]


def crossed(store: bridge.Store, pool: ThreadPoolExecutor) -> Pair:
    """Two transactions, each of which wants what the other has; the second is the victim."""
    fill(store, {b"a": b"1", b"b": b"1"})
    txns = [store.begin("read_committed") for _ in range(2)]
    trees = [txn.tree("t") for txn in txns]
    trees[0][b"a"] = b"first"
    trees[1][b"b"] = b"second"
    waiting = [pool.submit(trees[0].__setitem__, b"b", b"first")]
    wait_until_someone_waits(store)
    waiting.append(pool.submit(trees[1].__setitem__, b"a", b"second"))
    return txns, waiting


def test_a_deadlock_ends_one_and_lets_the_other_go_on(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    (first, second), (waiting, victim) = crossed(store, pool)
    with pytest.raises(errors.Deadlock) as caught:
        victim.result()
    assert caught.value.fields["victim"] == second.id
    # It was rolled back at once: the other goes on without its owner's doing.
    waiting.result()
    assert second.status == "aborted"
    with pytest.raises(errors.Deadlock):
        second.tree("t")
    first.commit()
    assert contents(store) == {b"a": b"first", b"b": b"first"}
    events, _ = store.drain_events()
    assert [event["victim"] for event in events if event["kind"] == "deadlock"] == [second.id]


def test_a_victim_cannot_pass_for_a_success(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    (first, second), (waiting, victim) = crossed(store, pool)
    with pytest.raises(errors.Deadlock), second:
        assert victim.exception() is not None
    waiting.result()
    first.commit()


def test_an_abort_from_outside_wakes_a_waiter(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    holder = store.begin("repeatable_read")
    holder.lock("name")
    waiter = store.begin("repeatable_read")
    waiting = pool.submit(waiter.lock, "name")
    wait_until_someone_waits(store)
    assert store.abort_transaction(waiter.id)
    with pytest.raises(errors.TransactionAborted):
        waiting.result()
    assert waiter.status == "aborted"
    assert not store.abort_transaction(waiter.id)
    holder.commit()


def test_an_idle_transaction_is_rolled_back_from_outside(store: bridge.Store) -> None:
    fill(store, {b"a": b"1"})
    idle = store.begin("repeatable_read")
    tree = idle.tree("t")
    tree[b"a"] = b"2"
    cursor = iter(tree)
    assert store.abort_transaction(idle.id)
    # Its record is free, although its owner has not called since.
    fill(store, {b"a": b"3"})
    for call in (lambda: next(cursor), lambda: tree.get(b"a"), idle.commit):
        with pytest.raises(errors.TransactionAborted):
            call()
    idle.abort()
    assert contents(store) == {b"a": b"3"}


def test_a_close_ends_transactions_that_wait(path: str, pool: ThreadPoolExecutor) -> None:
    store = bridge.Store.create(path, OPTIONS)
    fill(store, {b"a": b"1"})
    holder, waiter = store.begin("repeatable_read"), store.begin("repeatable_read")
    tree = holder.tree("t")
    tree[b"a"] = b"2"
    holder.lock("name")
    waiting = pool.submit(waiter.lock, "name")
    wait_until_someone_waits(store)
    assert store.close() == {"aborted": 2}
    with pytest.raises(errors.StoreClosed):
        waiting.result()
    for call in (lambda: tree.get(b"a"), holder.commit, store.trees, lambda: store.begin("serializable")):
        with pytest.raises(errors.StoreClosed):
            call()
    assert store.status()["state"] == "closed"
    store = bridge.Store.open(path, OPTIONS)
    assert contents(store) == {b"a": b"1"}
    store.close()


def test_advisory_locks_are_given_back_one_by_one(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    first, second = store.begin("repeatable_read"), store.begin("repeatable_read")
    first.lock("name", "shared")
    second.lock("name", "shared")
    second.unlock("name")
    with pytest.raises(errors.InvalidArgument):
        second.unlock("name")
    with pytest.raises(errors.LockTimeout):
        second.lock("name", "exclusive", timeout_s=0.01)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(errors.InvalidArgument):
            second.lock("name", timeout_s=wrong)
    with pytest.raises(errors.InvalidArgument):
        second.lock("name", "forever")
    (lock,) = (lock for lock in store.locks() if lock["resource"] == "name name")
    assert (lock["mode"], lock["holders"]) == ("shared", [first.id])
    first.unlock("name")
    second.lock("name")
    first.abort()
    second.abort()


def test_eight_threads_commit_at_once(store: bridge.Store) -> None:
    def work(number: int) -> None:
        for step in range(50):
            with store.begin("read_committed") as txn:
                tree = txn.tree(f"t{number}")
                tree[b"%d" % step] = b"v" * 100

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result()
    for number in range(8):
        assert len(contents(store, f"t{number}")) == 50


# Tables


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


# The lock, forks, crashes


def test_a_second_opener_is_told_who_has_it(path: str, store: bridge.Store) -> None:
    with pytest.raises(errors.DatabaseOpenElsewhere) as caught:
        bridge.Store.open(path, OPTIONS)
    assert f"process {os.getpid()} on" in caught.value.fields["holder"]
    with pytest.raises(errors.DatabaseOpenElsewhere):
        bridge.Recovery.begin(path, OPTIONS)
    holder = bridge.inspect(path)["holder"]
    assert (holder["pid"], holder["alive"]) == (os.getpid(), True)


def test_looking_leaves_no_trace(path: str, tmp_path: Path) -> None:
    assert not bridge.inspect(path)["exists"]
    with pytest.raises(errors.DatabaseNotFound):
        bridge.Store.open(path, OPTIONS)
    with pytest.raises(errors.DatabaseNotFound):
        bridge.Store.open(str(tmp_path), OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_created_once(path: str) -> None:
    bridge.Store.create(path, OPTIONS).close()
    with pytest.raises(errors.DatabaseExists) as caught:
        bridge.Store.create(path, OPTIONS)
    assert caught.value.fields["path"] == path
    facts = bridge.inspect(path)
    assert facts["clean_shutdown"]
    assert (facts["page_size"], facts["holder"], facts["doublewrite_pages"]) == (4096, None, 0)


@pytest.mark.parametrize(
    "wrong", [{"nonsense": 1}, {"page_size": 5000}, {"sync_mode": "never"}, {"lock_timeout_s": -1.0}]
)
def test_wrong_options_are_named(path: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        bridge.Store.create(path, OPTIONS | wrong)
    assert next(iter(wrong)) in str(caught.value.fields)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_can_neither_use_nor_harm_the_database(path: str) -> None:
    store = bridge.Store.create(path, OPTIONS)
    txn = store.begin("repeatable_read")
    tree = txn.tree("t")
    tree[b"a"] = b"1"
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (store.trees, store.status, store.close, txn.commit, lambda: tree.get(b"a")):
            try:
                call()
            except errors.ForkedHandle:
                refused += 1
        del store, txn, tree
        gc.collect()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    tree[b"b"] = b"2"
    txn.commit()
    assert store.close() == {"aborted": 0}
    store = bridge.Store.open(path, OPTIONS)
    assert contents(store) == {b"a": b"1", b"b": b"2"}
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_a_forked_child_made_is_known_as_its_own(path: str) -> None:
    bridge.Store.create(path, OPTIONS).close()
    child = os.fork()
    if child == 0:
        store = bridge.Store.open(path, OPTIONS)
        store.status()
        owner = os.getpid()
        grandchild = os.fork()
        if grandchild == 0:
            try:
                store.status()
            except errors.ForkedHandle as refused:
                os._exit(0 if refused.fields["owner_pid"] == owner else 2)
            os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        store.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


WRITER = """
import sys
from engine import bridge
store = bridge.Store.create(sys.argv[1], {"page_size": 4096, "segment_bytes": 1 << 20})
for number in range(100):
    with store.begin("repeatable_read") as txn:
        txn.tree("t").put_many([(b"%d-%d" % (number, part), b"v" * 300) for part in range(10)])
txn = store.begin("repeatable_read")
txn.tree("t")[b"unfinished"] = b"v"
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_loses_nothing_that_was_committed(path: str) -> None:
    command = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    facts = bridge.inspect(path)
    assert not facts["clean_shutdown"]
    assert facts["holder"] is None
    assert facts["last_lsn"] > facts["checkpoint_lsn"]
    with pytest.raises(errors.RecoveryNeeded):
        bridge.Store.open(path, OPTIONS)
    recovery, job = bridge.Recovery.begin(path, OPTIONS), bridge.Job()
    assert recovery.discover_log(job)["segments"]
    recovery.validate_log(job)
    recovery.restore_doublewrite(job)
    analysis = recovery.analyse(job)
    assert analysis["committed"] == 100
    recovery.redo(job)
    assert recovery.undo(job)["transactions"] == len(analysis["losers"])
    assert bridge.inspect(path)["recovery_needed"]
    store = recovery.finish(job)
    assert not bridge.inspect(path)["recovery_needed"]
    found = contents(store)
    assert len(found) == 1000
    assert b"unfinished" not in found
    store.close()
    bridge.Store.open(path, OPTIONS).close()


def test_an_abandoned_recovery_can_be_begun_again(path: str) -> None:
    bridge.Store.create(path, OPTIONS).close()
    recovery, job = bridge.Recovery.begin(path, OPTIONS), bridge.Job()
    job.cancel()
    assert job.cancelled
    recovery.abandon()
    recovery.abandon()
    with pytest.raises(errors.StoreClosed):
        recovery.discover_log(job)
    # Nothing was changed: it opens as it was closed.
    bridge.Store.open(path, OPTIONS).close()


# Figures


def test_status_has_every_figure_and_survives_the_close(store: bridge.Store) -> None:
    fill(store, {b"a": b"1"})
    status = bridge.status(store, 1.0)
    assert (status.state, status.log.segment_bytes, status.cache.page_size) == ("open", 1 << 20, 4096)
    assert status.transactions.committed >= 1
    assert {"get", "put", "commit", "sync", "lock_wait", "checkpoint", "page_read"} <= set(status.latency)
    taken = store.checkpoint()
    assert taken["lsn"] == bridge.status(store, 2.0).checkpoint.lsn
    with store.begin("serializable") as txn:
        txn.tree("t")[b"b"] = b"2"
        (running,) = bridge.transactions(store)
        assert (running.id, running.changes, running.status) == (txn.id, 1, "active")
        assert bridge.locks(store)
    store.rotate_log()
    store.flush()
    page = store.page_info(0)
    assert (page["kind"], page["ok"]) == ("store", True)
    with pytest.raises(errors.PageNotFound):
        store.page_info(1 << 30)
    events, missed = store.drain_events()
    assert "checkpoint_finished" in {event["kind"] for event in events}
    assert missed == 0


def test_every_code_of_the_kernel_has_its_class() -> None:
    classes = errors.by_code()
    for name, code in bridge.ERROR_CODES.items():
        assert classes[code].__name__ == name


def test_the_log_tells_what_happened_but_no_values(store: bridge.Store) -> None:
    fill(store, {b"secret key": b"secret value"})
    entries = store.read_log(0, 1000)
    assert "Commit" in {entry["op"] for entry in entries}
    assert [entry["lsn"] for entry in entries] == sorted(entry["lsn"] for entry in entries)
    assert "secret" not in str(entries)
    assert store.read_log(entries[3]["lsn"], 2) == entries[3:5]


def test_a_load_is_measured_and_can_be_cancelled(store: bridge.Store) -> None:
    spec = {"threads": 4, "operations": 2000, "keys": 50, "seed": 7, "tree": "load", "batch": 3}
    done = store.load(spec)
    assert done["operations"] >= 2000
    assert {"get", "put", "commit"} <= set(done["latency"])
    assert 0 < len(contents(store, "load")) <= 50
    job = bridge.Job()
    job.cancel()
    with pytest.raises(errors.Cancelled):
        store.load(spec | {"operations": 10_000_000}, job)
    with pytest.raises(errors.InvalidArgument):
        store.load({"nonsense": 1})


def test_a_close_stops_a_load_and_waits_for_it(path: str, pool: ThreadPoolExecutor) -> None:
    store, job = bridge.Store.create(path, OPTIONS), bridge.Job()
    load = pool.submit(store.load, {"threads": 4, "operations": 100_000_000, "keys": 100}, job)
    stop = threading.Event()
    while job.progress()["done"] == 0:
        stop.wait(0.001)
    store.close()
    with pytest.raises(errors.Cancelled):
        load.result()
    store = bridge.Store.open(path, OPTIONS)
    assert store.check()["problems"] == []
    store.close()
