"""Mirrors through the public interface: they follow, prove themselves, take over, and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.health.checks import Answer
from engine.mirrors.failover import fail_over_task
from engine.mirrors.outlook import known_mirrors, outlook, verify_task
from engine.mirrors.register import heirs
from engine.snapshots.reverting import revert_task
from engine.types import MirrorPhase


def fill(database: Any, numbers: range) -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in numbers:
            tree[f"{number:06}".encode()] = b"v" * 200


def count(database: Any) -> int:
    with database.transaction(read_only=True) as txn:
        return len(txn.tree("t"))


def until(condition: Callable[[], bool], patience_s: float = 60.0) -> None:
    """Wait for what threads of the kernel bring about."""
    due = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < due
        pause.wait(0.01)


@pytest.fixture
def mirrored(tmp_path: Path) -> Any:
    """A database with a mirror that has everything."""
    database = engine.open(tmp_path / "a.holdfast")
    fill(database, range(500))
    database.mirrors.add(tmp_path / "b.holdfast")
    database.mirrors.level_task(tmp_path / "b.holdfast").run()
    yield database
    database.close()


def test_a_mirror_follows_and_says_how_far_it_is(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    fill(mirrored, range(500, 900))
    info = mirrored.mirrors.level_task(mirror).run()
    assert info.phase is MirrorPhase.FOLLOWING
    assert info.lag_bytes == 0
    assert info.copies == 1
    assert info.shipped_lsn > 0
    assert info.held
    assert not info.error
    seen = mirrored.mirrors.outlook(mirror)
    assert seen.is_without_loss
    assert seen.lost_commits == 0
    assert known_mirrors(mirrored.path) == ((mirror, False),)
    kinds = {check.name: check for check in mirrored.health.report().checks}
    assert kinds["network"].answer is Answer.HEALTHY


def test_a_mirror_is_not_opened_as_a_database(mirrored: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.DatabaseIsMirror) as refused:
        engine.open(tmp_path / "b.holdfast", create=False)
    assert refused.value.fields["primary"] == str(mirrored.path)


def test_a_mirror_is_proved_while_it_follows(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    proof = mirrored.mirrors.verify_task(mirror, tmp_path).run()
    assert proof.ok
    assert proof.pages > 0
    with pytest.raises(errors.DatabaseOpenElsewhere):
        verify_task(mirror, tmp_path).run()
    mirrored.close()
    assert verify_task(mirror, tmp_path).run().ok


def test_a_planned_fail_over_loses_nothing_and_the_way_back_needs_no_copy(
    mirrored: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    fill(mirrored, range(500, 800))
    done = mirrored.mirrors.fail_over_task(second).run()
    assert done.path == second
    assert done.outlook.is_without_loss
    # The former primary follows its successor by itself.
    with pytest.raises(errors.DatabaseIsMirror) as refused:
        engine.open(first)
    assert refused.value.fields["primary"] == str(second)
    with engine.open(second, create=False) as successor:
        assert count(successor) == 800
        fill(successor, range(800, 1000))
        # What is new comes over from the log.
        info = successor.mirrors.level_task(first).run()
        assert info.copies == 0
        successor.mirrors.fail_over_task(first).run()
    with engine.open(first, create=False) as back:
        assert count(back) == 1000
        assert back.check().ok
    with pytest.raises(errors.DatabaseIsMirror):
        engine.open(second)


def test_a_lost_primary_is_replaced_and_what_may_be_lost_is_said_first(mirrored: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    mirrored.close()
    first.rename(tmp_path / "gone")
    seen = outlook(second, first)
    assert seen.lost_bytes is None
    assert seen.last_commit_at > 0
    done = fail_over_task(second, first).run()
    assert done.seconds < 30
    with engine.open(second, create=False) as successor:
        assert count(successor) == 500
    # It comes back, and learns from the mirror it knew that it is no primary any more.
    (tmp_path / "gone").rename(first)
    with pytest.raises(errors.DatabaseSuperseded):
        engine.open(first)


def test_a_mirror_whose_disk_is_gone_is_lost_costs_health_and_catches_up(
    mirrored: Any, tmp_path: Path
) -> None:
    mirror, away = tmp_path / "b.holdfast", tmp_path / "away"
    mirrored.close()
    mirror.rename(away)
    with engine.open(mirrored.path) as database:
        until(lambda: database.mirrors.find(mirror).phase is MirrorPhase.LOST)
        info = database.mirrors.find(mirror)
        assert info.error
        assert not mirror.exists(), "nothing is made where the disk is not"
        names = {deduction.name for deduction in database.health.report().deductions}
        assert "mirror_lost" in names
        fill(database, range(500, 700))
        away.rename(mirror)
        until(lambda: database.mirrors.find(mirror).is_level)
        assert database.mirrors.find(mirror).copies == 0
    assert fail_over_task(mirror, mirrored.path).run().outlook.is_without_loss


def test_commits_are_in_a_synchronous_mirror(tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    with engine.open(tmp_path / "a.holdfast") as database:
        database.mirrors.add(mirror, synchronous=True)
        until(lambda: database.mirrors.find(mirror).in_step)
        for start in range(0, 200, 20):
            fill(database, range(start, start + 20))
            assert database.mirrors.find(mirror).lag_bytes == 0


def test_a_directory_that_holds_something_else_is_no_place_for_a_mirror(
    mirrored: Any, tmp_path: Path
) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "one.jpg").write_bytes(b"x")
    with pytest.raises(errors.TargetNotEmpty):
        mirrored.mirrors.add(other)
    with pytest.raises(errors.InvalidArgument):
        mirrored.mirrors.add(mirrored.path / "inside")
    assert [item.name for item in other.iterdir()] == ["one.jpg"]


def test_a_former_primary_with_changes_of_its_own_is_refused(mirrored: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    mirrored.mirrors.remove(second)
    fill(mirrored, range(500, 520))
    mirrored.close()
    fail_over_task(second).run()
    with engine.open(second, create=False) as successor:
        until(lambda: successor.mirrors.find(first).phase is MirrorPhase.REFUSED)
        refusal = successor.mirrors.error_of(first)
        assert isinstance(refusal, errors.MirrorDiverged)
    with engine.open(first) as still_there:
        assert count(still_there) == 520


def test_a_removed_mirror_leaves_nothing_where_that_is_asked(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    mirrored.mirrors.remove(mirror, remove_files=True)
    assert mirrored.mirrors.list() == ()
    left = [item for item in mirror.rglob("*") if item.is_file() and item.stat().st_size]
    assert left == []
    with pytest.raises(errors.InvalidArgument):
        mirrored.mirrors.find(mirror)


def test_the_strict_mode_tells_the_commit_and_keeps_it(tmp_path: Path) -> None:
    config = Config(mirror_loss_action="wait", mirror_timeout=0.2)
    mirror, away = tmp_path / "b.holdfast", tmp_path / "away"
    with engine.open(tmp_path / "a.holdfast", config=config) as database:
        database.mirrors.add(mirror, synchronous=True)
        until(lambda: database.mirrors.find(mirror).in_step)
    mirror.rename(away)
    with engine.open(tmp_path / "a.holdfast", config=config) as database:
        with pytest.raises(errors.MirrorNotReached):
            fill(database, range(10))
        assert count(database) == 10


def test_the_mirrors_of_a_database_that_is_gone_are_known_and_take_over(
    mirrored: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    far = tmp_path / "another disk"
    far.mkdir()
    mirrored.mirrors.add(far / "c.holdfast")
    mirrored.mirrors.level_task(far / "c.holdfast").run()
    mirrored.close()
    first.rename(tmp_path / "gone")
    found = heirs(first)
    assert {heir.path for heir in found} == {second, far / "c.holdfast"}
    assert all(heir.outlook is not None and heir.outlook.last_commit_at for heir in found)
    assert main(["mirror", str(first), "status"]) == 1
    told = capsys.readouterr().out
    assert "Its last commit is of" in told
    assert f"holdfast mirror {first} fail-over" in told
    assert main(["mirror", str(first), "fail-over", str(second)]) == 0
    now = heirs(first)
    assert (now[0].path, now[0].has_taken_over) == (second, True)
    with engine.open(second, create=False) as successor:
        assert count(successor) == 500
        assert successor.mirrors.former() == first


def test_a_lost_database_with_one_mirror_needs_no_name_of_it(mirrored: Any, tmp_path: Path) -> None:
    mirrored.close()
    mirrored.path.rename(tmp_path / "gone")
    assert main(["mirror", str(mirrored.path), "fail-over"]) == 0
    with engine.open(tmp_path / "b.holdfast", create=False) as successor:
        assert count(successor) == 500


def test_directories_of_others_are_no_heirs(mirrored: Any, tmp_path: Path) -> None:
    with engine.open(tmp_path / "other.holdfast") as other:
        fill(other, range(10))
        other.mirrors.add(tmp_path / "of other.holdfast")
        other.mirrors.level_task(tmp_path / "of other.holdfast").run()
    mirrored.mirrors.remove(tmp_path / "b.holdfast", remove_files=True)
    mirrored.close()
    assert heirs(mirrored.path) == ()


def test_a_mirror_of_a_database_that_went_back_in_time_is_made_anew(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    mirrored.snapshots.take("then")
    fill(mirrored, range(500, 700))
    mirrored.mirrors.level_task(mirror).run()
    revert_task(mirrored, "then").run()
    with engine.open(mirrored.path, create=False) as back:
        assert count(back) == 500
        info = back.mirrors.level_task(mirror).run()
        assert info.copies == 1, "what it held beyond is given up on purpose"
        fill(back, range(500, 600))
        back.mirrors.level_task(mirror).run()
    with engine.open(mirrored.path, create=False) as again:
        assert again.mirrors.level_task(mirror).run().copies == 0
    assert fail_over_task(mirror, mirrored.path).run().outlook.is_without_loss
    with engine.open(mirror, create=False) as successor:
        assert count(successor) == 600


def fail_the_disk(database: Any) -> None:
    """Let every write of this process fail for a moment, as a disk that dies does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(errors.HoldfastError):
            fill(database, range(1000, 1010))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_disk_fails_over_by_itself_where_that_is_set(tmp_path: Path) -> None:
    config = Config(mirror_fail_over="automatic")
    mirror = tmp_path / "b.holdfast"
    database = engine.open(tmp_path / "a.holdfast", config=config)
    try:
        fill(database, range(300))
        database.mirrors.add(mirror)
        database.mirrors.level_task(mirror).run()
        started = time.monotonic()
        told = threading.Event()
        database.events.subscribe(lambda event: told.set() if event.kind == "failed_over" else None)
        fail_the_disk(database)
        assert told.wait(30)
        assert time.monotonic() - started < 30
        assert database.guard.result is not None
        assert database.guard.result.path == mirror
    finally:
        with suppress(errors.HoldfastError):
            database.close()
    with engine.open(mirror, create=False) as successor:
        assert count(successor) == 300
