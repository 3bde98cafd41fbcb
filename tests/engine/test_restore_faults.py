"""What befalls a restore of each kind: full disks, targets in use or gone, damaged archives, wrong keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.keys import passphrase
from engine.backups.point import AT_END, at_transaction, restore_point_task
from engine.backups.restore import restore_task
from engine.config import Config
from engine.database import Database
from engine.tasks import Task
from tests.crash.faults import NO_SMALL_DISK, small_disk

MIB = 1 << 20
on_a_small_disk = pytest.mark.skipif(bool(NO_SMALL_DISK), reason=NO_SMALL_DISK or "small disks")

Restore = Callable[[Database, Path, Path], Task[Any]]

RESTORES: dict[str, Restore] = {
    "full": lambda _db, chain, target: restore_task(chain / "first", target),
    "increment": lambda _db, chain, target: restore_task(chain, target),
    "point": lambda _db, chain, target: restore_point_task(chain, target, AT_END),
    "snapshot": lambda db, _chain, target: db.snapshots.restore_task("then", target),
}
of_each_kind = pytest.mark.parametrize("kind", RESTORES)


def fill(database: Database, value: bytes) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(1000):
            tree[b"%06d" % number] = value * 1000


@pytest.fixture
def kept(tmp_path: Path, config: Config) -> Iterator[tuple[Database, Path]]:
    """A database with an archive, a full backup, an increment and a snapshot; and its chain."""
    chain = tmp_path / "chain"
    with engine.open(tmp_path / "db.holdfast", config=config.changed(archive_log=True)) as database:
        fill(database, b"a")
        first = database.backups.full_task(chain).run()
        fill(database, b"b")
        database.backups.increment_task(chain).run()
        database.snapshots.take("then")
        fill(database, b"c")
        # Under a name that every test can say.
        (chain / "first").symlink_to(first.path, target_is_directory=True)
        yield database, chain


def values(path: Path) -> set[bytes]:
    with engine.open(path, create=False, recovery="never") as database:
        assert database.check().ok
        with database.transaction(read_only=True) as txn:
            return {value[:1] for value in txn.tree("t", create=False).values()}


EXPECTED = {"full": {b"a"}, "increment": {b"b"}, "point": {b"c"}, "snapshot": {b"b"}}


@of_each_kind
def test_a_restore_holds_its_moment(kept: tuple[Database, Path], tmp_path: Path, kind: str) -> None:
    RESTORES[kind](*kept, tmp_path / "back.holdfast").run()
    assert values(tmp_path / "back.holdfast") == EXPECTED[kind]


@on_a_small_disk
@of_each_kind
def test_a_full_disk_leaves_nothing_and_the_restore_works_once_there_is_room(
    kept: tuple[Database, Path], tmp_path: Path, kind: str
) -> None:
    with small_disk(tmp_path / "disk", MIB) as disk:
        target = disk.folder / "back.holdfast"
        with pytest.raises(errors.HoldfastError) as caught:
            RESTORES[kind](*kept, target).run()
        assert caught.value.code in (errors.DiskFull.code, errors.InsufficientResources.code)
        assert caught.value.suggested_action
        assert not list(disk.folder.iterdir())
        disk.grow(400 * MIB)
        RESTORES[kind](*kept, target).run()
        assert values(target) == EXPECTED[kind]
    assert kept[0].check().ok


@of_each_kind
def test_a_directory_in_use_is_left_alone(kept: tuple[Database, Path], tmp_path: Path, kind: str) -> None:
    with engine.open(tmp_path / "other.holdfast") as other:
        with other.transaction() as txn:
            txn.tree("t")[b"k"] = b"other"
        for target in (kept[0].path, other.path):
            before = sorted(entry.name for entry in target.iterdir())
            with pytest.raises(errors.TargetNotEmpty):
                RESTORES[kind](*kept, target).run()
            assert sorted(entry.name for entry in target.iterdir()) == before
        with other.transaction() as txn:
            assert txn.tree("t")[b"k"] == b"other"
        assert other.check().ok


@of_each_kind
def test_a_target_whose_folder_is_gone_is_told_and_nothing_is_written(
    kept: tuple[Database, Path], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "gone").write_bytes(b"no folder any more")
    with pytest.raises(errors.HoldfastError) as caught:
        RESTORES[kind](*kept, tmp_path / "gone" / "back.holdfast").run()
    assert caught.value.code != errors.InternalError.code
    assert caught.value.suggested_action
    assert (tmp_path / "gone").read_bytes() == b"no folder any more"


@of_each_kind
def test_a_cancelled_restore_leaves_nothing(kept: tuple[Database, Path], tmp_path: Path, kind: str) -> None:
    task = RESTORES[kind](*kept, tmp_path / "back.holdfast")
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.run()
    assert not (tmp_path / "back.holdfast").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_segment_of_the_archive_is_named_and_points_before_it_are_reached(
    tmp_path: Path, config: Config
) -> None:
    chain = tmp_path / "chain"
    with engine.open(tmp_path / "db.holdfast", config=config.changed(archive_log=True)) as database:
        fill(database, b"a")
        database.backups.full_task(chain).run()
        txn = database.begin()
        txn.tree("t")[b"early"] = b"b"
        txn.commit()
        for value in (b"c", b"d", b"e", b"f"):
            fill(database, value)
        database.checkpoint()
    segments = sorted((tmp_path / "db.holdfast" / "archive").iterdir())
    assert len(segments) > 2
    damaged = segments[-1]
    content = bytearray(damaged.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = b"what a disk made up while nobody looked at it, as disks will do."
    damaged.write_bytes(content)
    with pytest.raises(errors.HoldfastError) as caught:
        restore_point_task(chain, tmp_path / "end.holdfast", AT_END).run()
    assert caught.value.code in (errors.WalCorrupted.code, errors.PointNotReached.code)
    assert not (tmp_path / "end.holdfast").exists()
    restore_point_task(chain, tmp_path / "early.holdfast", at_transaction(txn.id)).run()
    assert values(tmp_path / "early.holdfast") == {b"a", b"b"}


def test_an_encrypted_backup_is_rolled_forward_with_its_key_only(tmp_path: Path, config: Config) -> None:
    chain, key = tmp_path / "chain", passphrase("a long walk in the hills")
    with engine.open(tmp_path / "db.holdfast", config=config.changed(archive_log=True)) as database:
        fill(database, b"a")
        database.backups.full_task(chain, key=key).run()
        fill(database, b"b")
        target = tmp_path / "back.holdfast"
        for given in (None, passphrase("a long walk in the hill")):
            with pytest.raises(errors.BackupLocked):
                restore_point_task(chain, target, AT_END, key=given).run()
            assert not target.exists()
        restore_point_task(chain, target, AT_END, key=key).run()
        assert values(target) == {b"b"}


def test_snapshots_of_several_at_once_are_each_whole(kept: tuple[Database, Path]) -> None:
    database, _chain = kept
    together, failed = threading.Barrier(3), list[BaseException]()

    def take(number: int) -> None:
        together.wait()
        try:
            database.snapshots.take(f"of {number}")
        except errors.HoldfastError as error:
            failed.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for number in range(3):
        assert database.snapshots.verify_task(f"of {number}").run() >= 0
