"""What works beside a database does so too while its recovery goes on behind the opening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import engine
from engine.backups.backup import verify_task
from engine.config import Config
from engine.recovery.early import EarlyRecovery
from engine.types import MirrorPhase

UntilKilled = Callable[..., None]

# A checkpoint only when the log asks for one, so that the kill leaves much to redo.
WRITER = """
    import sys, time
    import engine
    from engine.config import Config

    db = engine.open(sys.argv[1], config=Config().changed(checkpoint_interval="1 h"))
    def put(value):
        with db.transaction() as txn:
            for number in range(2000):
                txn.tree("t")[b"%06d" % number] = value * 100
    put(b"old")
    db.snapshots.take("before")
    if len(sys.argv) > 2:
        db.mirrors.add(sys.argv[2])
        db.mirrors.level_task(sys.argv[2]).run()
    put(b"new")
    loser = db.begin()
    for number in range(300):
        loser.tree("t")[b"%06d" % number] = b"never committed"
    db.flush()
    print("ready", flush=True)
    time.sleep(600)
"""
SETTINGS = Config().changed(enable_continuous_validation=False)


def _values(database: engine.Database) -> set[bytes]:
    with database.transaction(read_only=True) as txn:
        return set(txn.tree("t").values())


def _is_early(database: engine.Database) -> bool:
    return isinstance(database._early, EarlyRecovery)


def test_a_snapshot_from_before_the_crash_shows_what_it_held(
    tmp_path: Path, until_killed: UntilKilled
) -> None:
    path = tmp_path / "a.holdfast"
    until_killed(WRITER, str(path))
    with engine.open(path, config=SETTINGS) as database:
        assert _is_early(database)
        with database.snapshots.open_task("before").run() as seen:
            assert _values(seen) == {b"old" * 100}
        assert _values(database) == {b"new" * 100}
        assert database.snapshots.verify_task("before").run() > 0
        assert database.check().ok


def test_a_backup_and_a_snapshot_that_are_taken_at_once_hold_what_was_committed(
    tmp_path: Path, until_killed: UntilKilled
) -> None:
    path, chain = tmp_path / "a.holdfast", tmp_path / "chain"
    until_killed(WRITER, str(path))
    with engine.open(path, config=SETTINGS) as database:
        assert _is_early(database)
        database.snapshots.take("after")
        assert database.backups.full_task(chain).run().pages > 0
        with database.snapshots.open_task("after").run() as seen:
            assert _values(seen) == {b"new" * 100}
    assert verify_task(chain).run().verified_at


def test_a_mirror_follows_again(tmp_path: Path, until_killed: UntilKilled) -> None:
    path, mirror = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    until_killed(WRITER, str(path), str(mirror))
    with engine.open(path, config=SETTINGS) as database:
        assert _is_early(database)
        info = database.mirrors.level_task(mirror).run()
        assert (info.phase, info.lag_bytes) == (MirrorPhase.FOLLOWING, 0)
        assert database.mirrors.verify_task(mirror, tmp_path).run().ok
        database.mirrors.fail_over_task(mirror).run()
    with engine.open(mirror, create=False) as successor:
        assert _values(successor) == {b"new" * 100}
        assert successor.check().ok
