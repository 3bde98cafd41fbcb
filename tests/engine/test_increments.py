"""Increments: chains under load, what they are added to, and how they are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.history import kept_backups
from engine.backups.restore import restore_task
from engine.backups.retention import with_increments
from engine.database import Database
from engine.tasks import TaskProgress

ROOT = Path(engine.__file__).resolve().parent.parent


def put(database: Database, first: int, last: int, value: bytes = b"v") -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in range(first, last):
            tree[b"%06d" % number] = value * 200


def contents(path: Path) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    with engine.open(path, create=False, recovery="never") as database, database.transaction() as txn:
        assert database.check().ok
        rows.update(txn.tree("t"))
    return rows


def test_every_backup_of_a_chain_restores_to_what_was_committed_then(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 4000)
    infos = [database.backups.full_task(chain).run()]
    for round_ in range(1, 4):
        put(database, round_ * 10, round_ * 10 + 5, b"%d" % round_)
        infos.append(database.backups.increment_task(chain).run())
    assert [info.sequence for info in infos] == [1, 2, 3, 4]
    assert [info.parent for info in infos] == ["", *(Path(info.path).name for info in infos[:-1])]
    assert all(info.pages < infos[0].pages / 4 for info in infos[1:])
    for round_, info in enumerate(infos):
        assert verify_task(info.path).run().end_lsn == info.end_lsn
        back = tmp_path / f"back-{round_}.holdfast"
        restore_task(info.path, back).run()
        expected = {b"%06d" % number: b"v" * 200 for number in range(4000)}
        for done in range(1, round_ + 1):
            expected |= {b"%06d" % n: b"%d" % done * 200 for n in range(done * 10, done * 10 + 5)}
        assert contents(back) == expected
    # The chain as a whole stands for its newest point.
    assert restore_task(chain, tmp_path / "newest.holdfast").run().end_lsn == infos[-1].end_lsn


def test_a_chain_under_eight_writers_is_the_state_at_each_end(database: Database, tmp_path: Path) -> None:
    stop = threading.Event()
    with database.transaction() as txn:
        txn.tree("t")

    def write(name: bytes) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with database.transaction() as txn:
                tree = txn.tree("t")
                tree[name + b"-a"] = tree[name + b"-b"] = b"%d" % number
                tree[name + b"%06d" % number] = b"x" * 300

    writers = [threading.Thread(target=write, args=(b"w%d" % index,)) for index in range(8)]
    for writer in writers:
        writer.start()
    try:
        infos = [database.backups.full_task(tmp_path / "chain").run()]
        infos += [database.backups.increment_task(tmp_path / "chain").run() for _ in range(3)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for info in infos:
        back = tmp_path / f"back-{info.sequence}.holdfast"
        restore_task(info.path, back).run()
        rows = contents(back)
        for name in {key[:2] for key in rows}:
            number = int(rows[name + b"-a"])
            assert rows[name + b"-b"] == b"%d" % number
            numbers = sorted(key for key in rows if key.startswith(name) and key[2:3] != b"-")
            assert numbers == [name + b"%06d" % place for place in range(1, number + 1)]


def test_an_increment_without_a_backup_to_add_to_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(errors.IncrementRefused) as refused:
        database.backups.increment_task(tmp_path / "chain").run()
    assert "no backup" in refused.value.message
    assert list_backups(tmp_path / "chain") == ()


def test_a_database_that_was_restored_adds_nothing_to_the_chain_of_its_past(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 50)
    database.backups.full_task(chain).run()
    restore_task(chain, tmp_path / "back.holdfast").run()
    with engine.open(tmp_path / "back.holdfast", create=False) as restored:
        put(restored, 50, 100)
        with pytest.raises(errors.IncrementRefused):
            restored.backups.increment_task(chain).run()
        # A full one begins its own part of the chain, which then is the newest.
        full = restored.backups.full_task(chain).run()
        put(restored, 100, 120)
        restored.backups.increment_task(chain).run()
    with pytest.raises(errors.IncrementRefused):
        database.backups.increment_task(chain).run()
    assert [info.sequence for info in list_backups(chain)] == [3, 2, 1]
    assert list_backups(chain)[0].parent == Path(full.path).name


def test_a_clock_that_was_set_back_does_not_make_an_older_backup_the_newest(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 50)
    first = database.backups.full_task(chain).run()
    record = Path(f"{first.path}.backup.json")
    written = json.loads(record.read_text())
    record.write_text(json.dumps({**written, "taken_at": written["taken_at"] + 1e6}))
    put(database, 50, 60)
    second = database.backups.increment_task(chain).run()
    assert [info.path for info in list_backups(chain)] == [second.path, first.path]
    assert restore_task(chain, tmp_path / "back.holdfast").run().end_lsn == second.end_lsn


def test_damage_in_a_backup_below_is_found_and_named(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 500)
    full = database.backups.full_task(chain).run()
    database.backups.increment_task(chain).run()
    pages = Path(full.path) / "pages.zst"
    content = bytearray(pages.read_bytes())
    content[len(content) // 2] ^= 1
    pages.write_bytes(content)
    with pytest.raises(errors.BackupDamaged) as damage:
        verify_task(chain).run()
    assert damage.value.fields["path"] == full.path
    with pytest.raises(errors.BackupDamaged):
        restore_task(chain, tmp_path / "back.holdfast").run()
    assert not (tmp_path / "back.holdfast").exists()
    # An increment on top is verified with all below, so it does not count either.
    count = len(list_backups(chain))
    with pytest.raises(errors.BackupDamaged):
        database.backups.increment_task(chain).run()
    assert len(list_backups(chain)) == count
    shutil.rmtree(full.path)
    with pytest.raises(errors.IncrementRefused):
        database.backups.increment_task(chain).run()


def test_what_is_kept_of_backups_knows_which_one_continues_which(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 50)
    full = database.backups.full_task(chain).run()
    database.backups.increment_task(chain).run()
    names = [kept.name for kept in with_increments(Path(full.path).name, kept_backups(chain))]
    assert names == [Path(info.path).name for info in list_backups(chain)]


def holdfast(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "engine.cli", *map(str, arguments), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=100, encoding="utf-8", check=False
    )
    assert done.returncode == status, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_command_line_takes_and_restores_increments(database: Database, tmp_path: Path) -> None:
    put(database, 0, 100)
    database.close()
    chain = tmp_path / "chain"
    assert holdfast("backup", database.path, chain, "--incremental", status=3)["error"]["code"] == -90
    holdfast("backup", database.path, chain, "--bytes-per-second", "100000000")
    with engine.open(database.path) as again:
        put(again, 100, 120)
    taken = holdfast("backup", database.path, chain, "--incremental")["backup"]
    assert taken["parent"].startswith("full-")
    assert holdfast("verify-backup", chain)["backup"]["end_lsn"] == taken["end_lsn"]
    holdfast("restore", chain, tmp_path / "back.holdfast")
    assert len(contents(tmp_path / "back.holdfast")) == 120


KILLED_TAKER = """
    import sys, time
    import engine

    db = engine.open(sys.argv[1])
    with db.transaction() as txn:
        tree = txn.tree("t")
        for number in range(3000):
            tree[b"%06d" % number] = b"v" * 200
    db.backups.full_task(sys.argv[2]).run()
    with db.transaction() as txn:
        txn.tree("t")[b"later"] = b"x"
    task = db.backups.increment_task(sys.argv[2], bytes_per_second=300_000)
    task.start()
    while task.progress().stage != "pages":
        time.sleep(0.001)
    print("ready", flush=True)
    time.sleep(100)
"""


def test_an_increment_that_is_killed_is_none_and_the_next_one_goes_on(
    tmp_path: Path, until_killed: Callable[..., None]
) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"
    until_killed(KILLED_TAKER, str(path), str(chain))
    (full,) = list_backups(chain)
    assert verify_task(chain).run().end_lsn == full.end_lsn
    assert list(chain.glob("*.partial")), "it was cut off in the middle"
    with engine.open(path) as database:
        # What the crash left goes, and the database still knows the backup before it.
        increment = database.backups.increment_task(chain).run()
    assert increment.parent == Path(full.path).name
    assert not list(chain.glob("*.partial"))
    restore_task(chain, tmp_path / "back.holdfast").run()
    assert len(contents(tmp_path / "back.holdfast")) == 3001


def test_two_backups_at_once_into_one_folder_are_one(database: Database, tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 500)
    database.backups.full_task(chain).run()
    gate = threading.Barrier(4)
    refused: list[errors.HoldfastError] = []

    def take() -> None:
        gate.wait()
        try:
            database.backups.increment_task(chain, bytes_per_second=2_000_000).run()
        except errors.BackupTargetInUse as error:
            refused.append(error)

    takers = [threading.Thread(target=take) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    infos = list_backups(chain)
    assert len(infos) == 1 + 4 - len(refused)
    assert [info.sequence for info in infos] == list(range(len(infos), 0, -1))
    verify_task(chain).run()


def test_a_target_that_goes_away_in_the_middle_fails_and_leaves_the_database_alone(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    put(database, 0, 3000)
    database.backups.full_task(chain).run()
    put(database, 3000, 3100)
    task = database.backups.increment_task(chain, bytes_per_second=500_000)
    gone = threading.Event()

    def look(progress: TaskProgress) -> None:
        if progress.stage == "pages" and not gone.is_set():
            gone.set()
            shutil.rmtree(chain)

    task.observe(look)
    with pytest.raises(errors.HoldfastError):
        task.run()
    assert gone.is_set()
    assert list_backups(chain) == ()
    put(database, 3100, 3200)
    assert database.check().ok
