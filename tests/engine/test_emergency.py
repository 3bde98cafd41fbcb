"""Emergency backups: of databases that are damaged, in use, or beyond opening; consent; no half ones."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

import engine
from engine import errors
from engine.backups.backup import list_backups
from engine.backups.emergency import emergency_task, restore_emergency_task, verify_emergency_task
from engine.backups.emergency_manifest import MANIFEST, SEALED, emergency_backups, read_emergency
from engine.backups.keys import BackupKey, key_file, make_key_file, passphrase
from engine.cli.__main__ import main
from engine.config import Config, save
from engine.database import Database

ROOT = Path(engine.__file__).resolve().parent.parent


def put(database: Database, first: int, last: int) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(first, last):
            tree[b"%06d" % number] = b"v" * 200


def count(path: Path) -> int:
    with engine.open(path, create=False, recovery="never") as database:
        assert database.check().ok
        with database.transaction() as txn:
            found = len(list(txn.tree("t")))
    return found


def test_a_database_after_a_crash_is_copied_as_it_is_and_recovered_from_the_copy(
    crashed: Callable[..., Path], tmp_path: Path
) -> None:
    path = crashed(commits=20)
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    backup = emergency_task(path, tmp_path / "chain").run()
    assert backup.missing == ()
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    assert emergency_backups(tmp_path / "chain") == (backup,)
    # It is no backup of the chain, and nothing takes it for one.
    assert list_backups(tmp_path / "chain") == ()
    target = tmp_path / "back.holdfast"
    with pytest.raises(errors.BackupIncomplete):
        restore_emergency_task(backup.path, target, accept_incomplete=False).run()
    assert not target.exists()
    done = restore_emergency_task(backup.path, target, accept_incomplete=True).run()
    assert done.problem is None
    assert count(target) == 100


def test_a_database_in_use_is_refused_for_its_files_are_of_different_moments(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 50)
    with pytest.raises(errors.DatabaseOpenElsewhere):
        emergency_task(database.path, tmp_path / "chain").run()
    assert not (tmp_path / "chain").exists()


def test_a_file_that_changes_while_it_is_copied_is_named(database: Database, tmp_path: Path) -> None:
    put(database, 0, 50)
    database.close()
    data = database.path / "database.holdfast"
    inode, whole = data.stat().st_ino, data.read_bytes()

    def changing(descriptor: int, size: int, offset: int) -> bytes:
        content = os.pread(descriptor, size, offset)
        if os.fstat(descriptor).st_ino == inode:
            data.write_bytes(whole + bytes(8192))
        return content

    backup = emergency_task(database.path, tmp_path / "chain", read=changing).run()
    assert backup.missing == ("database.holdfast changed while it was copied.",)


def test_what_cannot_be_read_is_named_and_the_rest_is_there(database: Database, tmp_path: Path) -> None:
    put(database, 0, 3000)
    database.close()
    data = database.path / "database.holdfast"
    bad = range(40 * 8192, 42 * 8192)
    inode = data.stat().st_ino

    def failing(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode and offset < bad.stop and offset + size > bad.start:
            raise OSError(errno.EIO, "the medium cannot be read")
        return os.pread(descriptor, size, offset)

    backup = emergency_task(database.path, tmp_path / "chain", read=failing).run()
    (copied,) = (file for file in backup.files if file.name == "database.holdfast")
    assert copied.unreadable == ((bad.start, len(bad)),)
    assert any("16,384 bytes of database.holdfast" in words for words in backup.missing)
    whole = data.read_bytes()
    copy = (Path(backup.path) / "database.holdfast").read_bytes()
    assert copy == whole[: bad.start] + bytes(len(bad)) + whole[bad.stop :]
    with pytest.raises(errors.BackupIncomplete, match="16,384 bytes"):
        restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=False).run()
    done = restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=True).run()
    # Recovered from what the log still has, or left for the other ways out, and told.
    assert (done.problem is None) == (done.end_lsn is not None)
    assert done.path.joinpath("database.holdfast").exists()


def test_files_that_are_gone_or_cannot_be_opened_are_named(database: Database, tmp_path: Path) -> None:
    put(database, 0, 1000)
    database.close()
    (database.path / "control").unlink()
    segment = min((database.path / "wal").iterdir())
    segment.unlink()
    segment.symlink_to(tmp_path / "nowhere")
    backup = emergency_task(database.path, tmp_path / "chain").run()
    assert "control is not there." in backup.missing
    assert any(words.startswith(f"wal/{segment.name} could not be opened") for words in backup.missing)
    done = restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=True).run()
    # Without its control file nothing can be recovered: what is there stays for a salvage.
    assert done.problem is not None
    assert (done.path / "database.holdfast").exists()


def test_a_damaged_page_is_named_by_its_number(database: Database, tmp_path: Path) -> None:
    put(database, 0, 1000)
    database.close()
    with (database.path / "database.holdfast").open("r+b") as data:
        data.seek(12 * 8192 + 700)
        data.write(b"\x55" * 32)
    backup = emergency_task(database.path, tmp_path / "chain").run()
    assert backup.damaged_pages == (12,)
    assert any("page 12" in words.lower() for words in backup.missing)


def test_damage_to_an_emergency_backup_is_found_and_nothing_is_restored(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 200)
    database.close()
    backup = emergency_task(database.path, tmp_path / "chain").run()
    assert verify_emergency_task(backup.path).run() == backup
    for name in ("database.holdfast", "control", MANIFEST):
        victim = Path(backup.path) / name
        whole = victim.read_bytes()
        for wrong in (whole[:-1], whole[: len(whole) // 2] + b"\x77" + whole[len(whole) // 2 + 1 :], None):
            victim.unlink()
            if wrong is not None:
                victim.write_bytes(wrong)
            with pytest.raises(errors.BackupDamaged):
                verify_emergency_task(backup.path).run()
            with pytest.raises(errors.BackupDamaged):
                restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=True).run()
            assert not (tmp_path / "back").exists()
            victim.unlink(missing_ok=True)
            victim.write_bytes(whole)
    assert read_emergency(backup.path) == backup


def test_cancel_and_a_failing_target_leave_no_half_of_one(database: Database, tmp_path: Path) -> None:
    put(database, 0, 200)
    database.close()
    chain = tmp_path / "chain"
    task = emergency_task(database.path, chain)
    cut = 0

    def cancelling(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal cut
        cut += 1
        if cut == 3:
            task.cancel()
        return os.pread(descriptor, size, offset)

    task = emergency_task(database.path, chain, read=cancelling)
    with pytest.raises(errors.Cancelled):
        task.run()
    assert list(chain.iterdir()) == []
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(errors.HoldfastError):
        emergency_task(database.path, tmp_path / "file").run()
    with pytest.raises(errors.InvalidArgument):
        emergency_task(database.path, database.path / "inside")
    with pytest.raises(errors.DatabaseNotFound):
        emergency_task(tmp_path / "nothing", chain).run()


def test_the_command_line_takes_and_restores_emergency_backups(database: Database, tmp_path: Path) -> None:
    def holdfast(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "engine.cli", *map(str, arguments), "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=100, encoding="utf-8", check=False
        )
        assert done.returncode == status, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    put(database, 0, 100)
    database.close()
    taken = holdfast("backup", database.path, tmp_path / "chain", "--emergency")
    path = taken["emergency"]["path"]
    assert holdfast("verify-backup", path)["complete"]
    target = tmp_path / "back.holdfast"
    assert holdfast("restore", path, target, status=3)["error"]["code"] == -92
    assert holdfast("restore", path, target, "--accept-incomplete")["recovered"]
    assert count(target) == 100


def keys(tmp_path: Path) -> tuple[BackupKey, BackupKey]:
    """A passphrase, and a key file that is noted with what it encrypts."""
    return passphrase("a long walk in the hills"), make_key_file(tmp_path / "backups.key")


def test_an_encrypted_emergency_backup_shows_nothing_and_comes_back_with_its_key(
    crashed: Callable[..., Path], tmp_path: Path
) -> None:
    path = crashed(commits=20)
    words = (path / "database.holdfast").read_bytes()[8192 : 8192 + 64]
    for key in keys(tmp_path):
        chain, target = tmp_path / f"chain-{key.kind}", tmp_path / f"{key.kind}.holdfast"
        backup = emergency_task(path, chain, key=key).run()
        assert (backup.missing, backup.encryption) == ((), key.kind)
        assert emergency_backups(chain) == (backup,)
        stored = [file for file in Path(backup.path).rglob("*") if file.is_file()]
        assert {file.suffix for file in stored if file.name != MANIFEST} == {SEALED}
        assert not any(words in file.read_bytes() for file in stored)
        assert verify_emergency_task(backup.path, key).run() == backup
        restore_emergency_task(backup.path, target, accept_incomplete=True, key=key).run()
        assert count(target) == 100


def test_an_emergency_backup_does_not_open_without_its_key_and_nothing_is_written(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 50)
    database.close()
    phrase, file = keys(tmp_path)
    backup = emergency_task(database.path, tmp_path / "chain", key=phrase).run()
    for key in (None, passphrase("a long walk in the hill"), file):
        with pytest.raises(errors.BackupLocked) as caught:
            verify_emergency_task(backup.path, key).run()
        assert caught.value.fields["path"] == backup.path
        with pytest.raises(errors.BackupLocked):
            restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=True, key=key).run()
        assert not (tmp_path / "back").exists()
    # The key file is found where it was when the backup was taken, and nowhere else.
    backup = emergency_task(database.path, tmp_path / "chain", key=file).run()
    assert verify_emergency_task(backup.path).run() == backup
    Path(file.path).rename(tmp_path / "away.key")
    with pytest.raises(errors.BackupLocked):
        verify_emergency_task(backup.path).run()
    assert verify_emergency_task(backup.path, key_file(tmp_path / "away.key")).run() == backup


def test_damage_to_an_encrypted_emergency_backup_is_found_also_where_its_manifest_was_made_to_fit(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 200)
    database.close()
    key = keys(tmp_path)[1]
    backup = emergency_task(database.path, tmp_path / "chain", key=key).run()

    def assert_found() -> None:
        with pytest.raises(errors.BackupDamaged):
            verify_emergency_task(backup.path, key).run()
        with pytest.raises(errors.BackupDamaged):
            restore_emergency_task(backup.path, tmp_path / "back", accept_incomplete=True, key=key).run()
        assert not (tmp_path / "back").exists()

    for name in (f"database.holdfast{SEALED}", f"control{SEALED}", MANIFEST):
        victim = Path(backup.path) / name
        whole = victim.read_bytes()
        for wrong in (whole[:-1], whole[: len(whole) // 2] + b"\x77" + whole[len(whole) // 2 + 1 :], None):
            victim.unlink()
            if wrong is not None:
                victim.write_bytes(wrong)
            assert_found()
            victim.unlink(missing_ok=True)
            victim.write_bytes(whole)
    manifest = Path(backup.path) / MANIFEST
    value = json.loads(manifest.read_text())
    mac, _seal = value.pop("mac"), value.pop("seal")
    value["missing"] = ["nothing at all"]
    value["seal"] = blake3(json.dumps(value).encode()).hexdigest()
    manifest.write_text(json.dumps({**value, "mac": mac}))
    assert read_emergency(backup.path).missing == ("nothing at all",), "the hash alone fits"
    assert_found()


def test_what_an_encrypted_emergency_backup_lacks_is_told_as_of_one_that_is_not(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 3000)
    database.close()
    data = database.path / "database.holdfast"
    with data.open("r+b") as file:
        file.seek(12 * 8192 + 700)
        file.write(b"\x55" * 32)
    bad, inode = range(40 * 8192, 42 * 8192), data.stat().st_ino

    def failing(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode and offset < bad.stop and offset + size > bad.start:
            raise OSError(errno.EIO, "the medium cannot be read")
        return os.pread(descriptor, size, offset)

    told = []
    for key in (None, keys(tmp_path)[1]):
        backup = emergency_task(database.path, tmp_path / "chain", key=key, read=failing).run()
        assert verify_emergency_task(backup.path, key).run() == backup
        unreadable = [file.unreadable for file in backup.files if file.name == "database.holdfast"]
        told.append((backup.damaged_pages, backup.missing, unreadable, backup.bytes))
    assert told[0] == told[1]
    assert 12 in told[0][0]


def test_where_the_settings_name_a_key_file_no_emergency_backup_is_left_readable(
    database: Database, tmp_path: Path
) -> None:
    path, file = database.path, tmp_path / "backups.key"
    make_key_file(file)
    put(database, 0, 50)
    database.close()
    save(path, Config().changed(backup_key_file=str(file)))
    backup = emergency_task(path, tmp_path / "chain").run()
    assert (backup.encryption, backup.key_file) == ("key_file", str(file))
    assert verify_emergency_task(backup.path).run() == backup
    file.unlink()
    with pytest.raises(errors.BackupLocked):
        emergency_task(path, tmp_path / "other").run()
    assert not (tmp_path / "other").exists()


def test_the_command_line_takes_the_key_of_an_emergency_backup(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, 0, 100)
    database.close()
    file, chain, target = tmp_path / "a.key", tmp_path / "chain", tmp_path / "back.holdfast"
    taking = ["backup", str(database.path), str(chain), "--emergency"]
    assert main([*taking, "--make-key-file", str(file), "--json"]) == 0
    path = json.loads(capsys.readouterr().out)["emergency"]["path"]
    moved = file.rename(tmp_path / "b.key")
    assert main(["verify-backup", path]) == 3
    assert main(["verify-backup", path, "--key-file", str(moved)]) == 0
    assert main(["restore", path, str(target), "--accept-incomplete"]) == 3
    assert not target.exists()
    assert main(["restore", path, str(target), "--accept-incomplete", "--key-file", str(moved)]) == 0
    assert count(target) == 100
    monkeypatch.setattr("engine.cli.keys.getpass", lambda _words: "a long walk in the hills")
    assert main([*taking, "--passphrase"]) == 0
    newest = emergency_backups(chain)[0]
    assert newest.encryption == "passphrase"
    assert main(["verify-backup", newest.path, "--passphrase"]) == 0
