"""What `test_killed_copies` kills: each piece of work on a home with a database, its backups, a snapshot.

A home is made once and copied for each kill. It holds `db.holdfast` with the tree "t" whose values all begin
with the letter of the state that they are of, and `chain`, the folder of its backups.
"""

from __future__ import annotations

from pathlib import Path

import engine
from engine.backups.claim import claimed
from engine.backups.emergency import emergency_task
from engine.backups.past import past_task
from engine.backups.point import AT_BACKUP, AT_END, restore_point_task
from engine.backups.rehearsal import rehearse_task
from engine.backups.rescue import Choice, Conflicts, rescue_task
from engine.backups.restore import restore_task
from engine.backups.retention import remove_task
from engine.config import Config
from engine.database import Database
from engine.integrity.plan import Elsewhere, plan_task
from engine.integrity.repair import repair_task
from engine.types import BackupOrigin
from tests.engine.damaged import spoil_leaf

SETTINGS = Config().changed(segment_size="1 MiB", cache_size="1 MiB", log_buffer="1 MiB", archive_log=True)
ROWS = 60
OF_FULL, OF_INCREMENT, OF_SNAPSHOT, OF_NOW, OF_NEXT = b"a", b"b", b"c", b"d", b"e"
SNAPSHOT = "then"


def fill(database: Database, letter: bytes) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(ROWS):
            tree[b"%03d" % number] = letter * 4000


def make_home(home: Path) -> None:
    home.mkdir()
    with engine.open(home / "db.holdfast", config=SETTINGS) as database:
        fill(database, OF_FULL)
        database.backups.full_task(home / "chain", BackupOrigin.SCHEDULED).run()
        fill(database, OF_INCREMENT)
        database.backups.increment_task(home / "chain", BackupOrigin.SCHEDULED).run()
        fill(database, OF_SNAPSHOT)
        database.snapshots.take(SNAPSHOT)
        fill(database, OF_NOW)
        database.checkpoint()


def opened(home: Path) -> Database:
    return engine.open(home / "db.holdfast", create=False, config=SETTINGS)


def full(home: str) -> None:
    with opened(Path(home)) as database:
        database.backups.full_task(Path(home) / "chain").run()


def increment(home: str) -> None:
    with opened(Path(home)) as database:
        database.backups.increment_task(Path(home) / "chain").run()


def claim(home: str) -> None:
    with claimed(Path(home) / "chain"):
        pass


def emergency(home: str) -> None:
    emergency_task(Path(home) / "db.holdfast", Path(home) / "chain").run()


def rehearsal(home: str) -> None:
    rehearse_task(Path(home) / "chain", scratch=home).run()


def removal(home: str) -> None:
    oldest = min((Path(home) / "chain").glob("full-*Z"))
    remove_task(oldest).run()


def restore(home: str, target: str) -> None:
    restore_task(Path(home) / "chain", target).run()


def restore_to_point(home: str, target: str) -> None:
    restore_point_task(Path(home) / "chain", target, AT_END, [Path(home) / "db.holdfast"]).run()


def restore_snapshot(home: str, target: str) -> None:
    with opened(Path(home)) as database:
        database.snapshots.restore_task(SNAPSHOT, target).run()


def snapshot(home: str) -> None:
    with opened(Path(home)) as database:
        database.snapshots.take("new")


def snapshot_dropped(home: str) -> None:
    with opened(Path(home)) as database:
        database.snapshots.drop(SNAPSHOT)


def rescue(home: str) -> None:
    place = Path(home)
    with opened(place) as database, past_task(place / "chain", AT_BACKUP, scratch=place).run() as past:
        rescue_task(past, database, [Choice("t")], Conflicts.EXACT).run()


def archive(home: str) -> None:
    with opened(Path(home)) as database:
        fill(database, OF_NEXT)
        database.store.rotate_log()
        database.checkpoint()
        database.store.rotate_log()
        database.checkpoint()


def first_copy(home: str) -> None:
    with opened(Path(home)) as database:
        database.mirrors.add(Path(home) / "mirror.holdfast")
        database.mirrors.level_task(Path(home) / "mirror.holdfast").run()


def spoil(home: Path) -> int:
    """Write rubbish into a page of the closed database that has rows; its history is in log and backups."""
    return spoil_leaf(home / "db.holdfast", SETTINGS)


def repair(home: str) -> None:
    with opened(Path(home)) as database:
        database.check()
        repair_task(database, plan_task(database, Elsewhere(folders=(Path(home) / "chain",))).run()).run()
