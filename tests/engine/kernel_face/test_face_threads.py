"""Transactions of several threads: waits, deadlocks, snapshots, closes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS, contents, fill, wait_until_someone_waits


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
