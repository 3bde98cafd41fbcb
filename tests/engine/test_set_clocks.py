"""A clock that was set back or forward: nothing goes for it, nothing waits for ever, nothing is blocked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import engine
from engine import errors
from engine.backups import claim
from engine.backups.backup import list_backups, verify_task
from engine.backups.claim import CLAIM, claimed
from engine.backups.history import KeptBackup, kept_backups
from engine.backups.point import AT_BACKUP, AT_END, at_time, preview_task, restore_point_task
from engine.backups.retention import prune_task, retention_plan
from engine.backups.standing import Memory
from engine.config import Config
from engine.database import Database
from engine.keeper import SETTLE_S
from engine.snapshots.keeper import SnapshotKeeper
from engine.snapshots.retention import expired
from engine.snapshots.types import SnapshotInfo
from engine.types import BackupInfo, BackupOrigin
from tests.crash.faults import NO_OTHER_CLOCK, clock_a_day_back
from tests.engine.conftest import ROOT

with_another_clock = pytest.mark.skipif(bool(NO_OTHER_CLOCK), reason=NO_OTHER_CLOCK or "other clocks")
DAY = 86_400.0
YEARS = 3650 * DAY
FEW = Config().changed(
    keep_last_backups=2, keep_daily_backups=0, keep_weekly_backups=0, keep_monthly_backups=0
)


def put(database: Database, name: bytes) -> None:
    with database.transaction() as txn:
        txn.tree("t")[name] = b"v" * 200


def kept(name: str, sequence: int, taken_at: float, proved: bool = False) -> KeptBackup:
    info = BackupInfo(
        path=f"/chain/{name}", taken_at=taken_at, end_lsn=sequence, pages=1, bytes=1, verified_at=None,
        parent="", sequence=sequence,
    )  # fmt: skip
    return KeptBackup(info, BackupOrigin.SCHEDULED, queried_at=taken_at if proved else None)


def test_the_newest_backups_are_kept_though_older_ones_have_later_dates() -> None:
    now = 1_700_000_000.0
    # Two were taken while the clock was years ahead.
    made = [kept("a", 1, now), kept("b", 2, now + YEARS), kept("c", 3, now + YEARS + DAY)]
    made += [kept("d", 4, now + 2 * DAY, proved=True), kept("e", 5, now + 3 * DAY)]
    plan = retention_plan(made, FEW)
    assert [one.backup.name for one in plan.kept] == ["e", "d"]
    assert {backup.name for backup in plan.removed} == {"a", "b", "c"}
    daily = retention_plan(made, FEW.changed(keep_last_backups=1, keep_daily_backups=3))
    assert [one.backup.name for one in daily.kept] == ["e", "d", "c"]


def test_scheduled_backups_are_pruned_in_the_order_of_taking_on_the_disk(
    database: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    paths = []
    for number in range(4):
        put(database, b"%d" % number)
        paths.append(database.backups.full_task(chain, BackupOrigin.SCHEDULED).run().path)
    # The first two say that they were taken in ten years.
    for path in paths[:2]:
        record = Path(f"{path}.backup.json")
        written = json.loads(record.read_text())
        record.write_text(json.dumps({**written, "taken_at": written["taken_at"] + YEARS}))
    prune_task(chain, FEW, database.keeper.identity()).run()
    left = {backup.info.path for backup in kept_backups(chain)}
    assert set(paths[2:]) <= left


def test_a_proved_backup_of_the_future_counts_from_when_it_was_seen_first() -> None:
    now = 1_700_000_000.0
    memory, folder = Memory(since=now), Path("/chain")
    future = (kept("a", 1, now + YEARS, proved=True),)
    memory.note(folder, future, now)
    memory.note(folder, future, now + 10 * DAY)
    seen = memory.folders[str(folder)]
    assert (seen.taken_at, seen.proved_at) == (now, now), "it grows old like any other"
    # One that is newer, with a date that can be, counts by that.
    newer = (kept("b", 2, now + 11 * DAY, proved=True), *future)
    memory.note(folder, newer, now + 12 * DAY)
    assert memory.folders[str(folder)].proved_at == now + 11 * DAY


def test_the_age_of_proof_is_told_after_the_clock_was_set_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = database.keeper
    told = [time.time()]
    monkeypatch.setattr(keeper, "_clock", lambda: told[0])
    with keeper._lock:
        keeper._remember().since = told[0] + YEARS
    keeper.tick()
    assert keeper.standing().since == told[0], "health does not wait ten years for its first word"


def scheduled(number: int, taken_at: float) -> SnapshotInfo:
    return SnapshotInfo(
        name=str(number), taken_at=taken_at, is_scheduled=True, lsn=number, committed_at=0.0, pages=0,
        bytes=0, data_bytes=0, is_whole=True, is_open=False,
    )  # fmt: skip


def test_the_newest_snapshot_stays_though_older_ones_have_later_dates() -> None:
    now = 1_700_000_000.0
    config = Config().changed(keep_snapshots=2, keep_snapshots_for="1 h")
    made = [scheduled(1, now + YEARS), scheduled(2, now + YEARS + 60), scheduled(3, now)]
    gone = expired(made[::-1], config, now + 60, 0)
    assert [snapshot.name for snapshot in gone] == ["1"]


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def test_a_clock_set_forward_makes_no_snapshot_old(database: Database) -> None:
    clock, passed = Clock(), Clock()
    database.config = database.config.changed(
        enable_snapshots=True, snapshot_interval="60 s", keep_snapshots_for="1 h"
    )

    def keeper() -> SnapshotKeeper:
        made = SnapshotKeeper(database, clock=clock, monotonic=passed, passed=passed)
        passed.now += SETTLE_S + 1
        clock.now += SETTLE_S + 1
        return made

    def go_on(at: SnapshotKeeper, seconds: float) -> int:
        clock.now += seconds
        passed.now += seconds
        with database.transaction() as txn:
            txn.tree("t")[b"%f" % clock.now] = b"v" * 9000
        at.tick()
        return len(database.snapshots.list())

    one = keeper()
    assert [go_on(one, 61) for _ in range(3)] == [1, 2, 3]
    clock.now += YEARS
    assert go_on(one, 61) == 4, "by the clock they are ten years old"
    # It is not forgotten with a restart, and not held against the rule for ever.
    again = keeper()
    assert go_on(again, 61) == 5
    assert go_on(again, 3700) == 1, "all of them are an hour old by now"


def test_a_holder_is_the_same_process_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    if not psutil.LINUX:
        pytest.skip("elsewhere the start of a process is kept as it was told then")
    before = claim.holder_of(os.getpid())
    shifted = psutil.boot_time() + 3600
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: shifted)
    assert psutil.Process().create_time() > time.time()
    assert claim.holder_of(os.getpid()) == before
    assert not claim.is_gone(before)


@pytest.mark.parametrize("away", [-YEARS, YEARS])
def test_a_claim_of_nobody_does_not_hold_a_folder_for_ever(tmp_path: Path, away: float) -> None:
    for text in ("", "{", "[]", '{"host": "another", "pid": 1}'):
        (tmp_path / CLAIM).write_text(text)
        with pytest.raises(errors.BackupTargetInUse), claimed(tmp_path):
            pass
        # Whichever way the clock was set since.
        os.utime(tmp_path / CLAIM, (time.time() + away,) * 2)
        with claimed(tmp_path):
            assert (tmp_path / CLAIM).exists()
        assert not (tmp_path / CLAIM).exists()


def test_small_files_that_were_cut_off_go_and_those_being_written_stay(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".full-1.backup.json.abc", tmp_path / ".full-1.proof.json.def"
    for path in (old, fresh):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    with claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [fresh.name]


SET_BACK = """
    import sys
    import engine
    from tests.engine.test_set_clocks import put

    with engine.open(sys.argv[1], create=False) as database:
        for number in range(3):
            put(database, b"back %d" % number)
        database.snapshots.take("of yesterday")
        database.backups.full_task(sys.argv[2]).run()
"""


@with_another_clock
def test_what_was_committed_by_a_clock_that_was_set_back_is_restored_in_its_order(
    tmp_path: Path, config: Config
) -> None:
    path, chain = tmp_path / "db.holdfast", tmp_path / "chain"
    with engine.open(path, config=config) as database:
        put(database, b"first")
        database.backups.full_task(chain).run()
        put(database, b"second")
    moment = time.time()
    with clock_a_day_back(tmp_path) as environment:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SET_BACK), str(path), str(chain)],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    with engine.open(path, create=False, config=config) as database:
        put(database, b"last")
        assert database.check().ok
        assert [info.name for info in database.snapshots.list()] == ["of yesterday"]
        assert database.snapshots.verify_task("of yesterday").run() > 0
    newest, oldest = list_backups(chain)
    assert newest.taken_at < oldest.taken_at, "by its date it would be the older one"
    assert verify_task(chain).run().path == newest.path
    back = {b"back %d" % number for number in range(3)}
    expected = {AT_BACKUP: {b"first", b"second"} | back, at_time(moment): {b"first", b"second"} | back}
    expected[AT_END] = expected[AT_BACKUP] | {b"last"}
    for number, (point, names) in enumerate(expected.items()):
        restored, reached = restore_point_task(chain, tmp_path / f"{number}.holdfast", point, [path]).run()
        assert reached == preview_task(chain, point, [path]).run()
        with engine.open(restored.path, create=False) as again, again.transaction(read_only=True) as txn:
            assert set(txn.tree("t", create=False)) == names, point
    with pytest.raises(errors.PointNotReached) as refused:
        preview_task(chain, at_time(moment - 2 * DAY), [path]).run()
    assert refused.value.suggested_action
