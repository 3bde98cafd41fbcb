"""Encrypted backups: their keys, from Python and the command line; and backups that go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.claim import UNFINISHED
from engine.backups.keys import key_file, make_key_file, pair_of, passphrase
from engine.backups.point import AT_END, preview_task
from engine.backups.preview import restore_preview
from engine.backups.rehearsal import rehearse_task
from engine.backups.restore import restore_task
from engine.cli.__main__ import main
from engine.config import Config
from engine.database import Database
from engine.integrity.plan import Elsewhere, plan_task


def fill(database: Database, first: int = 0, rows: int = 500) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(first, first + rows):
            tree[b"%06d" % number] = b"nobody should read this %06d" % number


def rows_of(path: Path) -> int:
    with engine.open(path, create=False) as database, database.transaction() as txn:
        return len(txn.tree("t", create=False))


def forget_log(database: Database) -> None:
    """The log no longer has the history of any page."""
    for _ in range(3):
        database.store.rotate_log()
        database.checkpoint()


def a_leaf(database: Database) -> int:
    """A page with rows."""
    pages = ((page, database.store.page_info(page)) for page in range(database.status().pages))
    return next(page for page, info in pages if info["kind"] == "leaf" and info["tree"] > 1)


def spoil(path: Path, page: int) -> None:
    """Write rubbish into a page of the closed database."""
    with (path / "database.holdfast").open("r+b") as content:
        content.seek(page * 8192 + 300)
        content.write(b"what a disk made up!")


def test_a_backup_with_a_passphrase_needs_it_for_everything(database: Database, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain", passphrase("a long walk in the hills")
    fill(database)
    info = database.backups.full_task(chain, key=key).run()
    fill(database, 500)
    database.backups.increment_task(chain, key=key).run()
    assert [kept.encryption for kept in list_backups(chain)] == ["passphrase", "passphrase"]
    assert b"nobody" not in b"".join(file.read_bytes() for file in Path(info.path).rglob("*.zst"))
    target = tmp_path / "back.holdfast"
    wrong = passphrase("a long walk in the hill")
    for given in (None, wrong):
        for task in (
            verify_task(chain, given),
            rehearse_task(chain, key=given),
            restore_task(chain, target, key=given),
            preview_task(chain, AT_END, key=given),
            database.backups.increment_task(chain, key=given),
        ):
            with pytest.raises(errors.BackupLocked):
                task.run()
    assert not target.exists()
    assert len(list_backups(chain)) == 2
    verify_task(chain, key).run()
    assert rehearse_task(chain, key=key).run().counted.trees["t"] == 1000
    restore_task(chain, target, key=key).run()
    assert rows_of(target) == 1000


def test_the_key_file_of_the_settings_is_used_without_a_word_until_it_is_gone(
    tmp_path: Path, config: Config
) -> None:
    chain, file = tmp_path / "chain", tmp_path / "backups.key"
    make_key_file(file)
    with pytest.raises(errors.HoldfastError):
        make_key_file(file)
    settings = config.changed(backup_key_file=str(file), backup_folder=str(chain))
    with engine.open(tmp_path / "db.holdfast", config=settings) as database:
        fill(database)
        task = database.keeper.scheduled_task()
        info = task.run()
        assert (info.encryption, info.key_file) == ("key_file", str(file))
        assert database.keeper.backups()[0].is_proved, "it was rehearsed with its key"
        fill(database, 500)
        database.backups.increment_task(chain).run()
        file.rename(tmp_path / "away.key")
        with pytest.raises(errors.BackupLocked) as caught:
            database.backups.full_task(chain).run()
        assert str(file) in caught.value.message
    target = tmp_path / "back.holdfast"
    with pytest.raises(errors.BackupLocked):
        restore_task(chain, target).run()
    restore_task(chain, target, key=key_file(tmp_path / "away.key")).run()
    assert rows_of(target) == 1000


def test_a_damaged_page_comes_back_from_an_encrypted_backup(tmp_path: Path, config: Config) -> None:
    path, file = tmp_path / "db.holdfast", tmp_path / "backups.key"
    make_key_file(file)
    settings = config.changed(backup_key_file=str(file))
    with engine.open(path, config=settings) as database:
        fill(database)
        forget_log(database)
        database.backups.full_task(database.keeper.folder).run()
        page = a_leaf(database)
    spoil(path, page)
    assert main(["repair", str(path)]) == 0
    assert rows_of(path) == 500


def test_a_damaged_page_comes_back_from_a_backup_whose_passphrase_is_given(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"
    with engine.open(path, config=config) as database:
        fill(database)
        forget_log(database)
        database.backups.full_task(chain, key=passphrase("a long walk in the hills")).run()
        page = a_leaf(database)
    spoil(path, page)
    asked = ["a long walk in the dark", "a long walk in the hills"]
    monkeypatch.setattr("engine.cli.keys.getpass", lambda _words: asked.pop(0))
    with engine.open(path, create=False) as database:
        for key, why in ((None, "no key was given"), (passphrase("another one"), "is not the one")):
            plan = plan_task(database, Elsewhere(folders=(chain,), key=pair_of(key))).run()
            assert plan.without_source == (page,)
            assert [(Path(place).parent, why in told) for place, told in plan.locked.items()] == [
                (chain, True)
            ]
    capsys.readouterr()
    assert main(["repair", str(path), "--from", str(chain)]) != 0
    assert "no key was given" in capsys.readouterr().out
    assert main(["repair", str(path), "--from", str(chain), "--passphrase"]) != 0
    assert main(["repair", str(path), "--from", str(chain), "--passphrase"]) == 0
    assert rows_of(path) == 500


def test_the_command_line_encrypts_and_decrypts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chain, file = tmp_path / "db.holdfast", tmp_path / "chain", tmp_path / "a.key"

    def holdfast(*words: object) -> int:
        status = main([*map(str, words)])
        capsys.readouterr()
        return status

    with engine.open(path) as database:
        fill(database)
    assert holdfast("backup", path, chain, "--make-key-file", file) == 0
    moved = file.rename(tmp_path / "b.key")
    assert holdfast("verify-backup", chain) == 3
    assert holdfast("verify-backup", chain, "--key-file", moved) == 0
    assert holdfast("restore", chain, tmp_path / "one.holdfast", "--key-file", moved) == 0
    assert rows_of(tmp_path / "one.holdfast") == 500
    monkeypatch.setattr("engine.cli.keys.getpass", lambda _words: "a long walk in the hills")
    other = tmp_path / "other"
    assert holdfast("backup", path, other, "--passphrase") == 0
    assert holdfast("verify-backup", other, "--passphrase") == 0
    assert main(["restore", str(other), str(tmp_path / "two.holdfast"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == errors.BackupLocked.code
    assert not (tmp_path / "two.holdfast").exists()


def test_the_past_in_an_encrypted_backup_is_compared_and_rescued_with_its_key_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"

    def holdfast(*words: object) -> int:
        status = main([*map(str, words), "--json"])
        told.append(json.loads(capsys.readouterr().out))
        return status

    told: list[dict[str, Any]] = []
    with engine.open(path) as database:
        fill(database)
        database.backups.full_task(chain, key=passphrase("a long walk in the hills")).run()
        with database.transaction() as txn:
            del txn.tree("t")[b"000007"]
    where = (path, "--backups", chain, "--to-lsn", list_backups(chain)[0].end_lsn)
    monkeypatch.setattr("engine.cli.keys.getpass", lambda _words: "a long walk in the dark")
    for more in ((), ("--passphrase",)):
        assert holdfast("difference", *where, *more) == 3
        assert told[-1]["error"]["code"] == errors.BackupLocked.code
        assert holdfast("rescue", *where, "--table", "t", *more) == 3
        assert told[-1]["error"]["code"] == errors.BackupLocked.code
    assert rows_of(path) == 499, "nothing was touched"
    monkeypatch.setattr("engine.cli.keys.getpass", lambda _words: "a long walk in the hills")
    assert holdfast("difference", *where, "--passphrase") == 0
    assert [(table["name"], table["removed"]) for table in told[-1]["tables"]] == [("t", 1)]
    assert holdfast("rescue", *where, "--table", "t", "--passphrase") == 0
    assert rows_of(path) == 500


def test_a_key_file_that_moved_is_found_where_the_settings_say(tmp_path: Path, config: Config) -> None:
    chain, file = tmp_path / "chain", tmp_path / "backups.key"
    key = make_key_file(file)
    with engine.open(tmp_path / "db.holdfast", config=config) as database:
        fill(database)
        database.backups.full_task(chain, key=key).run()
        moved = file.rename(tmp_path / "moved.key")
        with pytest.raises(errors.BackupLocked):
            database.backups.key_for(chain)
        assert restore_preview(chain, tmp_path / "back.holdfast").is_locked
        database.keeper.change(backup_key_file=str(moved))
        found = database.backups.key_for(chain)
        assert found is not None
        assert not restore_preview(chain, tmp_path / "back.holdfast", key=found).is_locked
        verify_task(chain, found).run()


@pytest.mark.parametrize("text", ["", "short"])
def test_a_passphrase_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        passphrase(text)


def test_a_file_that_is_no_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name in ("empty", "missing"):
        with pytest.raises(errors.BackupLocked):
            key_file(tmp_path / name)


def test_a_backup_that_was_cut_off_goes_on_and_does_not_look_like_one_meanwhile(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = tmp_path / "chain"
    monkeypatch.setattr("engine.backups.backup.PART_BYTES", 1 << 20)
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(300):
            tree[b"%06d" % number] = number.to_bytes(2, "little") * 10_000
    task = database.backups.full_task(chain, bytes_per_second=8 << 20)
    task.start()
    while not list(chain.rglob("unfinished.*")):
        assert task.outcome is None, "it is slow enough to be cut off"
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.wait(30)
    (left,) = chain.glob(f"*{UNFINISHED}")
    assert list_backups(chain) == ()
    with database.transaction() as txn:
        txn.tree("t")[b"000007"] = b"changed meanwhile"
    info = database.backups.full_task(chain).run()
    assert info.resumed_pages > 100
    assert not left.exists()
    assert [kept.path for kept in list_backups(chain)] == [info.path]
    restored = restore_task(chain, tmp_path / "back.holdfast").run()
    with engine.open(restored.path, create=False) as back, back.transaction() as txn:
        assert txn.tree("t")[b"000007"] == b"changed meanwhile"
        assert len(txn.tree("t")) == 300


def test_what_was_cut_off_and_cannot_go_on_is_swept_away(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    fill(database)
    for name, content in (("full-1", "{}"), ("full-2", "rubbish"), ("incr-1", "")):
        (chain / f"{name}{UNFINISHED}").mkdir(parents=True)
        (chain / f"{name}{UNFINISHED}" / "unfinished.0").write_text(content)
    info = database.backups.full_task(chain).run()
    assert info.resumed_pages == 0
    assert not list(chain.glob(f"*{UNFINISHED}"))
    shutil.rmtree(chain)
