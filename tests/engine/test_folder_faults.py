"""Folders of backups, mirrors and archives that are shared, go away, fill up or cannot be written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge, errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.history import kept_backups
from engine.backups.past import past_task
from engine.backups.point import AT_BACKUP, AT_END, restore_point_task
from engine.backups.rehearsal import rehearse_task
from engine.backups.rescue import Choice, Conflicts, rescue_task
from engine.backups.restore import restore_task
from engine.backups.retention import Pruned, prune_task, remove_task
from engine.cli.__main__ import main
from engine.config import Config
from engine.database import Database
from engine.integrity.plan import Elsewhere, plan_task
from engine.integrity.repair import repair_task
from engine.tasks import Task
from engine.types import BackupOrigin, MirrorPhase
from tests.crash.faults import NO_SMALL_DISK, small_disk
from tests.engine.conftest import ROOT
from tests.engine.test_mirrors import until

MIB = 1 << 20
on_a_small_disk = pytest.mark.skipif(bool(NO_SMALL_DISK), reason=NO_SMALL_DISK or "small disks")
NONE_BUT_ONE = Config().changed(
    keep_last_backups=1, keep_daily_backups=0, keep_weekly_backups=0, keep_monthly_backups=0
)


def fill(database: Database, letter: bytes, rows: int = 300) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(rows):
            tree[b"%06d" % number] = letter * 1000


def letters(database: Database) -> set[bytes]:
    with database.transaction(read_only=True) as txn:
        return {value[:1] for value in txn.tree("t", create=False).values()}


def letters_in(path: Path) -> set[bytes]:
    with engine.open(path, create=False) as database:
        assert database.check().ok
        return letters(database)


@pytest.fixture
def while_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[object]]:
    """`while_read(work)`: once a backup is about to be read, `work` is done; what that came to."""

    def arrange(work: Callable[[], object]) -> list[object]:
        done: list[object] = []

        def reading(real: Callable[..., Any]) -> Callable[..., Any]:
            def read(*arguments: Any, **keywords: Any) -> Any:
                if not done:
                    done.append(None)
                    try:
                        done[0] = work()
                    except errors.HoldfastError as error:
                        done[0] = error
                return real(*arguments, **keywords)

            return read

        for name in ("verify_backup", "restore_backup", "restore_point"):
            monkeypatch.setattr(bridge, name, reading(getattr(bridge, name)))
        return done

    return arrange


WhileRead = Callable[[Callable[[], object]], list[object]]


@pytest.fixture
def chain(database: Database, tmp_path: Path) -> Path:
    """Two scheduled backups: of rows "a", then of rows "b"."""
    for letter in (b"a", b"b"):
        fill(database, letter)
        database.backups.full_task(tmp_path / "chain", BackupOrigin.SCHEDULED).run()
    return tmp_path / "chain"


def readers(chain: Path, tmp_path: Path) -> dict[str, Task[Any]]:
    oldest = list_backups(chain)[-1].path
    return {
        "verify": verify_task(oldest),
        "rehearse": rehearse_task(oldest, scratch=tmp_path),
        "restore": restore_task(oldest, tmp_path / "one.holdfast"),
        "point": restore_point_task(oldest, tmp_path / "two.holdfast", AT_BACKUP),
    }


@pytest.mark.parametrize("kind", ["verify", "rehearse", "restore", "point"])
def test_no_backup_is_removed_while_one_is_read(
    database: Database, chain: Path, tmp_path: Path, kind: str, while_read: WhileRead
) -> None:
    oldest = list_backups(chain)[-1].path
    pruning = prune_task(chain, NONE_BUT_ONE, database.keeper.identity())
    pruned = while_read(pruning.run)
    readers(chain, tmp_path)[kind].run()
    assert pruned == [Pruned((), 0)]
    assert "is being read" in pruning.warnings[0]
    removed = while_read(remove_task(oldest).run)
    (tmp_path / "more").mkdir()
    readers(chain, tmp_path / "more")[kind].run()
    (refused,) = removed
    assert isinstance(refused, errors.BackupTargetInUse)
    assert "being read" in refused.message
    assert "Wait" in refused.suggested_action
    assert len(list_backups(chain)) == 2
    # Once nobody reads any more, it goes.
    if kind in ("verify", "rehearse"):
        # What is proved last is kept by a rule of its own.
        assert remove_task(oldest).run().names == (Path(oldest).name,)
    else:
        assert len(prune_task(chain, NONE_BUT_ONE, database.keeper.identity()).run().names) == 1
    assert not list(chain.glob(".being-read*"))


def test_a_reader_that_was_killed_keeps_no_backup_from_being_removed(
    database: Database, chain: Path, until_killed: Callable[..., None]
) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from engine.backups.reading import being_read

        with being_read(Path(sys.argv[1])):
            print("ready", flush=True)
            time.sleep(600)
    """
    until_killed(program, str(chain))
    assert list(chain.glob(".being-read*"))
    assert len(prune_task(chain, NONE_BUT_ONE, database.keeper.identity()).run().names) == 1
    assert not list(chain.glob(".being-read*"))


def test_a_backup_may_be_taken_while_another_is_restored(
    database: Database, chain: Path, tmp_path: Path, while_read: WhileRead
) -> None:
    task = restore_task(chain, tmp_path / "back.holdfast")

    def take() -> None:
        fill(database, b"c")
        database.backups.increment_task(chain).run()

    taken = while_read(take)
    task.run()
    assert taken == [None]
    assert letters_in(tmp_path / "back.holdfast") == {b"b"}, "what was newest when it began"
    assert len(list_backups(chain)) == 3
    verify_task(chain).run()


SLOW_BACKUP = """
    import sys
    import engine
    from engine import bridge

    verify = bridge.verify_backup

    def slow(*arguments, **keywords):
        print("going", flush=True)
        sys.stdin.readline()
        return verify(*arguments, **keywords)

    bridge.verify_backup = slow
    with engine.open(sys.argv[1]) as database:
        with database.transaction() as txn:
            txn.tree("t")[b"other"] = b"one"
        database.backups.full_task(sys.argv[2]).run()
"""


def test_backups_of_two_processes_into_one_folder_are_one_after_the_other(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    fill(database, b"a")
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(SLOW_BACKUP),
        str(tmp_path / "other.holdfast"),
        str(chain),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "going\n"
        with pytest.raises(errors.BackupTargetInUse) as refused:
            database.backups.full_task(chain).run()
        assert str(other.pid) in refused.value.message
        assert not database.keeper.backups(chain)
        print("go on", file=other.stdin, flush=True)
        assert other.wait(60) == 0
    database.backups.full_task(chain).run()
    assert len(kept_backups(chain)) == 2
    for info in list_backups(chain):
        verify_task(info.path).run()
    assert database.check().ok


@pytest.mark.parametrize("kind", ["verify", "rehearse", "restore", "point"])
def test_a_folder_that_goes_while_it_is_read_is_told_and_leaves_nothing(
    database: Database, chain: Path, tmp_path: Path, kind: str, while_read: WhileRead
) -> None:
    task = readers(chain, tmp_path)[kind]
    while_read(lambda: chain.rename(tmp_path / "pulled out"))
    with pytest.raises(errors.HoldfastError) as told:
        task.run()
    assert isinstance(told.value, errors.IoError), told.value
    assert str(chain) in told.value.message
    assert told.value.suggested_action
    assert not (tmp_path / "one.holdfast").exists()
    assert not (tmp_path / "two.holdfast").exists()
    assert not list(tmp_path.glob(".holdfast-rehearsal-*"))
    (tmp_path / "pulled out").rename(chain)
    for info in list_backups(chain):
        verify_task(info.path).run()
    assert letters(database) == {b"b"}


def test_a_folder_without_backups_is_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "chain"
    folder.mkdir()
    for verb in (("verify-backup", folder), ("restore", folder, tmp_path / "back.holdfast")):
        assert main([*map(str, verb), "--json"]) == 3
        told = json.loads(capsys.readouterr().out)["error"]
        assert (told["name"], told["code"]) == ("BackupNotFound", -99)
        assert "holds no backup" in told["message"]
        assert "take one" in told["suggested_action"]
    assert not (tmp_path / "back.holdfast").exists()
    # One that was not finished is none either, and one that lost its parts is damaged.
    (folder / "full-1.partial").mkdir()
    with pytest.raises(errors.BackupNotFound) as unfinished:
        verify_task(folder).run()
    assert "not finished" in unfinished.value.message
    with engine.open(tmp_path / "db.holdfast") as database:
        info = database.backups.full_task(folder).run()
    (Path(info.path) / "pages.zst").unlink()
    with pytest.raises(errors.BackupDamaged):
        verify_task(folder).run()


def test_a_recovery_of_a_database_in_use_is_told_as_that(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(database, b"a")
    assert main(["recover", str(database.path)]) == 3
    told = capsys.readouterr().err
    assert "Another program has this database open" in told
    assert f"process {os.getpid()}" in told
    assert "Close the program that has it open" in told
    assert letters(database) == {b"a"}


# Mirrors


@on_a_small_disk
def test_a_first_copy_onto_a_full_disk_is_told_and_goes_on_once_there_is_room(
    tmp_path: Path, config: Config
) -> None:
    with small_disk(tmp_path / "disk", 2 * MIB) as disk:
        mirror = disk.folder / "m.holdfast"
        with engine.open(tmp_path / "a.holdfast", config=config) as database:
            fill(database, b"a", 6000)
            database.mirrors.add(mirror)
            until(lambda: database.mirrors.find(mirror).phase is MirrorPhase.LOST)
            error = database.mirrors.error_of(mirror)
            assert isinstance(error, errors.DiskFull), error
            assert error.suggested_action
            fill(database, b"b", 6000)
            assert letters(database) == {b"b"}
            # What is there is not taken for whole.
            with pytest.raises(errors.HoldfastError):
                engine.open(mirror, create=False)
            disk.grow(400 * MIB)
            until(lambda: database.mirrors.find(mirror).is_level)
            assert database.mirrors.verify_task(mirror).run().ok
            assert database.check().ok


def test_a_mirror_whose_folder_goes_in_the_middle_of_its_first_copy_is_lost_and_told(
    database: Database, tmp_path: Path
) -> None:
    mirror = tmp_path / "m.holdfast"
    fill(database, b"a", 6000)
    database.checkpoint()
    database.mirrors.add(mirror)
    until(lambda: database.mirrors.find(mirror).copied > 0 or database.mirrors.find(mirror).is_level)
    mirror.rename(tmp_path / "away")
    until(lambda: database.mirrors.find(mirror).phase is MirrorPhase.LOST)
    error = database.mirrors.error_of(mirror)
    assert isinstance(error, errors.IoError)
    assert "there is no mirror in this directory" in error.message
    assert error.suggested_action
    assert not (mirror / "standing").exists(), (
        "nothing that says it is a mirror is made where its disk is not"
    )
    fill(database, b"b", 6000)
    assert letters(database) == {b"b"}
    until(lambda: is_put_back(tmp_path / "away", mirror))
    until(lambda: database.mirrors.find(mirror).is_level)
    assert database.mirrors.verify_task(mirror).run().ok


def is_put_back(away: Path, mirror: Path) -> bool:
    """What was made in its place meanwhile goes."""
    shutil.rmtree(mirror, ignore_errors=True)
    with suppress(OSError):
        away.rename(mirror)
    return not away.exists()


# Archive


@on_a_small_disk
def test_log_waits_for_an_archive_that_cannot_be_written_to(tmp_path: Path, config: Config) -> None:
    with small_disk(tmp_path / "disk", 64 * MIB) as disk:
        settings = config.changed(archive_log=True, archive_location=str(disk.folder))

        def remount(mode: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{mode}", str(disk.folder)], check=True)

        with engine.open(tmp_path / "db.holdfast", config=settings) as database:
            fill(database, b"a")
            database.backups.full_task(tmp_path / "chain").run()
            remount("ro")
            told = threading.Event()
            database.events.subscribe(lambda _event: told.set(), ["archive_failed"])
            fill(database, b"b")
            database.store.rotate_log()
            database.checkpoint()
            assert told.wait(60)
            assert letters(database) == {b"b"}
            remount("rw")
            fill(database, b"c")
            database.store.rotate_log()
            database.checkpoint()
            until(lambda: not database.keeper.standing().archive_failure)
            assert not database.keeper.standing().has_archive_gap
        restore_point_task(tmp_path / "chain", tmp_path / "back.holdfast", AT_END).run()
        assert letters_in(tmp_path / "back.holdfast") == {b"c"}


# Rescue and repair on full disks


@on_a_small_disk
def test_a_rescue_onto_a_full_disk_changes_nothing_and_works_once_there_is_room(
    tmp_path: Path, config: Config
) -> None:
    with (
        small_disk(tmp_path / "disk", 200 * MIB) as disk,
        engine.open(disk.folder / "db.holdfast", config=config) as database,
    ):
        fill(database, b"a", 4000)
        database.backups.full_task(tmp_path / "chain").run()
        fill(database, b"b", 4000)
        database.checkpoint()
        with past_task(tmp_path / "chain", AT_BACKUP, scratch=tmp_path).run() as past:
            disk.grow(shutil.disk_usage(disk.folder).used + MIB)
            rescue = rescue_task(past, database, [Choice("t")], Conflicts.EXACT)
            with pytest.raises(errors.DiskFull) as full:
                rescue.run()
            assert full.value.suggested_action
            assert letters(database) == {b"b"}
            assert database.points.all() == ()
            disk.grow(400 * MIB)
            rescue_task(past, database, [Choice("t")], Conflicts.EXACT).run()
        assert letters(database) == {b"a"}
        assert database.check().ok


@on_a_small_disk
def test_a_repair_on_a_full_disk_loses_nothing_and_works_once_there_is_room(
    tmp_path: Path, config: Config
) -> None:
    with small_disk(tmp_path / "disk", 200 * MIB) as disk:
        path = disk.folder / "db.holdfast"
        with engine.open(path, config=config) as database:
            fill(database, b"a", 2000)
            for _ in range(3):
                database.store.rotate_log()
                database.checkpoint()
            database.backups.full_task(tmp_path / "chain").run()
            pages = ((page, database.store.page_info(page)) for page in range(database.status().pages))
            page = next(page for page, info in pages if info["kind"] == "leaf" and info["tree"] > 1)
        with (path / "database.holdfast").open("r+b") as file:
            file.seek(page * 8192 + 300)
            file.write(b"what a disk made up!")
        with engine.open(path, create=False, config=config) as database:
            assert not database.check().ok
            ballast = disk.folder / "ballast"
            ballast.write_bytes(b"x" * (shutil.disk_usage(disk.folder).free - 4096))
            where = Elsewhere(folders=(tmp_path / "chain",))
            outcome: object = None
            try:
                repair_task(database, plan_task(database, where).run()).run()
            except errors.HoldfastError as error:
                outcome = error
            if outcome is not None:
                assert isinstance(outcome, errors.DiskFull), outcome
                assert outcome.suggested_action
                assert len(database.integrity.findings()) == 1, "it is not said to be repaired"
            ballast.unlink()
            disk.grow(400 * MIB)
            if outcome is not None:
                repair_task(database, plan_task(database, where).run()).run()
            assert database.integrity.findings() == ()
            assert database.check().ok
            assert letters(database) == {b"a"}
