"""Which backups are kept, when they are taken, and what health says about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.history import KeptBackup, Setback, kept_backups
from engine.backups.keeper import BackupKeeper
from engine.backups.rehearsal import rehearse_task
from engine.backups.retention import prune_task, remove_task, retention_plan
from engine.backups.schedule import FIRST_RETRY_S, Schedule
from engine.backups.standing import FILE_NAME, read_memory
from engine.config import Config
from engine.database import Database
from engine.tasks import Task
from engine.types import BackupInfo, BackupOrigin, BackupStanding, Event, ProofStep

DAY = 86400.0
NOON = time.mktime((2026, 6, 15, 12, 0, 0, 0, 0, -1))
KEEP = Config().changed(
    keep_last_backups=2, keep_daily_backups=3, keep_weekly_backups=2, keep_monthly_backups=2
)


def a_backup(name: str, age_days: float, parent: str = "", **more: object) -> KeptBackup:
    info = BackupInfo(f"/chain/{name}", NOON - age_days * DAY, 100, 10, 1000, None, parent=parent)
    return KeptBackup(info, **{"origin": BackupOrigin.SCHEDULED, **more})  # type: ignore[arg-type]


def kept_names(backups: list[KeptBackup], config: Config = KEEP) -> set[str]:
    return {kept.backup.name for kept in retention_plan(backups, config).kept}


def test_the_newest_of_the_last_days_weeks_and_months_are_kept() -> None:
    backups = [a_backup(f"b{age}", age) for age in range(70)]
    # The last two; three days; two weeks (Sunday the 14th ends the week before); two months.
    assert kept_names(backups) == {"b0", "b1", "b2", "b15"}


def test_several_on_a_day_leave_the_newest_of_it() -> None:
    backups = [a_backup(f"h{hour}", hour / 24) for hour in range(0, 60, 3)]
    kept = kept_names(backups, KEEP.changed(keep_weekly_backups=0, keep_monthly_backups=0))
    assert kept == {"h0", "h3", "h15", "h39"}


@pytest.mark.parametrize("origin", [BackupOrigin.MANUAL, BackupOrigin.EMERGENCY])
def test_what_somebody_asked_for_is_never_removed(origin: BackupOrigin) -> None:
    old = a_backup("old", 900, origin=origin)
    assert "old" in kept_names([*(a_backup(f"b{age}", age) for age in range(40)), old])


def test_the_last_proved_backup_is_never_removed() -> None:
    backups = [a_backup(f"b{age}", age) for age in range(400)]
    proved = a_backup("proved", 401, restored_at=NOON, queried_at=NOON)
    older = a_backup("older", 402, restored_at=NOON, queried_at=NOON)
    failed = a_backup(
        "failed", 390.5, queried_at=NOON, setback=Setback(ProofStep.RESTORED, NOON, -69, "it lost rows")
    )
    kept = kept_names([*backups, proved, older, failed])
    assert "proved" in kept
    assert not kept & {"older", "failed"}


def test_the_parent_of_a_kept_increment_is_kept_and_its_own_too() -> None:
    chain = [a_backup("full", 90), a_backup("i1", 89, parent="full"), a_backup("i2", 0, parent="i1")]
    others = [a_backup("alone", 88)]
    config = KEEP.changed(keep_last_backups=1, keep_daily_backups=0, keep_monthly_backups=0)
    plan = retention_plan([*chain, *others], config.changed(keep_weekly_backups=0))
    assert {kept.backup.name for kept in plan.kept} == {"full", "i1", "i2"}
    assert [backup.name for backup in plan.removed] == ["alone"]
    assert plan.freed_bytes == 1000
    reasons = {kept.backup.name: kept.reasons for kept in plan.kept}
    assert reasons["full"] == ("an increment that is kept continues it",)


def test_every_kept_backup_has_its_reason_and_none_is_lost_on_the_way() -> None:
    backups = [a_backup(f"b{age}", age) for age in range(50)]
    plan = retention_plan(backups, KEEP)
    assert all(kept.reasons for kept in plan.kept)
    assert len(plan.kept) + len(plan.removed) == 50


def test_an_interval_is_counted_from_the_last_and_a_missed_one_is_due_once() -> None:
    schedule = Schedule("interval", 3600.0)
    assert schedule.next_at(NOON) == NOON + 3600
    assert Schedule().next_at(NOON) is None


def test_a_time_of_day_is_the_next_one_after_the_last() -> None:
    schedule = Schedule("daily", DAY, 2 * 60 + 30)
    at = schedule.next_at(NOON)
    assert at is not None
    assert time.localtime(at)[2:5] == (16, 2, 30)
    assert schedule.next_at(at - 1) == at
    after = schedule.next_at(at)
    assert after is not None
    assert time.localtime(after)[2:5] == (17, 2, 30)


def test_retries_are_further_and_further_apart_and_never_beyond_the_schedule() -> None:
    schedule = Schedule("interval", 4 * 3600.0)
    waits = [(schedule.retry_at(NOON, failures) or 0) - NOON for failures in range(6)]
    assert waits == [14400, FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S, 8 * FIRST_RETRY_S, 14400]


class Clock:
    """Both clocks of a keeper: the one that people set, and the one that only runs."""

    def __init__(self) -> None:
        self.now = time.time()
        self.ran = 1000.0

    def read(self) -> float:
        return self.now

    def read_run(self) -> float:
        return self.ran

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.ran += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> BackupKeeper:
    """A keeper whose thread never starts: the test calls `tick`."""
    monkeypatch.setattr(BackupKeeper, "start", lambda self: None)
    with database.transaction() as txn:
        txn.tree("t")[b"k"] = b"v"
    made = BackupKeeper(database, clock=clock.read, monotonic=clock.read_run)
    database.keeper = made
    return made


def taken(keeper: BackupKeeper) -> int:
    return len(kept_backups(keeper.folder))


def test_a_missed_backup_is_taken_after_the_start_once_and_proved(keeper: BackupKeeper, clock: Clock) -> None:
    keeper.change(backup_schedule="interval", backup_interval="1 h")
    assert keeper.tick() > 0
    assert taken(keeper) == 0, "not in the first moments"
    # The machine was off for a week: one backup, not 168.
    clock.pass_time(7 * DAY)
    for _ in range(5):
        keeper.tick()
    (kept,) = kept_backups(keeper.folder)
    assert kept.origin is BackupOrigin.SCHEDULED
    assert kept.is_proved
    clock.pass_time(3601)
    keeper.tick()
    assert taken(keeper) == 2


def test_a_schedule_survives_a_restart(keeper: BackupKeeper, clock: Clock, database: Database) -> None:
    keeper.change(backup_schedule="interval", backup_interval="1 h", rehearse_backups=False)
    clock.pass_time(60)
    keeper.tick()
    again = BackupKeeper(database, clock=clock.read, monotonic=clock.read_run)
    clock.pass_time(60)
    again.tick()
    assert taken(keeper) == 1, "the one before still counts"
    clock.pass_time(3600)
    again.tick()
    assert taken(keeper) == 2


def test_a_clock_set_back_starts_no_storm_and_no_silence(keeper: BackupKeeper, clock: Clock) -> None:
    keeper.change(backup_schedule="interval", backup_interval="1 h", rehearse_backups=False)
    clock.pass_time(30)
    keeper.tick()
    clock.now -= 400 * DAY
    for _ in range(20):
        keeper.tick()
        clock.pass_time(10)
    assert taken(keeper) == 1
    clock.pass_time(3600)
    for _ in range(5):
        keeper.tick()
    assert taken(keeper) == 2


def test_a_clock_set_forward_costs_one_backup(keeper: BackupKeeper, clock: Clock) -> None:
    keeper.change(backup_schedule="daily", backup_time="03:00", rehearse_backups=False)
    clock.pass_time(30)
    keeper.tick()
    before = taken(keeper)
    clock.now += 3650 * DAY
    for _ in range(10):
        keeper.tick()
    assert taken(keeper) == before + 1


def test_a_folder_that_is_gone_is_told_and_not_made_on_another_disk(
    keeper: BackupKeeper, clock: Clock, database: Database, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    keeper.change(backup_folder=str(stick / "chain"), backup_schedule="interval", rehearse_backups=False)
    clock.pass_time(30)
    keeper.tick()
    assert taken(keeper) == 1
    stick.rename(tmp_path / "pulled out")
    failed: list[Event] = []
    subscription = database.events.subscribe(failed.append, ["backup_failed"])
    clock.pass_time(DAY)
    keeper.tick()
    subscription.close()
    error = keeper.failure()
    assert isinstance(error, errors.BackupFolderGone)
    assert not stick.exists()
    assert [event.fields["code"] for event in failed] == [-67]
    assert "not there" in keeper.standing().failure
    # Back in: the next try succeeds, and the failure is over.
    (tmp_path / "pulled out").rename(stick)
    clock.pass_time(FIRST_RETRY_S + 1)
    keeper.tick()
    assert keeper.failure() is None
    assert taken(keeper) == 2


def test_an_attempt_that_fails_is_not_made_again_at_once(
    keeper: BackupKeeper, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("")
    keeper.change(backup_folder=str(tmp_path / "a file" / "chain"), backup_schedule="interval")
    clock.pass_time(30)
    assert keeper.tick() == 0.0
    assert keeper.failure() is not None
    assert keeper.tick() > 0
    due = keeper.standing().next_at
    assert due is not None
    assert due - clock.now == pytest.approx(FIRST_RETRY_S, abs=1)
    # Another folder settles it, and is tried at once.
    keeper.change(backup_folder=str(tmp_path / "chain"), rehearse_backups=False)
    assert keeper.failure() is None
    keeper.tick()
    assert taken(keeper) == 1


def test_scheduled_backups_that_no_rule_keeps_go_and_taken_ones_stay(
    keeper: BackupKeeper, clock: Clock, database: Database
) -> None:
    database.backups.full_task(keeper.folder).run()
    keeper.change(
        backup_schedule="interval",
        rehearse_backups=False,
        keep_last_backups=2,
        keep_daily_backups=0,
        keep_weekly_backups=0,
        keep_monthly_backups=0,
    )
    for _ in range(5):
        clock.pass_time(DAY + 1)
        keeper.tick()
    origins = [kept.origin for kept in kept_backups(keeper.folder)]
    assert origins == [BackupOrigin.SCHEDULED, BackupOrigin.SCHEDULED, BackupOrigin.MANUAL]


def test_the_backups_of_another_database_in_the_folder_count_for_nothing_and_stay(
    keeper: BackupKeeper, database: Database, tmp_path: Path
) -> None:
    with engine.open(tmp_path / "other.holdfast", config=database.config) as other:
        for _ in range(3):
            other.backups.full_task(keeper.folder, BackupOrigin.SCHEDULED).run()
    database.backups.full_task(keeper.folder, BackupOrigin.SCHEDULED).run()
    config = database.config.changed(keep_last_backups=1, keep_daily_backups=0, keep_weekly_backups=0)
    pruned = prune_task(keeper.folder, config.changed(keep_monthly_backups=0), keeper.identity()).run()
    assert pruned.names == ()
    assert len(kept_backups(keeper.folder)) == 4
    assert len(keeper.backups()) == 1


def test_an_increment_is_rehearsed_as_it_is_restored(keeper: BackupKeeper, database: Database) -> None:
    full = database.backups.full_task(keeper.folder, BackupOrigin.SCHEDULED).run()
    with database.transaction() as txn:
        txn.tree("t")[b"later"] = b"in the increment"
    increment = database.backups.increment_task(keeper.folder, BackupOrigin.SCHEDULED).run()
    found = rehearse_task(increment.path).run()
    assert found.is_compared
    assert found.counted.trees == {"t": 2}
    kept = kept_backups(keeper.folder)
    assert [(backup.name, backup.parent) for backup in kept] == [
        (Path(increment.path).name, Path(full.path).name),
        (Path(full.path).name, ""),
    ]
    # The increment is the last proved: the full backup below it stays with it, and goes with it.
    none = database.config.changed(keep_last_backups=1, keep_daily_backups=0, keep_weekly_backups=0)
    assert retention_plan(kept, none.changed(keep_monthly_backups=0)).removed == ()
    assert len(remove_task(full.path).run().names) == 2
    assert kept_backups(keeper.folder) == ()


def test_the_schedule_takes_increments_between_full_backups(
    keeper: BackupKeeper, database: Database, clock: Clock
) -> None:
    keeper.change(backup_schedule="interval", backup_increments=2, rehearse_backups=False)
    for number in range(5):
        with database.transaction() as txn:
            txn.tree("t")[b"%d" % number] = b"v"
        clock.pass_time(DAY + 1)
        keeper.tick()
    kinds = [bool(kept.parent) for kept in reversed(kept_backups(keeper.folder))]
    assert kinds == [False, True, True, False, True]


KILLED_BACKUP = """
    import os, sys
    from pathlib import Path
    import engine
    from engine.tasks import Task

    def tell(progress):
        if progress.done and Path(sys.argv[2]).is_dir() and list(Path(sys.argv[2]).glob("*.partial")):
            print("ready", flush=True)

    db = engine.open(sys.argv[1])
    with db.transaction() as txn:
        for number in range(20_000):
            txn.tree("t")[b"%06d" % number] = os.urandom(200)
    task = db.backups.full_task(sys.argv[2], bytes_per_second=1 << 20)
    task.observe(tell)
    task.run()
"""


def test_a_backup_killed_in_the_middle_is_no_backup_and_the_next_one_clears_it_away(
    tmp_path: Path, until_killed: Callable[..., None]
) -> None:
    path, chain = tmp_path / "killed.holdfast", tmp_path / "chain"
    until_killed(KILLED_BACKUP, str(path), str(chain))
    assert list(chain.glob("*.partial"))
    assert kept_backups(chain) == ()
    with engine.open(path) as database:
        info = database.backups.full_task(chain).run()
        assert rehearse_task(info.path).run().is_compared
    names = {entry.name.partition(".")[0] for entry in chain.iterdir()}
    assert names == {Path(info.path).name}


def test_a_removal_cut_off_in_the_middle_leaves_nothing_that_looks_like_a_backup(
    database: Database, tmp_path: Path
) -> None:
    first = Path(database.backups.full_task(tmp_path / "chain").run().path)
    first.rename(first.with_name(f"{first.name}.removing"))
    assert kept_backups(tmp_path / "chain") == ()
    database.backups.full_task(tmp_path / "chain").run()
    assert not list((tmp_path / "chain").glob("*.removing"))


def test_nothing_is_removed_while_a_backup_is_written(database: Database, tmp_path: Path) -> None:
    database.backups.full_task(tmp_path, BackupOrigin.SCHEDULED).run()
    (tmp_path / ".backup-under-way").touch()
    with pytest.raises(errors.BackupTargetInUse):
        prune_task(tmp_path, Config(), database.keeper.identity()).run()


def test_a_backup_is_removed_with_its_small_files_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    first = database.backups.full_task(tmp_path / "chain").run()
    second = database.backups.full_task(tmp_path / "chain").run()
    assert remove_task(first.path).run().names == (Path(first.path).name,)
    assert [kept.info.path for kept in kept_backups(tmp_path / "chain")] == [second.path]
    assert not [path for path in (tmp_path / "chain").iterdir() if Path(first.path).name in path.name]
    with pytest.raises(errors.BackupNotFound):
        remove_task(tmp_path / "chain" / "letters").run()


def test_settings_of_backups_are_in_force_at_once_and_kept(database: Database) -> None:
    with pytest.raises(errors.ConfigInvalid):
        database.keeper.change(backup_time="25:00")
    assert database.config.backup_time == "02:00"
    database.keeper.change(keep_last_backups=3, backup_folder="/elsewhere")
    assert database.config.keep_last_backups == 3
    assert engine.config.load(database.path).keep_last_backups == 3
    assert database.keeper.folder == Path("/elsewhere").absolute()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"since": "x"}', '{"since": 1e999, "folders": {}}'])
def test_a_damaged_memory_is_made_up_for_from_the_folder(
    database: Database, keeper: BackupKeeper, content: str
) -> None:
    database.backups.full_task(keeper.folder).run()
    seen = keeper.standing().taken_at
    (database.path / FILE_NAME).write_text(content)
    again = BackupKeeper(database)
    assert again.standing().taken_at == 0
    again.look()
    assert again.standing().taken_at == pytest.approx(seen)
    assert read_memory(database.path).since > 0


def test_health_tells_that_no_backup_was_proved_for_long(
    database: Database, keeper: BackupKeeper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deductions() -> dict[str, tuple[int, str]]:
        return {d.name: (d.points, d.action) for d in database.health.report().deductions}

    assert "no_proved_backup" not in deductions(), "a new database has some days"
    standing = keeper.standing()
    old = standing.since - 30 * DAY

    def stands(**values: object) -> None:
        told: BackupStanding = replace(standing, **values)  # type: ignore[arg-type]
        monkeypatch.setattr(keeper, "standing", lambda: told)

    stands(since=old)
    assert deductions()["no_proved_backup"] == (15, "back_up")
    stands(since=old, taken_at=time.time())
    assert "no_proved_backup" in deductions(), "a backup that was never restored is not proved"
    stands(since=old, taken_at=time.time(), proved_at=time.time() - 8 * DAY)
    assert deductions()["no_proved_backup"] == (8, "back_up")
    stands(since=old, taken_at=time.time(), proved_at=time.time() - DAY)
    assert "no_proved_backup" not in deductions()
    stands(failure="The disk is full.")
    assert "backup_failed" in deductions()
    keeper.change(proved_backup_within="400 d")
    stands(since=old)
    assert "no_proved_backup" not in deductions()


def test_the_check_of_health_names_the_state_of_backups(database: Database, keeper: BackupKeeper) -> None:
    def told() -> str:
        return next(check.detail for check in database.health.report().checks if check.name == "backups")

    assert told() == "There is no backup yet"
    database.backups.full_task(keeper.folder).run()
    assert told() == "There is a backup, not yet proved"


def test_closing_a_database_cancels_its_scheduled_backup_and_leaves_no_half_of_one(
    tmp_path: Path, config: Config
) -> None:
    # So slow that it cannot have ended by itself.
    slow = config.changed(backup_rate="64 KiB", backup_folder=str(tmp_path / "chain"))
    database = engine.open(tmp_path / "busy.holdfast", config=slow)
    with database.transaction() as txn:
        for number in range(20_000):
            txn.tree("t")[b"%06d" % number] = b"v" * 200
    begun = threading.Event()
    database.events.subscribe(lambda _event: begun.set(), ["scheduled_backup_began"])
    runs = threading.Thread(target=database.keeper._run_scheduled)
    runs.start()
    assert begun.wait(30)
    database.close()
    runs.join(30)
    assert not runs.is_alive()
    assert kept_backups(tmp_path / "chain") == ()
    assert not (tmp_path / "chain").exists() or not list((tmp_path / "chain").iterdir())
    with engine.open(tmp_path / "busy.holdfast", config=config, recovery="never") as again:
        assert again.keeper.failure() is None, "nobody's fault"


def test_a_database_without_a_schedule_starts_no_thread_for_it(database: Database) -> None:
    assert "holdfast-backups" not in {thread.name for thread in threading.enumerate()}
    database.keeper.standing()
    assert "holdfast-backups" in {thread.name for thread in threading.enumerate()}


def test_a_close_before_a_scheduled_backup_has_begun_is_no_failure_of_it(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.open(tmp_path / "busy.holdfast", config=config) as database:
        keeper = database.keeper

        def closed(_task: Task[Any]) -> Any:
            keeper.close()
            raise errors.StoreClosed

        monkeypatch.setattr(keeper, "scheduled_task", lambda: Task("Scheduled backup", closed))
        keeper._run_scheduled()
        assert keeper.failure() is None
