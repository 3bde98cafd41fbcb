"""A database through its public interface: opening, transactions, locks, closing."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import engine
from engine import Isolation, errors
from engine.config import Config
from engine.database import Database
from engine.types import DatabaseState, Event

ROOT = Path(engine.__file__).resolve().parent.parent


def test_what_was_committed_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.holdfast"
    with engine.open(path) as db, db.transaction() as txn:
        txn.tree("settings")[b"k"] = b"v"
    with engine.open(str(path), create=False) as db, db.transaction() as txn:
        assert dict(txn.tree("settings", create=False)) == {b"k": b"v"}
        assert db.trees() == ["settings"]
        assert db.recovery_report is None


def test_an_error_in_the_block_aborts_the_transaction_and_passes(database: Database) -> None:
    def fail_after_a_change() -> None:
        with database.transaction() as txn:
            txn.tree("t")[b"k"] = b"v"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_change()
    with database.transaction() as txn:
        assert b"k" not in txn.tree("t")


def test_a_savepoint_takes_back_what_came_after_it(database: Database) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        tree[b"a"] = b"1"
        txn.savepoint("before")
        tree[b"a"] = b"2"
        tree[b"b"] = b"2"
        txn.rollback_to("before")
        assert dict(tree) == {b"a": b"1"}
        with pytest.raises(errors.SavepointNotFound):
            txn.rollback_to("another")


def test_readers_see_their_snapshot_while_a_writer_commits(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("t")[b"k"] = b"old"
    reader = database.begin()
    assert reader.tree("t")[b"k"] == b"old"
    with database.transaction() as txn:
        txn.tree("t")[b"k"] = b"new"
    assert reader.tree("t")[b"k"] == b"old"
    reader.commit()
    committed = database.begin(Isolation.READ_COMMITTED)
    assert committed.tree("t")[b"k"] == b"new"
    committed.abort()


def test_the_second_of_two_updaters_gets_a_coded_conflict(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("t")[b"k"] = b"0"
    first, second = database.begin(), database.begin()
    assert second.tree("t")[b"k"] == b"0"
    first.tree("t")[b"k"] = b"1"
    first.commit()
    with pytest.raises(errors.WriteConflict) as caught:
        second.tree("t")[b"k"] = b"2"
    assert caught.value.is_retryable()
    second.abort()


def test_run_tries_again_until_nobody_is_in_the_way(database: Database) -> None:
    def count(txn: object) -> None:
        tree = txn.tree("t")  # type: ignore[attr-defined]
        tree[b"n"] = b"%d" % (int(tree.get(b"n", b"0")) + 1)

    database.run(count)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(database.run, count, 100) for _ in range(40)]:
            done.result()
    with database.transaction() as txn:
        assert txn.tree("t")[b"n"] == b"41"


def test_run_gives_up_after_its_attempts_and_passes_other_errors_at_once(database: Database) -> None:
    tries = []

    def lose(txn: object) -> None:
        tries.append(1)
        raise errors.WriteConflict(tree="t")

    with pytest.raises(errors.WriteConflict):
        database.run(lose, attempts=3)
    assert len(tries) == 3
    with pytest.raises(ZeroDivisionError):
        database.run(lambda txn: 1 // 0)


def test_a_deadlock_has_one_victim_and_an_event(database: Database) -> None:
    seen: queue.Queue[Event] = queue.Queue()
    database.events.subscribe(seen.put, {"deadlock"})
    with database.transaction() as txn:
        txn.tree("t").update({b"a": b"0", b"b": b"0"})
    both_hold = threading.Barrier(2)

    def work(first: bytes, second: bytes) -> bool:
        txn = database.begin(Isolation.READ_COMMITTED)
        try:
            tree = txn.tree("t")
            tree[first] = b"1"
            both_hold.wait(10)
            tree[second] = b"1"
            txn.commit()
        except errors.Deadlock:
            txn.abort()
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(work, b"a", b"b"), pool.submit(work, b"b", b"a")]
        assert sorted(future.result(20) for future in done) == [False, True]
    assert seen.get(timeout=5).kind == "deadlock"
    assert database.status().transactions.deadlocks == 1


def test_who_waits_for_whom_can_be_seen_and_ended_from_anywhere(database: Database) -> None:
    holder, waiter = database.begin(), database.begin()
    holder.lock("report")
    outcome: queue.Queue[BaseException | None] = queue.Queue()

    def wait() -> None:
        try:
            waiter.lock("report", timeout_s=30)
            outcome.put(None)
        except errors.HoldfastError as error:
            outcome.put(error)

    thread = threading.Thread(target=wait)
    thread.start()
    edges = wait_for_edges(database)
    assert [(edge.waiter, edge.holder) for edge in edges] == [(waiter.id, holder.id)]
    assert any(info.waiting_for == holder.id for info in database.transactions())
    assert any("report" in lock.resource for lock in database.locks())
    assert database.abort_transaction(holder.id)
    thread.join(10)
    assert outcome.get(timeout=1) is None
    with pytest.raises(errors.HoldfastError) as caught:
        holder.tree("t")[b"k"] = b"v"
    assert isinstance(caught.value, errors.TransactionAborted | errors.TransactionEnded)
    holder.abort()
    waiter.abort()
    assert not database.abort_transaction(987654321)


def wait_for_edges(database: Database) -> list[engine.types.WaitEdge]:  # type: ignore[name-defined]
    for _ in range(500):
        edges = database.wait_for_graph()
        if edges:
            return edges
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def test_a_lock_that_does_not_come_ends_with_a_coded_timeout(database: Database) -> None:
    holder, waiter = database.begin(), database.begin()
    holder.lock("x")
    with pytest.raises(errors.LockTimeout):
        waiter.lock("x", timeout_s=0.05)
    holder.unlock("x")
    waiter.lock("x", timeout_s=1)
    holder.abort()
    waiter.abort()


def test_serializable_is_kept_or_refused_but_never_only_accepted(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("t")
    try:
        first = database.begin(Isolation.SERIALIZABLE)
    except errors.NotSupported:
        return
    second = database.begin(Isolation.SERIALIZABLE)
    outcomes = []
    for txn, mine, other in ((first, b"a", b"b"), (second, b"b", b"a")):
        try:
            txn.tree("t").get(other)
            txn.tree("t")[mine] = b"1"
        except errors.HoldfastError:
            txn.abort()
    for txn in (first, second):
        try:
            txn.commit()
            outcomes.append(True)
        except errors.HoldfastError:
            outcomes.append(False)
    assert outcomes != [True, True]


def test_close_aborts_what_is_open_says_so_and_may_be_called_twice(tmp_path: Path) -> None:
    db = engine.open(tmp_path / "closed.holdfast")
    txn = db.begin()
    txn.tree("t")[b"k"] = b"v"
    assert db.close() == 1
    assert db.close() == 1
    assert db.is_closed
    with pytest.raises(errors.HoldfastError):
        txn.tree("t")[b"k"] = b"w"
    with pytest.raises(errors.StoreClosed):
        db.begin()
    with engine.open(tmp_path / "closed.holdfast", recovery="never") as again:
        assert again.trees() == []


@pytest.mark.parametrize("make_directory", [False, True])
def test_a_missing_database_is_told_from_a_directory_that_is_none(
    tmp_path: Path, make_directory: bool
) -> None:
    path = tmp_path / "nothing"
    if make_directory:
        path.mkdir()
        (path / "letter.txt").write_text("dear reader")
    expected = errors.NotADatabase if make_directory else errors.DatabaseNotFound
    with pytest.raises(expected):
        engine.open(path, create=False)
    with pytest.raises(expected):
        engine.inspect(path)
    if make_directory:
        # What is somebody's directory does not become a database.
        with pytest.raises(errors.NotADatabase):
            engine.open(path)


def test_a_creation_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "d.holdfast"
    (path / "wal").mkdir(parents=True)
    for name in (".creating", "LOCK", "database.holdfast", "control", "wal/000000000001.wal"):
        (path / name).write_bytes(b"")
    (path / "letter.txt").write_text("dear reader")
    with pytest.raises(errors.RecoveryImpossible):
        engine.open(path)
    assert (path / "letter.txt").exists()
    assert (path / "wal" / "000000000001.wal").exists()
    (path / "letter.txt").unlink()
    with pytest.raises(errors.NotADatabase):
        engine.open(path, create=False)
    with engine.open(path) as db:
        assert db.trees() == []
    assert not (path / ".creating").exists()


def test_a_directory_that_holds_only_the_lock_of_a_creation_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "d.holdfast"
    path.mkdir()
    (path / "LOCK").touch()
    with engine.open(path) as db:
        assert db.trees() == []


def test_a_file_is_no_database_but_the_page_file_stands_for_its_directory(tmp_path: Path) -> None:
    with engine.open(tmp_path / "d.holdfast"):
        pass
    with engine.open(tmp_path / "d.holdfast" / "database.holdfast", create=False) as db:
        assert db.path == tmp_path / "d.holdfast"
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(errors.NotADatabase):
        engine.open(tmp_path / "file")


def test_a_database_is_open_in_one_place_only(database: Database) -> None:
    with pytest.raises(errors.DatabaseOpenElsewhere) as caught:
        engine.open(database.path)
    assert caught.value.message.count("process") == 1  # named once
    assert engine.inspect(database.path).state is DatabaseState.OPEN_ELSEWHERE


def test_a_read_only_database_refuses_changes(tmp_path: Path) -> None:
    path = tmp_path / "d.holdfast"
    with engine.open(path) as db, db.transaction() as txn:
        txn.tree("t")[b"k"] = b"v"
    before = _files(path)
    with engine.open(path, read_only=True, create=False) as db:
        with db.begin(read_only=True) as txn:
            assert txn.tree("t", create=False)[b"k"] == b"v"
        with pytest.raises(errors.ReadOnlyDatabase), db.transaction() as txn:
            txn.tree("t")[b"k"] = b"w"
        with pytest.raises(errors.ReadOnlyDatabase):
            db.checkpoint()
        with pytest.raises(errors.ReadOnlyDatabase):
            db.store.set_read_only(False)
        assert db.check().ok
        assert db.status().read_only
    assert _files(path) == before


def _files(path: Path) -> dict[str, bytes]:
    """Every file of a database but the lock, which says who has it open."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "LOCK")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_every_transaction_in_flight_is_rolled_back_at_once(database: Database) -> None:
    running = [database.begin() for _ in range(3)]
    for number, txn in enumerate(running):
        txn.tree(f"t{number}")[b"k"] = b"v"
    assert database.abort_all_transactions() == 3
    for txn in running:
        assert txn.status == "aborted"
        with pytest.raises(errors.TransactionAborted):
            txn.commit()
    assert database.trees() == []
    assert database.abort_all_transactions() == 0


def test_a_snapshot_that_holds_too_much_log_is_too_old(tmp_path: Path) -> None:
    config = Config().changed(segment_size="1 MiB", snapshot_log_limit="1 MiB")
    with engine.open(tmp_path / "d.holdfast", config=config) as db:
        with db.transaction() as txn:
            txn.tree("t")[b"k"] = b"old"
        reader = db.begin(read_only=True)
        assert reader.tree("t")[b"k"] == b"old"
        for number in range(40):
            with db.transaction() as txn:
                txn.tree("t")[b"k"] = bytes([number]) * 60_000
        db.checkpoint()
        with pytest.raises(errors.SnapshotTooOld) as caught:
            reader.tree("t").get(b"k")
        assert "snapshot_log_limit" in str(caught.value.fields["detail"])
        assert db.run(lambda txn: len(txn.tree("t")[b"k"])) == 60_000


def test_wrong_settings_are_named_when_the_database_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "d.holdfast"
    engine.open(path).close()
    (path / "reliability.toml").write_text('cache_size = "a lot"\n')
    with pytest.raises(errors.ConfigInvalid) as caught:
        engine.open(path)
    assert caught.value.fields["setting"] == "cache_size"


def test_wrong_arguments_are_refused_by_name(database: Database, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument):
        database.begin("chaos")
    with pytest.raises(errors.InvalidArgument):
        engine.open(tmp_path / "x", recovery="maybe")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument):
        database.run(lambda txn: None, attempts=0)


def test_a_transaction_used_by_two_threads_at_once_says_so(database: Database) -> None:
    holder, busy = database.begin(), database.begin()
    holder.lock("x")
    waiting = threading.Thread(target=lambda: busy.lock("x", timeout_s=30))
    waiting.start()
    wait_for_edges(database)
    with pytest.raises(errors.TransactionBusy):
        busy.tree("t")
    holder.abort()
    waiting.join(10)
    busy.abort()


def test_the_status_counts_what_was_done(database: Database) -> None:
    before = database.status()
    for number in range(20):
        with database.transaction() as txn:
            txn.tree("t")[b"%d" % number] = b"v" * 1000
    after = database.status()
    assert after.state == "open"
    assert after.transactions.committed - before.transactions.committed == 20
    assert after.log.last_lsn > before.log.last_lsn
    assert after.log.durable_lsn <= after.log.last_lsn
    assert after.latency["commit"].count >= 20
    database.checkpoint()
    assert database.status().checkpoint.count > after.checkpoint.count
    assert database.status().checkpoint.lsn > after.checkpoint.lsn


def test_who_only_read_is_no_commit_whose_time_counts(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("t")[b"k"] = b"v"
    before = database.status()
    for isolation in Isolation:
        for is_read_only in (True, False):
            with database.transaction(isolation, read_only=is_read_only) as txn:
                assert txn.tree("t")[b"k"] == b"v"
    after = database.status()
    assert after.latency["commit"].count == before.latency["commit"].count
    assert after.transactions.written == before.transactions.written


def test_the_status_counts_the_splits_of_pages(database: Database) -> None:
    before = database.status().splits
    with database.transaction() as txn:
        # More than one page of 8 KiB holds.
        txn.tree("t").put_many((b"%04d" % number, b"x" * 100) for number in range(200))
    assert database.status().splits > before


def test_large_values_and_long_keys(database: Database, config: Config) -> None:
    large = bytes(range(256)) * 8192
    with database.transaction() as txn:
        txn.tree("t")[b"large"] = large
    with database.transaction() as txn:
        assert txn.tree("t")[b"large"] == large
    with pytest.raises(errors.KeyTooLong), database.transaction() as txn:
        txn.tree("t")[b"k" * config.page_size] = b"v"


def test_dropping_a_tree_takes_its_records_with_it(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("old")[b"k"] = b"v"
        txn.tree("new")[b"k"] = b"v"
    with database.transaction() as txn:
        txn.drop_tree("old")
    assert database.trees() == ["new"]
    with database.transaction() as txn, pytest.raises(errors.TreeNotFound):
        txn.tree("old", create=False)


def test_a_program_that_ends_without_closing_leaves_a_closed_database(tmp_path: Path) -> None:
    path = tmp_path / "left.holdfast"
    program = f"import engine; db = engine.open({str(path)!r}); txn = db.begin(); txn.tree('t')[b'k'] = b'v'"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
    with engine.open(path, recovery="never") as db:
        assert db.trees() == []
