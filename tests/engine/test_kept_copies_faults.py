"""What befalls backups, snapshots, the archive and restores from outside: full disks, folders that go."""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.emergency import emergency_task
from engine.backups.keys import passphrase
from engine.backups.point import AT_END, preview_task, restore_point_task
from engine.backups.restore import restore_task
from engine.config import Config
from engine.database import Database
from engine.types import Event
from tests.crash.faults import NO_SMALL_DISK, small_disk
from tests.engine.damaged import spoil_leaf

MIB = 1 << 20
on_a_small_disk = pytest.mark.skipif(bool(NO_SMALL_DISK), reason=NO_SMALL_DISK or "small disks")


def fill(database: Database, value: bytes, rows: int = 300) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(rows):
            tree[b"%06d" % number] = value * 1000


def rows_of(path: Path) -> int:
    with engine.open(path, create=False) as database, database.transaction(read_only=True) as txn:
        return len(txn.tree("t", create=False))


def deductions(database: Database) -> dict[str, str]:
    return {deduction.name: deduction.action for deduction in database.health.report().deductions}


def listen(database: Database, *kinds: str) -> queue.Queue[Event]:
    heard: queue.Queue[Event] = queue.Queue()
    database.events.subscribe(heard.put, kinds)
    return heard


@on_a_small_disk
def test_a_snapshot_that_is_given_up_for_a_full_disk_is_told_until_the_next_is_taken(
    tmp_path: Path, config: Config
) -> None:
    with small_disk(tmp_path / "disk", 800 * MIB) as disk:
        path = disk.folder / "db.holdfast"
        with engine.open(path, config=config) as database:
            fill(database, b"a")
            database.checkpoint()
            database.snapshots.take("before the change")
            assert "snapshot_given_up" not in deductions(database)
            used = shutil.disk_usage(disk.folder).used
            disk.grow(used + 100 * MIB)
            heard = listen(database, "snapshot_given_up")
            fill(database, b"b")
            database.checkpoint()
            assert heard.get(timeout=30).fields["name"] == "before the change"
            while not database.snapshot_keeper.standing().given_up:
                pass  # It hears of it on a thread of its own.
            standing = database.snapshot_keeper.standing()
            assert standing.given_up == ("before the change",)
            assert standing.given_up_why
            assert deductions(database)["snapshot_given_up"] == "snapshots"
            with pytest.raises(errors.DiskFull):
                database.snapshots.take("no room")
        with engine.open(path, config=config) as database:
            assert "snapshot_given_up" in deductions(database), "it is not forgotten with a restart"
            disk.grow(800 * MIB)
            heard = listen(database, "snapshot_taken")
            database.snapshots.take("after")
            heard.get(timeout=30)
            while database.snapshot_keeper.standing().given_up:
                pass
            assert "snapshot_given_up" not in deductions(database)
            assert rows_of_open(database) == 300
        with engine.open(path, config=config) as database:
            assert "snapshot_given_up" not in deductions(database)


def rows_of_open(database: Database) -> int:
    with database.transaction(read_only=True) as txn:
        return len(txn.tree("t", create=False))


@on_a_small_disk
def test_log_waits_for_an_archive_whose_disk_is_full_and_goes_there_once_there_is_room(
    tmp_path: Path, config: Config
) -> None:
    with small_disk(tmp_path / "disk", MIB // 2) as disk:
        settings = config.changed(
            archive_log=True, archive_location=str(disk.folder / "archive"), archive_wait_limit="64 MiB"
        )
        disk.folder.joinpath("archive").mkdir()
        with engine.open(tmp_path / "db.holdfast", config=settings) as database:
            heard = listen(database, "backups_changed")
            write_noise(database)
            while not database.keeper.standing().archive_failure:
                heard.get(timeout=30)
            standing = database.keeper.standing()
            assert standing.archive_waiting_bytes > 0
            assert not standing.has_archive_gap
            assert deductions(database)["archive_failed"] == "settings"
            disk.grow(200 * MIB)
            write_noise(database)
            while database.keeper.standing().archive_failure:
                heard.get(timeout=30)
            assert "archive_failed" not in deductions(database)
            assert not database.keeper.standing().has_archive_gap


def write_noise(database: Database) -> None:
    """Log that cannot be compressed, and whole segments of it."""
    for number in range(8):
        with database.transaction() as txn:
            txn.tree("noise")[b"%02d" % number] = os.urandom(500_000)
        database.store.rotate_log()
        database.checkpoint()


def test_a_target_that_goes_in_the_middle_of_a_backup_fails_it_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "disk" / "chain"
    fill(database, b"a", 3000)
    database.checkpoint()
    task = database.backups.full_task(chain, bytes_per_second=2 * MIB)
    task.start()
    while not list(chain.glob("*.partial/*")):
        assert task.outcome is None, "it is slow enough to lose its target"
    shutil.rmtree(chain.parent)
    with pytest.raises(errors.HoldfastError) as caught:
        task.wait(60)
    assert isinstance(caught.value, errors.IoError), caught.value
    assert not list_backups(chain)
    fill(database, b"b", 3000)
    assert database.check().ok
    database.backups.full_task(tmp_path / "other").run()


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(tmp_path: Path, config: Config) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"
    with engine.open(path, config=config.changed(segment_size="1 MiB")) as database:
        fill(database, b"a", 3000)
        known = database.backups.full_task(chain).run()
        for _ in range(3):
            database.store.rotate_log()
            database.checkpoint()
    page = spoil_leaf(path, config)
    with engine.open(path, create=False, config=config) as database:
        for task in (database.backups.full_task(chain), database.backups.increment_task(tmp_path / "other")):
            with pytest.raises(errors.HoldfastError) as caught:
                task.run()
            assert caught.value.suggested_action
        with pytest.raises(errors.ChecksumMismatch) as named:
            database.backups.full_task(chain).run()
        assert named.value.fields["page_id"] == page
        assert [info.path for info in list_backups(chain)] == [known.path]
        assert verify_task(chain).run().path == known.path
        with database.transaction() as txn:
            txn.tree("another")[b"k"] = b"the rest stays in use"
    backup = emergency_task(path, chain).run()
    assert page in backup.damaged_pages, "this one takes what can be read, and says what it lacks"
    assert len(list_backups(chain)) == 1


def test_a_snapshot_of_a_database_with_a_damaged_page_is_not_proved_and_restores_nothing(
    tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "db.holdfast"
    with engine.open(path, config=config.changed(segment_size="1 MiB")) as database:
        fill(database, b"a", 3000)
        for _ in range(3):
            database.store.rotate_log()
            database.checkpoint()
    spoil_leaf(path, config)
    with engine.open(path, create=False, config=config) as database:
        with suppress(errors.ChecksumMismatch):
            database.snapshots.take("then")
        for info in database.snapshots.list():
            with pytest.raises(errors.HoldfastError) as unproved:
                database.snapshots.verify_task(info.name).run()
            assert unproved.value.code in (errors.ChecksumMismatch.code, errors.SnapshotDamaged.code)
            with pytest.raises(errors.HoldfastError) as unrestored:
                database.snapshots.restore_task(info.name, tmp_path / "back.holdfast").run()
            assert unrestored.value.suggested_action
            assert not (tmp_path / "back.holdfast").exists()
        with database.transaction() as txn:
            txn.tree("another")[b"k"] = b"the rest stays in use"
        with database.transaction(read_only=True) as txn:
            assert txn.tree("t", create=False)[b"002999"] == b"a" * 1000


def test_log_that_is_damaged_before_it_is_archived_is_told_until_there_is_a_newer_backup(
    tmp_path: Path, config: Config
) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"
    settings = config.changed(archive_log=True, backup_folder=str(chain))
    with engine.open(path, config=settings) as database:
        fill(database, b"a")
        taken = database.backups.full_task(chain).run()
        heard = listen(database, "backups_changed", "archive_broken")
        fill(database, b"b")
        database.store.rotate_log()
        # The disk loses some of what came after the backup, before it goes to the archive.
        segment = min((path / "wal").iterdir())
        with segment.open("r+b") as file:
            file.seek(taken.end_lsn + 100_000)
            file.write(b"what a disk made up!")
        database.checkpoint()
        database.checkpoint()
        while not database.keeper.standing().has_archive_gap:
            heard.get(timeout=30)
        assert deductions(database)["archive_gap"] == "back_up"
        assert rows_of_open(database) == 300
        with pytest.raises(errors.PointNotReached) as refused:
            preview_task(chain, AT_END).run()
        assert refused.value.suggested_action
        database.backups.full_task(chain).run()
        assert "archive_gap" not in deductions(database), "every moment from here on can be restored"
        fill(database, b"c")
        database.checkpoint()
        restore_point_task(chain, tmp_path / "back.holdfast", AT_END).run()
        assert database.check().ok
    assert rows_of(tmp_path / "back.holdfast") == 300


@on_a_small_disk
def test_a_full_disk_leaves_no_half_of_an_emergency_backup(database: Database, tmp_path: Path) -> None:
    fill(database, b"a", 3000)
    database.close()
    with small_disk(tmp_path / "disk", MIB // 2) as disk:
        chain = disk.folder / "chain"
        for key in (None, passphrase("a long walk in the hills")):
            with pytest.raises(errors.DiskFull):
                emergency_task(database.path, chain, key=key).run()
            assert not list(chain.iterdir())
        disk.grow(200 * MIB)
        assert emergency_task(database.path, chain).run().missing == ()


def test_a_folder_of_snapshots_that_goes_costs_them_and_not_the_database(
    tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "db.holdfast"
    with engine.open(path, config=config) as database:
        fill(database, b"a")
        database.checkpoint()
        database.snapshots.take("first")
        shutil.rmtree(path / "snapshots")
        fill(database, b"b")
        database.checkpoint()
        assert database.check().ok
        with pytest.raises(errors.HoldfastError) as caught:
            database.snapshots.verify_task("first").run()
        assert caught.value.code in (errors.SnapshotDamaged.code, errors.SnapshotNotFound.code)
    with engine.open(path, config=config) as database:
        assert database.check().ok
        assert database.snapshots.list() == ()
        database.snapshots.take("second")
        assert database.snapshots.verify_task("second").run() > 0


def lose(folder: Path) -> None:
    """As with a share that goes: what lies there is no folder any more."""
    while not folder.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        # Somebody may have made it again in between.
        with suppress(OSError):
            folder.touch(exist_ok=False)


def test_a_place_that_is_lost_while_snapshots_are_taken_costs_them_and_not_the_database(
    tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "db.holdfast"
    with engine.open(path, config=config) as database:
        fill(database, b"a")
        database.checkpoint()
        taken, failed = threading.Event(), list[errors.HoldfastError]()

        def take() -> None:
            for number in itertools.count():
                try:
                    database.snapshots.take(f"snapshot {number}")
                except errors.HoldfastError as error:
                    failed.append(error)
                    return
                finally:
                    taken.set()

        taker = threading.Thread(target=take)
        taker.start()
        taken.wait()
        lose(path / "snapshots")
        taker.join()
        assert failed[0].suggested_action
        fill(database, b"b")
        database.checkpoint()
        assert rows_of_open(database) == 300
        assert database.check().ok
    (path / "snapshots").unlink()
    with engine.open(path, config=config) as database:
        assert database.check().ok
        database.snapshots.take("after")
        assert database.snapshots.verify_task("after").run() > 0


def test_two_restores_into_one_directory_leave_the_whole_of_one(database: Database, tmp_path: Path) -> None:
    fill(database, b"a")
    info = database.backups.full_task(tmp_path / "chain").run()
    for place in (tmp_path / "missing.holdfast", tmp_path / "empty.holdfast"):
        if place.stem == "empty":
            place.mkdir()
        ready, ended = threading.Barrier(3), queue.Queue[object]()

        def one(
            place: Path = place, ready: threading.Barrier = ready, to: queue.Queue[object] = ended
        ) -> None:
            task = restore_task(info.path, place)
            ready.wait()
            try:
                to.put(task.run())
            except errors.TargetNotEmpty as error:
                to.put(error)

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        outcomes = [ended.get_nowait() for _ in threads]
        assert sum(isinstance(outcome, errors.TargetNotEmpty) for outcome in outcomes) == 2
        assert rows_of(place) == 300
        assert not list(tmp_path.glob(".*being-restored"))


def test_a_restore_into_a_directory_in_use_touches_nothing(database: Database, tmp_path: Path) -> None:
    fill(database, b"a")
    info = database.backups.full_task(tmp_path / "chain").run()
    before = sorted(path.name for path in database.path.iterdir())
    with pytest.raises(errors.TargetNotEmpty):
        restore_task(info.path, database.path).run()
    assert sorted(path.name for path in database.path.iterdir()) == before
    assert rows_of_open(database) == 300
