"""Backups under load, their proof, and what comes back from them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.restore import restore_task
from engine.database import Database
from engine.types import Outcome


def fill(database: Database, count: int = 500) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(count):
            tree[b"%06d" % number] = b"v" * 200


def test_a_restored_backup_equals_what_was_committed(database: Database, tmp_path: Path) -> None:
    fill(database)
    info = database.backups.full_task(tmp_path / "chain").run()
    assert info.verified_at is not None
    with database.transaction() as txn:
        txn.tree("t")[b"later"] = b"not in the backup"
    result = restore_task(tmp_path / "chain", tmp_path / "back.holdfast").run()
    assert result.end_lsn == info.end_lsn
    assert result.recovery.recovered
    with engine.open(result.path, create=False, recovery="never") as restored:
        with restored.transaction() as txn:
            assert len(txn.tree("t")) == 500
            assert b"later" not in txn.tree("t")
        assert restored.check().ok


def test_a_backup_under_eight_writers_is_the_state_at_its_end(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()
    with database.transaction() as txn:
        txn.tree("pairs")
        txn.tree("log")

    def write(name: bytes) -> None:
        # Each transaction writes a pair: a state that someone committed never has half of one.
        number = 0
        while not stop.is_set():
            number += 1
            with database.transaction() as txn:
                tree = txn.tree("pairs")
                tree[name + b"-a"] = tree[name + b"-b"] = b"%d" % number
                txn.tree("log")[name + b"%06d" % number] = b"x" * 300

    writers = [threading.Thread(target=write, args=(b"w%d" % index,)) for index in range(8)]
    for writer in writers:
        writer.start()
    try:
        database.backups.full_task(tmp_path / "chain").run()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    result = restore_task(tmp_path / "chain", tmp_path / "back.holdfast").run()
    with engine.open(result.path, recovery="never") as restored, restored.transaction() as txn:
        pairs, log = dict(txn.tree("pairs")), list(txn.tree("log"))
        for name in {key[:2] for key in pairs}:
            number = int(pairs[name + b"-a"])
            assert pairs[name + b"-b"] == b"%d" % number
            assert [key for key in log if key.startswith(name)] == [
                name + b"%06d" % place for place in range(1, number + 1)
            ]


def test_a_chain_lists_its_backups_newest_first(database: Database, tmp_path: Path) -> None:
    fill(database, 10)
    first = database.backups.full_task(tmp_path / "chain").run()
    fill(database, 20)
    second = database.backups.full_task(tmp_path / "chain").run()
    assert [info.path for info in list_backups(tmp_path / "chain")] == [second.path, first.path]
    assert database.backups.last == second
    # A chain may be moved as a whole.
    (tmp_path / "chain").rename(tmp_path / "moved")
    assert [Path(info.path).parent for info in list_backups(tmp_path / "moved")] == [tmp_path / "moved"] * 2


def test_damage_to_a_backup_is_found_and_it_is_not_restored(database: Database, tmp_path: Path) -> None:
    fill(database)
    info = database.backups.full_task(tmp_path / "chain").run()
    assert verify_task(tmp_path / "chain").run().pages == info.pages
    victim = max(
        (path for path in Path(info.path).rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(errors.BackupDamaged):
        verify_task(tmp_path / "chain").run()
    with pytest.raises(errors.BackupDamaged):
        restore_task(tmp_path / "chain", tmp_path / "back.holdfast").run()
    assert not (tmp_path / "back.holdfast").exists()


def test_a_cancelled_backup_leaves_the_chain_as_it_was(database: Database, tmp_path: Path) -> None:
    fill(database)
    task = database.backups.full_task(tmp_path / "chain")
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.run()
    assert task.outcome is Outcome.CANCELLED
    assert list_backups(tmp_path / "chain") == ()
    assert not (tmp_path / "chain").exists() or not list((tmp_path / "chain").iterdir())


def test_one_backup_at_a_time_goes_to_a_chain(database: Database, tmp_path: Path) -> None:
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / ".backup-under-way").touch()
    with pytest.raises(errors.BackupTargetInUse):
        database.backups.full_task(tmp_path / "chain").run()


def test_a_restore_never_touches_what_is_there(database: Database, tmp_path: Path) -> None:
    fill(database, 5)
    database.backups.full_task(tmp_path / "chain").run()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear reader")
    with pytest.raises(errors.TargetNotEmpty):
        restore_task(tmp_path / "chain", tmp_path / "taken").run()
    with pytest.raises(errors.TargetNotEmpty):
        restore_task(tmp_path / "chain", database.path).run()
    assert (tmp_path / "taken" / "letter.txt").read_text() == "dear reader"


def test_places_that_make_no_sense_are_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument):
        database.backups.full_task(database.path / "backups")
    with pytest.raises(errors.BackupNotFound):
        verify_task(tmp_path / "nothing").run()
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.BackupNotFound):
        verify_task(tmp_path / "empty").run()
