"""Emergency backups of a database that is open: one moment, whatever is written meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import engine
from engine.backups.emergency import emergency_task, restore_emergency_task, verify_emergency_task
from engine.config import Config
from engine.database import Database
from tests.engine.conftest import SMALL
from tests.engine.damaged import PAGE


def put(database: Database, first: int, last: int) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(first, last):
            tree[b"%06d" % number] = b"v" * 400


def restored(backup: str, target: Path) -> list[int]:
    """The numbers in a backup, brought back and checked."""
    done = restore_emergency_task(backup, target, accept_incomplete=True).run()
    assert done.problem is None, done.problem
    with engine.open(target, create=False, recovery="never") as database:
        assert database.check().ok
        with database.transaction(read_only=True) as txn:
            return [int(key) for key in txn.tree("t")]


def turn_over(database: Database, first: int) -> int:
    """Commit, and let go of log that nobody needs, three times over."""
    for _ in range(3):
        put(database, first, first + 1500)
        first += 1500
        database.store.rotate_log()
        database.checkpoint()
    return first


def test_an_open_database_is_copied_with_what_is_committed_and_stays_in_use(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 500)
    with database.transaction() as under_way:
        under_way.tree("t")[b"900000"] = b"not committed"
        backup = emergency_task(database.path, tmp_path / "chain", opened=database).run()
        assert backup.missing == ()
        assert verify_emergency_task(backup.path).run() == backup
    put(database, 500, 510)
    assert restored(backup.path, tmp_path / "back.holdfast") == list(range(500))


def test_log_that_the_copy_needs_stays_until_it_is_there(database: Database, tmp_path: Path) -> None:
    put(database, 0, 3000)
    database.checkpoint()
    put(database, 3000, 3100)
    reads: list[int] = []

    def read(descriptor: int, count: int, offset: int) -> bytes:
        # While the pages are copied, all of the log before them would go otherwise, and pages change.
        if not reads and count > PAGE:
            reads.append(turn_over(database, 3100))
        return os.pread(descriptor, count, offset)

    chain = tmp_path / "chain"
    backup = emergency_task(database.path, chain, read=read, opened=database).run()
    assert reads == [7600]
    assert backup.missing == ()
    found = restored(backup.path, tmp_path / "back.holdfast")
    assert found[:3100] == list(range(3100))
    # It is let go of afterwards.
    oldest = min((database.path / "wal").iterdir())
    turn_over(database, 7600)
    assert not oldest.exists()


def test_copies_made_while_a_thread_commits_have_every_commit_from_before_them(
    tmp_path: Path,
) -> None:
    acknowledged, stop, failed = [0], threading.Event(), list[BaseException]()

    def write(database: Database) -> None:
        try:
            while not stop.is_set():
                put(database, acknowledged[0], acknowledged[0] + 50)
                acknowledged[0] += 50
                if acknowledged[0] % 1000 == 0:
                    database.checkpoint()
        except BaseException as error:
            failed.append(error)

    with engine.open(tmp_path / "a.holdfast", config=Config().changed(**SMALL)) as database:
        put(database, 0, 50)
        acknowledged[0] = 50
        writer = threading.Thread(target=write, args=(database,))
        writer.start()
        taken = []
        try:
            for _ in range(3):
                before = acknowledged[0]
                backup = emergency_task(database.path, tmp_path / "chain", opened=database).run()
                taken.append((before, backup.path))
        finally:
            stop.set()
            writer.join()
        assert not failed
    for number, (before, path) in enumerate(taken):
        found = restored(path, tmp_path / f"back-{number}.holdfast")
        assert found == list(range(len(found)))
        assert len(found) % 50 == 0
        assert len(found) >= before


def test_a_damaged_page_of_an_open_database_is_named_and_the_rest_is_copied(
    database: Database, tmp_path: Path
) -> None:
    put(database, 0, 3000)
    database.checkpoint()
    path = database.path
    database.close()
    page = 30
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")
    with engine.open(path, create=False) as hurt:
        backup = emergency_task(path, tmp_path / "chain", opened=hurt).run()
        assert backup.damaged_pages == (page,)
        assert "page 30" in " ".join(backup.missing).lower()


def test_an_open_database_is_not_copied_into_itself_or_by_somebody_else(
    database: Database, tmp_path: Path
) -> None:
    with pytest.raises(engine.errors.InvalidArgument):
        emergency_task(database.path, database.path / "chain", opened=database)
    with pytest.raises(engine.errors.DatabaseOpenElsewhere):
        emergency_task(database.path, tmp_path / "chain").run()
