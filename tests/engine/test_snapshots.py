"""Snapshots as Python, the schedule and the command line see them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.database import Database
from engine.health.checks import ABOUT_SNAPSHOTS
from engine.keeper import SETTLE_S
from engine.snapshots.keeper import IDLE_BYTES, SnapshotKeeper
from engine.snapshots.retention import expired
from engine.snapshots.reverting import revert_task
from engine.snapshots.types import SnapshotInfo

INFO = SnapshotInfo(
    name="s",
    taken_at=0.0,
    is_scheduled=True,
    lsn=1,
    committed_at=0.0,
    pages=1,
    bytes=1 << 20,
    data_bytes=8192,
    is_whole=True,
    is_open=False,
)


def fill(database: Database, first: int = 0, count: int = 300, value: bytes = b"v") -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(first, first + count):
            tree[b"%06d" % number] = value * 200


def read(database: Database) -> dict[bytes, bytes]:
    with database.transaction(read_only=True) as txn:
        return dict(txn.tree("t").items())


def test_a_snapshot_is_opened_beside_the_database_and_shows_its_moment(database: Database) -> None:
    fill(database)
    then = read(database)
    info = database.snapshots.take("then")
    fill(database, 100, 500, b"w")
    database.checkpoint()
    with database.snapshots.open_task("then").run() as seen:
        assert read(seen) == then
        assert seen.status().read_only
        fill(database, 0, 100, b"x")
        database.checkpoint()
        assert read(seen) == then
        assert seen.check().ok
        [listed] = database.snapshots.list()
        assert listed.is_open
        assert listed.name == "then"
        assert listed.lsn == info.lsn
        assert listed.pages > 0
    assert read(database) != then
    assert not list(database.path.parent.glob(".*snapshot*"))


def test_the_room_of_a_dropped_snapshot_is_given_back_and_the_others_stay_what_they_were(
    database: Database,
) -> None:
    known = {}
    for round_ in range(4):
        fill(database, 0, 600, b"abcd"[round_ : round_ + 1])
        known[f"s{round_}"] = read(database)
        database.snapshots.take(f"s{round_}")
    fill(database, 0, 600, b"e")
    database.checkpoint()
    for name in ("s1", "s3"):
        before = database.snapshots.room()
        database.snapshots.drop(name)
        assert database.snapshots.room() < before
    left = {info.name for info in database.snapshots.list()}
    assert left == {"s0", "s2"}
    files = {item.stem for item in (database.path / "snapshots").iterdir()}
    assert len(files) == 2
    for name in left:
        with database.snapshots.open_task(name).run() as seen:
            assert read(seen) == known[name]


def test_a_snapshot_becomes_a_database_of_its_own(database: Database, tmp_path: Path) -> None:
    fill(database)
    then = read(database)
    database.snapshots.take("then")
    fill(database, 0, 300, b"w")
    done = database.snapshots.restore_task("then", tmp_path / "then.holdfast").run()
    with engine.open(done.path, create=False, recovery="never") as restored:
        assert read(restored) == then
        assert restored.check().ok
        fill(restored, 1000)
    with pytest.raises(errors.TargetNotEmpty):
        database.snapshots.restore_task("then", done.path).run()


def test_a_database_goes_back_in_place_and_forth_again(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "back.holdfast"
    database = engine.open(path, config=config)
    fill(database)
    then = read(database)
    database.snapshots.take("then")
    fill(database, 0, 900, b"w")
    now = read(database)
    done = revert_task(database, "then").run()
    assert database.is_closed
    assert done.pages > 0
    with engine.open(path, recovery="never", config=config) as back:
        assert read(back) == then
        assert back.check().ok
        assert [info.name for info in back.snapshots.list()] == [done.before, "then"]
        fill(back, 2000, 50)
        revert_task(back, done.before).run()
    with engine.open(path, recovery="never", config=config) as forth:
        assert read(forth) == now
        assert forth.check().ok


def test_in_place_is_refused_while_the_log_is_archived(tmp_path: Path, config: Config) -> None:
    with engine.open(tmp_path / "a.holdfast", config=config.changed(archive_log=True)) as database:
        fill(database)
        database.snapshots.take("then")
        with pytest.raises(errors.NotSupported):
            revert_task(database, "then").run()
        assert not database.is_closed


def test_names_that_are_not_there_or_taken_are_told(database: Database) -> None:
    database.snapshots.take("one")
    with pytest.raises(errors.InvalidArgument):
        database.snapshots.take("one")
    for call in (database.snapshots.drop, lambda name: database.snapshots.open_task(name).run()):
        with pytest.raises(errors.SnapshotNotFound):
            call("two")
    first, second = database.snapshots.take(), database.snapshots.take()
    assert first.name != second.name


def test_a_flipped_bit_is_found_by_a_proof(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "flip.holdfast"
    with engine.open(path, config=config) as database:
        fill(database)
        database.snapshots.take("then")
        fill(database, 0, 300, b"w")
        database.checkpoint()
        assert database.snapshots.verify_task("then").run() > 0
    kept = next((path / "snapshots").glob("*.kept"))
    content = bytearray(kept.read_bytes())
    content[200] ^= 8
    kept.write_bytes(content)
    with engine.open(path, config=config) as database:
        with pytest.raises(errors.SnapshotDamaged):
            database.snapshots.verify_task("then").run()
        assert database.check().ok


def test_a_close_closes_what_is_open_of_the_snapshots(tmp_path: Path, config: Config) -> None:
    database = engine.open(tmp_path / "c.holdfast", config=config)
    fill(database)
    database.snapshots.take("then")
    seen = database.snapshots.open_task("then").run()
    database.close()
    assert seen.is_closed
    assert not list(tmp_path.glob(".*snapshot*"))


def test_a_snapshot_of_a_snapshot_is_refused(database: Database) -> None:
    database.snapshots.take("then")
    with database.snapshots.open_task("then").run() as seen, pytest.raises(errors.HoldfastError):
        seen.snapshots.take("again")


def test_snapshots_are_taken_while_writers_commit(database: Database) -> None:
    fill(database)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set() and number < 3000:
            number += 1
            with database.transaction() as txn:
                tree = txn.tree("t")
                tree[b"a"] = tree[b"b"] = b"%d" % number

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            database.snapshots.take(f"s{number}")
    finally:
        stop.set()
        writer.join()
    for info in database.snapshots.list():
        with database.snapshots.open_task(info.name).run() as seen:
            held = read(seen)
            assert held.get(b"a") == held.get(b"b")


def test_rules_drop_the_oldest_scheduled_ones_only() -> None:
    config = Config().changed(keep_snapshots=3, keep_snapshots_for="1 h", snapshot_space="100 MiB")
    made = [replace(INFO, name=str(n), taken_at=10_000.0 + 60 * n) for n in range(6)]
    now = 10_000.0 + 60 * 6

    def names(snapshots: list[SnapshotInfo], total: int = 0, at: float = now) -> list[str]:
        return [gone.name for gone in expired(snapshots[::-1], config, at, total)]

    assert names(made) == ["0", "1", "2"]
    assert names(made[:3]) == []
    by_hand = [replace(info, is_scheduled=False) for info in made]
    assert names(by_hand) == []
    assert names([replace(made[0], is_open=True), *made[1:]]) == ["1", "2", "3"]
    assert names(made[:3], at=now + 36_000) == ["0", "1"]
    assert names(made[:3], total=102 << 20) == ["0", "1"]
    assert names(made[:3], total=101 << 20) == ["0"]


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def test_the_schedule_takes_one_when_it_is_due_and_something_has_changed(database: Database) -> None:
    clock, since = Clock(), Clock()
    database.config = database.config.changed(enable_snapshots=True, snapshot_interval="60 s")
    keeper = SnapshotKeeper(database, clock=clock, monotonic=since)
    fill(database)
    assert keeper.tick() > 0
    assert database.snapshots.list() == ()
    since.now += SETTLE_S + 1
    assert keeper.tick() == 0.0
    [first] = database.snapshots.list()
    assert first.is_scheduled
    assert keeper.tick() > 0
    clock.now += 61
    assert keeper.tick() == 0.0
    assert len(database.snapshots.list()) == 1, f"nothing was changed but {IDLE_BYTES} bytes of notes"
    fill(database, 0, 100, b"w")
    clock.now += 61
    assert keeper.tick() == 0.0
    assert len(database.snapshots.list()) == 2
    clock.now -= 10_000
    fill(database, 0, 100, b"x")
    assert keeper.tick() == 0.0, "a clock that was set back does not silence the schedule"
    assert len(database.snapshots.list()) == 3
    fill(database, 0, 100, b"y")
    assert keeper.tick() > 0, "nor does it start a storm"
    assert len(database.snapshots.list()) == 3


def test_a_schedule_that_fails_is_told_and_goes_on(database: Database) -> None:
    clock, since = Clock(), Clock()
    database.config = database.config.changed(enable_snapshots=True)
    keeper = SnapshotKeeper(database, clock=clock, monotonic=since)
    since.now += SETTLE_S + 1
    fill(database)
    folder = database.path / "snapshots"
    folder.write_bytes(b"in the way")
    database.snapshot_keeper = keeper
    keeper.tick()
    assert keeper.failure() is not None
    assert "snapshot_failed" in told(database)
    folder.unlink()
    clock.now += 301
    keeper.tick()
    assert keeper.failure() is None
    assert len(database.snapshots.list()) == 1
    assert not told(database)


def test_a_schedule_that_had_its_chance_and_took_none_is_told_as_missed(database: Database) -> None:
    clock, since = Clock(), Clock()
    database.config = database.config.changed(enable_snapshots=True, snapshot_interval="60 s")
    database.snapshot_keeper = keeper = SnapshotKeeper(database, clock=clock, monotonic=since)
    since.now += SETTLE_S + 1
    fill(database)
    keeper.tick()
    clock.now += 5000
    assert not told(database), "a computer that slept has missed nothing by itself"
    since.now += 5000
    assert told(database) == {"snapshot_missed"}
    fill(database, 0, 100, b"w")
    keeper.tick()
    assert not told(database)


def told(database: Database) -> set[str]:
    """What health deducts for, of snapshots."""
    return {d.name for d in database.health.report().deductions} & {*ABOUT_SNAPSHOTS}


def test_the_command_line_takes_looks_restores_goes_back_and_drops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(*arguments: object, status: int = 0) -> dict[str, Any]:
        assert main(["snapshot", *map(str, arguments), "--json"]) == status
        value: dict[str, Any] = json.loads(capsys.readouterr().out)
        return value

    path = tmp_path / "shop.holdfast"
    with engine.open(path) as database:
        fill(database)
    assert answer(path, "list")["snapshots"] == []
    assert answer(path, "take", "then")["snapshot"]["name"] == "then"
    with engine.open(path) as database:
        fill(database, 0, 300, b"w")
    assert answer(path, "verify", "then")["ok"]
    assert answer(path, "open", "then")["tables"] == {}
    answer(path, "restore", "then", tmp_path / "then.holdfast")
    with engine.open(tmp_path / "then.holdfast", create=False) as restored:
        assert set(read(restored).values()) == {b"v" * 200}
    before = answer(path, "revert", "then")["before"]
    with engine.open(path, recovery="never") as database:
        assert set(read(database).values()) == {b"v" * 200}
    names = [info["name"] for info in answer(path, "list")["snapshots"]]
    assert names == [before, "then"]
    assert answer(path, "drop", "then")["dropped"] == ["then"]
    assert answer(path, "prune")["dropped"] == []
    failed = answer(path, "open", "then", status=3)
    assert failed["error"]["name"] == "SnapshotNotFound"
