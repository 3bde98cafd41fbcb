"""Restoring to a point: what is there just then, previews, gaps, and an archive that fails."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.point import (
    AT_BACKUP,
    AT_END,
    Point,
    at_lsn,
    at_time,
    at_transaction,
    preview_task,
    restore_point_task,
)
from engine.config import Config
from engine.database import Database
from engine.types import Event

ROOT = Path(engine.__file__).resolve().parent.parent


@pytest.fixture
def archived(tmp_path: Path, config: Config) -> Iterator[Database]:
    """A database that keeps its closed log segments."""
    settings = config.changed(archive_log=True)
    with engine.open(tmp_path / "archived.holdfast", config=settings) as opened:
        yield opened


def put(database: Database, number: int) -> tuple[int, int]:
    """Commit one record; answers the transaction and its commit's LSN."""
    txn = database.begin()
    txn.tree("t")[b"%06d" % number] = b"v" * 200
    lsn = txn.commit()
    return txn.id, lsn


def count(path: Path) -> int:
    with engine.open(path, create=False, recovery="never") as database:
        assert database.check().ok
        with database.transaction() as txn:
            found = len(list(txn.tree("t")))
    return found


def test_a_restore_to_a_point_holds_just_what_was_committed_then(archived: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    put(archived, 0)
    archived.backups.full_task(chain).run()
    first = put(archived, 1)
    moment = time.time()
    second = put(archived, 2)
    for number in range(3, 400):
        put(archived, number)
    archived.checkpoint()
    open_one = archived.begin()
    open_one.tree("t")[b"in flight"] = b"x"
    archived.flush()
    points: dict[str, tuple[Point, int]] = {
        "transaction": (at_transaction(first[0]), 2),
        "lsn": (at_lsn(second[1]), 2),
        "time": (at_time(moment), 2),
        "later": (at_transaction(second[0]), 3),
        "end": (AT_END, 400),
        "backup": (AT_BACKUP, 1),
    }
    for name, (point, expected) in points.items():
        told = preview_task(chain, point).run()
        assert not (tmp_path / f"{name}.holdfast").exists()
        result, reached = restore_point_task(chain, tmp_path / f"{name}.holdfast", point).run()
        assert reached == told
        assert result.end_lsn == reached.lsn
        assert count(result.path) == expected, name
    open_one.abort()


def test_points_out_of_reach_are_told_and_nothing_is_written(archived: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    before, _ = put(archived, 0)
    info = archived.backups.full_task(chain).run()
    put(archived, 1)
    target = tmp_path / "back.holdfast"
    for point in (at_lsn(info.end_lsn - 5), at_lsn(info.end_lsn + 10**9), at_transaction(before), at_time(5)):
        with pytest.raises(errors.PointNotReached):
            restore_point_task(chain, target, point).run()
        assert not target.exists()
    with pytest.raises(errors.InvalidArgument):
        at_time("yesterday, about noon")
    with pytest.raises(errors.InvalidArgument):
        at_lsn(0)
    assert at_time("2026-05-01T10:00:00+00:00") == at_time(datetime(2026, 5, 1, 10, tzinfo=UTC))
    assert at_time("1777629600") == at_time(1777629600.0)


def test_a_gap_in_the_log_is_named(archived: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    put(archived, 0)
    archived.backups.full_task(chain).run()
    early, _ = put(archived, 1)
    for number in range(2, 60):
        txn = archived.begin()
        for part in range(200):
            txn.tree("t")[b"%06d-%d" % (number, part)] = b"v" * 1000
        txn.commit()
    archived.checkpoint()
    archived.close()
    kept = sorted((archived.path / "archive").iterdir())
    assert len(kept) > 2
    kept[-1].unlink()
    with pytest.raises(errors.PointNotReached) as gap:
        restore_point_task(chain, tmp_path / "back.holdfast", AT_END).run()
    assert kept[-1].name in gap.value.message
    restore_point_task(chain, tmp_path / "early.holdfast", at_transaction(early)).run()
    assert count(tmp_path / "early.holdfast") == 2


def test_an_archive_that_is_gone_loses_nothing_and_is_told(tmp_path: Path, config: Config) -> None:
    place, chain = tmp_path / "archive", tmp_path / "chain"
    settings = config.changed(archive_log=True, archive_location=str(place))
    told: list[str] = []
    with engine.open(tmp_path / "db.holdfast", config=settings) as database:
        stop = database.events.subscribe(lambda event: told.append(event.kind))
        put(database, 0)
        database.backups.full_task(chain).run()
        for number in range(1, 40):
            txn = database.begin()
            for part in range(200):
                txn.tree("t")[b"%06d-%d" % (number, part)] = b"v" * 1000
            txn.commit()
        database.checkpoint()
        assert not place.exists()
        segments = len(list((database.path / "wal").iterdir()))
        place.mkdir()
        database.checkpoint()
        assert len(list((database.path / "wal").iterdir())) < segments
        assert len(list(place.rglob("*.wal"))) >= 1
        del stop
    assert "archive_failed" in told
    assert list_backups(chain)[0].logs == (str(tmp_path / "db.holdfast"), str(place))
    # Where the log is kept is still known after the backup was verified again.
    verify_task(chain).run()
    result, reached = restore_point_task(chain, tmp_path / "back.holdfast", AT_END).run()
    assert reached.is_end
    assert count(result.path) == 1 + 39 * 200


def test_an_archive_that_stays_away_does_not_stop_the_database_and_its_gap_costs_health(
    tmp_path: Path, config: Config
) -> None:
    place, chain = tmp_path / "archive", tmp_path / "chain"
    settings = config.changed(
        archive_log=True, archive_location=str(place), archive_wait_limit="16 MiB", backup_folder=str(chain)
    )

    def write(database: Database, megabytes: int) -> None:
        for number in range(megabytes * 2):
            with database.transaction() as txn:
                txn.tree("t")[b"%06d" % (number % 50)] = b"v" * 500_000

    def deductions(database: Database) -> set[str]:
        return {deduction.name for deduction in database.health.report().deductions}

    def await_standing(database: Database, heard: queue.Queue[Event], name: str) -> None:
        while not getattr(database.keeper.standing(), name):
            heard.get(timeout=30)

    with engine.open(tmp_path / "db.holdfast", config=settings) as database:
        database.backups.full_task(chain).run()
        heard: queue.Queue[Event] = queue.Queue()
        database.events.subscribe(heard.put, ("backups_changed",))
        write(database, 4)
        database.checkpoint()
        await_standing(database, heard, "archive_failure")
        assert not database.keeper.standing().has_archive_gap
        write(database, 24)
        database.checkpoint()
        assert sum(file.stat().st_size for file in (database.path / "wal").iterdir()) < 24 << 20
        await_standing(database, heard, "has_archive_gap")
        assert {"archive_failed", "archive_gap"} <= deductions(database)
    # It is still known after the database was closed, until there is a backup from after the gap.
    place.mkdir()
    with engine.open(tmp_path / "db.holdfast", config=settings) as database:
        assert database.keeper.standing().has_archive_gap
        with pytest.raises(errors.PointNotReached):
            preview_task(chain, AT_END).run()
        database.backups.full_task(chain).run()
        assert not database.keeper.standing().has_archive_gap
        assert not {"archive_failed", "archive_gap"} & deductions(database)
        assert preview_task(chain, AT_END).run()


def test_the_command_line_restores_to_a_point(archived: Database, tmp_path: Path) -> None:
    def holdfast(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "engine.cli", *map(str, arguments), "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=100, encoding="utf-8", check=False
        )
        assert done.returncode == status, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    chain = tmp_path / "chain"
    put(archived, 0)
    archived.backups.full_task(chain).run()
    wanted, _ = put(archived, 1)
    put(archived, 2)
    archived.close()
    target = tmp_path / "back.holdfast"
    told = holdfast("restore", chain, target, "--to-transaction", str(wanted), "--preview")
    assert (told["commits"], told["restored"]) == (1, False)
    assert not target.exists()
    done = holdfast("restore", chain, target, "--to-txn", str(wanted))
    assert (done["end_lsn"], count(target)) == (told["lsn"], 2)
    later = tmp_path / "later.holdfast"
    assert holdfast("restore", chain, later, "--to-end", "--log", archived.path)["log_ends_there"]
    assert count(later) == 3
    refused = holdfast("restore", chain, tmp_path / "no.holdfast", "--to-time", "1", status=3)
    assert refused["error"]["code"] == -91
