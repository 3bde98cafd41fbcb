"""Locks and isolation through the kernel's Python face; the kernel's own tests have every anomaly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine import bridge, errors

OPTIONS: dict[str, Any] = {"page_size": 4096, "cache_bytes": 4 << 20, "lock_timeout_s": 20.0}


def made(path: Path, **options: Any) -> bridge.Store:
    store = bridge.Store.create(str(path / "test.holdfast"), OPTIONS | options)
    with store.begin("read_committed") as txn:
        txn.tree("t").update({b"a": b"1", b"m": b"1", b"z": b"1"})
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[bridge.Store]:
    store = made(tmp_path)
    yield store
    store.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def wait_until_waiting(store: bridge.Store, txn: bridge.Transaction) -> dict[str, Any]:
    """Returns the wait of `txn` once the lock table has it: there is no other sign of it."""
    stop = threading.Event()
    for _ in range(10_000):
        for edge in store.wait_for_graph():
            if edge["waiter"] == txn.id:
                return edge
        stop.wait(0.001)
    raise AssertionError("it does not wait")


@pytest.mark.parametrize("level", ["read_committed", "repeatable_read", "serializable"])
def test_a_serializable_range_has_no_phantoms_and_leaves_the_rest_free(
    store: bridge.Store, pool: ThreadPoolExecutor, level: str
) -> None:
    reader, writer = store.begin("serializable"), store.begin(level)
    rows = reader.tree("t")
    assert list(rows.items(b"b", b"p")) == [(b"m", b"1")]
    tree = writer.tree("t")
    tree[b"q"] = b"free"
    phantom = pool.submit(tree.__setitem__, b"c", b"phantom")
    edge = wait_until_waiting(store, writer)
    assert (edge["holder"], edge["mode"]) == (reader.id, "exclusive")
    assert list(rows.items(b"b", b"p")) == [(b"m", b"1")]
    reader.commit()
    phantom.result()
    writer.commit()


def test_write_skew_ends_in_a_deadlock_that_can_be_tried_again(
    store: bridge.Store, pool: ThreadPoolExecutor
) -> None:
    first, second = store.begin("serializable"), store.begin("serializable")
    trees = [txn.tree("t") for txn in (first, second)]
    assert trees[0].get(b"x") is None
    assert trees[1].get(b"y") is None
    waiting = pool.submit(trees[0].__setitem__, b"y", b"1")
    wait_until_waiting(store, first)
    with pytest.raises(errors.Deadlock) as caught:
        trees[1][b"x"] = b"1"
    assert caught.value.is_retryable()
    waiting.result()
    first.commit()


def test_key_ranges_are_shown_without_a_key(store: bridge.Store) -> None:
    reader = store.begin("serializable", read_only=True)
    reader.tree("t").get(b"secret")
    (ranges,) = (
        lock for lock in store.locks() if "ranges" in lock["resource"] and lock["resource"][-2:] != " 1"
    )
    assert (ranges["mode"], ranges["holders"], ranges["waiters"]) == ("shared", [reader.id], [])
    assert "secret" not in repr(store.locks())
    (info,) = store.transactions()
    assert info["locks"] >= 2
    reader.abort()
    assert store.locks() == []


def test_all_advisory_locks_are_given_back_at_once(store: bridge.Store) -> None:
    first, second = store.begin("repeatable_read"), store.begin("repeatable_read")
    first.tree("t")[b"a"] = b"2"
    for name in ("one", "two", "three"):
        first.lock(name)
    first.unlock("two")
    assert first.unlock_all() == 2
    assert first.unlock_all() == 0
    for name in ("one", "two", "three"):
        second.lock(name, timeout_s=0)
    # Its record stays locked.
    assert any(lock["holders"] == [first.id] for lock in store.locks())
    first.commit()
    second.commit()


def crossed(store: bridge.Store, pool: ThreadPoolExecutor, changes: int) -> tuple[int, list[int]]:
    """A deadlock of two names; the first has made `changes`. Returns the victim, and both."""
    first, second = store.begin("read_committed"), store.begin("read_committed")
    for number in range(changes):
        first.tree("t")[b"%d" % number] = b"work"
    first.lock("one")
    second.lock("two")
    waiting = pool.submit(first.lock, "two")
    wait_until_waiting(store, first)
    outcomes = [pool.submit(second.lock, "one"), waiting]
    victims = [error.fields["victim"] for done in outcomes if (error := done.exception()) is not None]
    first.abort()
    second.abort()
    (victim,) = victims
    return victim, [first.id, second.id]


def test_the_youngest_gives_way_unless_set_otherwise(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    victim, both = crossed(store, pool, changes=0)
    assert victim == both[1]


def test_least_work_spares_the_younger_one_that_has_done_more(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store = made(tmp_path, deadlock_victim="least_work")
    first, second = store.begin("read_committed"), store.begin("read_committed")
    second.tree("t")[b"k"] = b"work"
    first.lock("one")
    second.lock("two")
    waiting = pool.submit(first.lock, "two")
    wait_until_waiting(store, first)
    second.lock("one")
    error = waiting.exception()
    assert isinstance(error, errors.Deadlock)
    assert error.fields["victim"] == first.id
    second.commit()
    store.close()


def test_a_deadlock_is_told_with_every_participant(store: bridge.Store, pool: ThreadPoolExecutor) -> None:
    victim, both = crossed(store, pool, 0)
    events, _ = store.drain_events()
    (event,) = (event for event in events if event["kind"] == "deadlock")
    assert (event["victim"], event["policy"]) == (victim, "youngest")
    told = list(zip(event["transactions"], event["resources"], event["modes"], strict=True))
    expected = [(str(both[0]), "name two", "exclusive"), (str(both[1]), "name one", "exclusive")]
    assert sorted(told) == sorted(expected)
    assert all(float(waited) >= 0 for waited in event["waited_s"])
    assert len(event["cycle"]) == 2
