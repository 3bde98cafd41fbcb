"""Figures, codes, log entries and measured loads of the kernel."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS, contents, fill


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
