"""Who has a database open: second openers, forks, killed processes."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import bridge, errors
from tests.engine.kernel_face.stores import OPTIONS, contents


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
