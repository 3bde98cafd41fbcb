"""What proves a backup: the four steps, the rehearsal of a restore, and what faults do to them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine import errors
from engine.backups.backup import list_backups
from engine.backups.claim import CLAIM, claimed, holder_of, is_gone
from engine.backups.history import KeptBackup, RowCounts, kept_backup, kept_backups, noted, write_proof
from engine.backups.rehearsal import checksum_task, rehearse_task, room_needed
from engine.backups.restore import restore_task
from engine.database import Database
from engine.types import BackupInfo, BackupOrigin, Outcome, ProofStep

SCHEMA = {
    "name": "people",
    "columns": [
        {"name": "id", "type": "integer", "declared": "integer", "not_null": True},
        {"name": "name", "type": "text", "declared": "text", "not_null": False},
    ],
    "primary_key": ["id"],
    "indexes": [{"name": "by_name", "columns": ["name"], "unique": False}],
}


@pytest.fixture
def taken(database: Database, tmp_path: Path) -> BackupInfo:
    """A backup of a database with a table of 1,200 rows and a tree of 300."""
    with database.transaction() as txn:
        table = txn.create_table(json.dumps(SCHEMA))
        table.insert_many([(number, f"name {number}") for number in range(1200)])
        tree = txn.tree("t")
        for number in range(300):
            tree[b"%06d" % number] = b"v" * 200
    return database.backups.full_task(tmp_path / "chain").run()


def kept_of(info: BackupInfo) -> KeptBackup:
    kept = kept_backup(Path(info.path))
    assert kept is not None
    return kept


def damage(info: BackupInfo) -> None:
    victim = max(Path(info.path).rglob("*.zst"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)


def scratch_left(*folders: Path) -> list[Path]:
    return [left for folder in folders for left in folder.glob(".holdfast-rehearsal-*")]


def test_a_rehearsal_restores_checks_and_counts_and_leaves_nothing_behind(
    taken: BackupInfo, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = kept_of(taken)
    assert (before.at(ProofStep.CHECKSUMMED), before.at(ProofStep.QUERIED)) == (taken.verified_at, None)
    task = rehearse_task(taken.path, scratch=scratch)
    found = task.run()
    assert task.outcome is Outcome.SUCCEEDED
    assert found.counted == RowCounts({"people": 1200}, {"t": 300})
    assert found.is_compared
    assert list(scratch.iterdir()) == []
    kept = kept_of(taken)
    assert kept.is_proved
    assert all(kept.at(step) for step in ProofStep)
    assert kept.counted == found.counted


def test_a_backup_that_lost_rows_is_not_proved(taken: BackupInfo, tmp_path: Path) -> None:
    kept = kept_of(taken)
    assert kept.noted is not None
    # The database said one row more than the backup gives back.
    write_proof(replace(kept, noted=RowCounts({"people": 1201}, {"t": 300}, is_exact=True)))
    with pytest.raises(errors.RehearsalFailed, match=r"people has 1,200 rows.*says 1,201 rows"):
        rehearse_task(taken.path, scratch=tmp_path).run()
    kept = kept_of(taken)
    assert kept.setback is not None
    assert not kept.is_proved
    assert (kept.setback.step, kept.setback.code) == (ProofStep.RESTORED, -69)
    assert scratch_left(tmp_path) == []


def test_who_only_reads_while_a_backup_is_taken_does_not_make_its_numbers_doubtful(
    taken: BackupInfo, database: Database
) -> None:
    def take() -> BackupInfo:
        with database.transaction(read_only=True) as txn:
            assert len(txn.tree("t")) == 300
        return taken

    noted(database, BackupOrigin.SCHEDULED, take)
    assert kept_of(taken).noted == RowCounts({"people": 1200}, {"t": 300}, is_exact=True)


def test_numbers_noted_while_others_committed_are_not_held_against_a_backup(
    database: Database, tmp_path: Path
) -> None:
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            with database.transaction() as txn:
                txn.tree("busy")[b"%06d" % number] = b"x"
            number += 1
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(30)
        info = database.backups.full_task(tmp_path / "chain").run()
    finally:
        stop.set()
        writer.join()
    found = rehearse_task(info.path, scratch=tmp_path).run()
    assert found.noted is not None
    assert not found.is_compared


def test_damage_is_kept_as_the_step_that_failed_and_the_rest_no_longer_counts(taken: BackupInfo) -> None:
    rehearse_task(taken.path).run()
    damage(taken)
    with pytest.raises(errors.BackupDamaged):
        checksum_task(taken.path).run()
    kept = kept_of(taken)
    assert kept.setback is not None
    assert (kept.setback.step, kept.is_proved) == (ProofStep.CHECKSUMMED, False)


def test_a_damaged_backup_is_not_proved_by_a_rehearsal_and_its_scratch_goes(
    taken: BackupInfo, tmp_path: Path
) -> None:
    damage(taken)
    with pytest.raises(errors.BackupDamaged):
        rehearse_task(taken.path, scratch=tmp_path).run()
    kept = kept_of(taken)
    assert kept.setback is not None
    assert scratch_left(tmp_path) == []


def test_a_rehearsal_without_room_says_so_before_it_writes(taken: BackupInfo, tmp_path: Path) -> None:
    manifest = Path(taken.path) / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"][0]["restored_bytes"] = 1 << 60
    manifest.write_text(json.dumps(content))
    assert room_needed(Path(taken.path)) > 1 << 60
    with pytest.raises(errors.DiskFull) as caught:
        rehearse_task(taken.path, scratch=tmp_path).run()
    assert caught.value.fields["required"] > caught.value.fields["available"] > 0
    assert scratch_left(tmp_path) == []
    kept = kept_of(taken)
    assert kept.setback is None, "a full disk says nothing about a backup"


def test_a_cancelled_rehearsal_leaves_no_scratch_and_no_verdict(taken: BackupInfo, tmp_path: Path) -> None:
    task = rehearse_task(taken.path, scratch=tmp_path)

    def cancel_once_it_restores(progress: object) -> None:
        if scratch_left(tmp_path):
            task.cancel()

    task.observe(cancel_once_it_restores)
    with pytest.raises(errors.Cancelled):
        task.run()
    assert scratch_left(tmp_path) == []
    kept = kept_of(taken)
    assert kept.setback is None
    assert not kept.is_proved


def test_the_scratch_of_a_rehearsal_that_was_killed_goes_with_the_next(
    taken: BackupInfo, tmp_path: Path
) -> None:
    left = tmp_path / ".holdfast-rehearsal-999999999-abc"
    (left / "restored.holdfast").mkdir(parents=True)
    ours = tmp_path / f".holdfast-rehearsal-{os.getpid()}-abc"
    ours.mkdir()
    rehearse_task(taken.path, scratch=tmp_path).run()
    assert scratch_left(tmp_path) == [ours]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe", b'{"origin": "nobody"}']
)
def test_a_damaged_proof_is_met_with_a_word_and_made_up_for_from_the_manifest(
    taken: BackupInfo, content: bytes
) -> None:
    rehearse_task(taken.path).run()
    Path(f"{taken.path}.proof.json").write_bytes(content)
    (kept,) = kept_backups(Path(taken.path).parent)
    assert "could not be read" in kept.note
    assert kept.info == taken
    assert not kept.is_proved
    rehearse_task(taken.path).run()
    (kept,) = kept_backups(Path(taken.path).parent)
    assert kept.note == ""
    assert kept.is_proved


def test_a_backup_whose_record_is_lost_is_listed_from_its_manifest(taken: BackupInfo) -> None:
    Path(f"{taken.path}.backup.json").unlink()
    (kept,) = kept_backups(Path(taken.path).parent)
    assert (kept.info.end_lsn, kept.info.pages) == (taken.end_lsn, taken.pages)
    assert abs(kept.info.taken_at - taken.taken_at) < 0.001
    assert kept.info.verified_at is None
    (Path(taken.path) / "manifest.json").write_text("rubbish")
    assert kept_backups(Path(taken.path).parent) == ()


def test_who_asked_for_a_backup_is_kept(database: Database, tmp_path: Path) -> None:
    database.backups.full_task(tmp_path / "chain", BackupOrigin.SCHEDULED).run()
    (kept,) = kept_backups(tmp_path / "chain")
    assert kept.origin is BackupOrigin.SCHEDULED


def test_two_backups_at_once_never_write_to_one_folder(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    with claimed(chain), pytest.raises(errors.BackupTargetInUse):
        database.backups.full_task(chain).run()
    database.backups.full_task(chain).run()
    assert len(list_backups(chain)) == 1


KILLED_CLAIM = """
    import sys, time
    from pathlib import Path
    from engine.backups.claim import claimed

    with claimed(Path(sys.argv[1])):
        (Path(sys.argv[1]) / "full-1.partial").mkdir()
        print("ready", flush=True)
        time.sleep(600)
"""


def test_a_backup_that_was_killed_does_not_block_the_next(
    database: Database, tmp_path: Path, until_killed: Callable[..., None]
) -> None:
    chain = tmp_path / "chain"
    until_killed(KILLED_CLAIM, str(chain))
    assert (chain / CLAIM).exists()
    info = database.backups.full_task(chain).run()
    assert sorted(path.name for path in chain.iterdir()) == sorted(
        Path(info.path).name + ending for ending in ("", ".backup.json", ".proof.json")
    )


def test_a_holder_is_the_same_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    told = holder_of(os.getpid())
    for place in ("psutil.boot_time", "psutil._psplatform.boot_time"):
        monkeypatch.setattr(place, lambda: 1.0)
    assert not is_gone(told)


def test_the_claim_of_another_machine_is_respected(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    chain.mkdir()
    (chain / CLAIM).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0}))
    with pytest.raises(errors.BackupTargetInUse):
        database.backups.full_task(chain).run()


def test_a_folder_that_is_a_file_is_refused_with_a_code(database: Database, tmp_path: Path) -> None:
    (tmp_path / "chain").write_text("not a folder")
    with pytest.raises(errors.HoldfastError):
        database.backups.full_task(tmp_path / "chain").run()
    assert (tmp_path / "chain").read_text() == "not a folder"


def test_a_restore_into_a_database_that_is_open_is_refused(taken: BackupInfo, database: Database) -> None:
    with pytest.raises(errors.TargetNotEmpty):
        restore_task(taken.path, database.path).run()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file systems of memory")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts")
def test_a_full_target_leaves_the_folder_as_it_was_and_says_what_to_do(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as txn:
        for number in range(40_000):
            txn.tree("t")[b"%06d" % number] = os.urandom(100)
    full = tmp_path / "full"
    full.mkdir()
    if shutil.which("mount") is None or os.system(f"mount -t tmpfs -o size=1m tmpfs {full} 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(errors.DiskFull) as caught:
            database.backups.full_task(full / "chain").run()
        assert "another" in caught.value.suggested_action
        assert list((full / "chain").iterdir()) == []
    finally:
        os.system(f"umount {full}")
