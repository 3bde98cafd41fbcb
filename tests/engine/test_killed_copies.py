"""Backups, snapshots, restores, rescues and first copies that are killed with SIGKILL at any of their calls.

Whichever call it was: the database is what it was, what is left behind is not taken for whole, and the same
work succeeds when it is begun again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.backups.backup import list_backups, verify_task
from engine.backups.emergency import verify_emergency_task
from engine.backups.emergency_manifest import emergency_backups
from engine.backups.restore import restore_task
from engine.mirrors.failover import fail_over_task
from engine.mirrors.outlook import verify_task as verify_mirror_task
from engine.types import DatabaseState
from tests.crash.steps import NO_STEPS, Steps, steps_counted
from tests.engine import copies_at_work as work

pytestmark = pytest.mark.skipif(bool(NO_STEPS), reason=NO_STEPS or "no steps")

KILLS = int(os.environ.get("HOLDFAST_KILLS", "4"))
"""Calls of each piece of work to kill it at, spread over all of them; 0 for every one."""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    with steps_counted(tmp_path_factory.mktemp("steps")) as counted:
        yield counted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    work.make_home(folder / "made")
    # Moved: its backups name the place of its log, and no copy is to find another one's there.
    return (folder / "made").rename(folder / "home")


def killed(
    steps: Steps, home: Path, tmp_path: Path, name: str, target: str = "", every: bool = False
) -> Iterator[Path]:
    """A copy of the home for each kill of the work `name`, as the kill left it."""
    what = f"{work.__name__}:{name}"

    def arguments(place: Path) -> list[Path]:
        return [place, place / target] if target else [place]

    def copied(to: str) -> Path:
        return Path(shutil.copytree(home, tmp_path / to, symlinks=True))

    calls = steps.count(what, *arguments(copied("to its end")))
    few = {2, *(number * calls // (KILLS or 1) for number in range(1, KILLS + 1))}
    few = set() if every or not KILLS else few
    cut = 0
    for at in sorted(few or range(1, calls + 1)):
        place = copied(f"{name} killed at {at}")
        # Threads of its own may make it end in fewer calls than before.
        cut += steps.kill(what, *arguments(place), at=at)
        yield place
        shutil.rmtree(place)
    assert cut > 1


def letters(path: Path) -> set[bytes]:
    """What the values of a database begin with; it is whole, opened or recovered."""
    with engine.open(path, create=False, config=work.SETTINGS) as database:
        assert database.check().ok
        with database.transaction(read_only=True) as txn:
            tree = txn.tree("t", create=False)
            assert len(tree) == work.ROWS
            return {value[:1] for value in tree.values()}


def letters_if_any(path: Path) -> set[bytes]:
    """As `letters`; none where there is no database, which is told with what to do."""
    try:
        return letters(path)
    except errors.HoldfastError as error:
        return set() if error.suggested_action else {b"an error that says nothing"}


def is_said_to_be_clean(path: Path) -> bool:
    try:
        return engine.inspect(path).state is DatabaseState.CLEAN
    except errors.HoldfastError:
        # What the kill left is no database at all.
        return False


def assert_original(place: Path, *expected: bytes) -> None:
    """Committed is what was committed before, or all of one commit that was under way."""
    assert letters(place / "db.holdfast") in [{letter} for letter in expected or (work.OF_NOW,)]


def assert_backups_whole(place: Path) -> None:
    """Each that is listed is one, and the newest of them can be restored."""
    for info in list_backups(place / "chain"):
        verify_task(info.path).run()
    for copy in emergency_backups(place / "chain"):
        verify_emergency_task(copy.path).run()
    restored = restore_task(place / "chain", place / "restored.holdfast").run()
    expected = work.OF_INCREMENT if len(list_backups(place / "chain")) == 2 else work.OF_NOW
    assert letters(restored.path) == {expected}


AGAIN = {"full": work.full, "increment": work.increment, "emergency": work.emergency}


@pytest.mark.parametrize("name", AGAIN)
def test_a_backup_killed_at_any_call_is_none_or_whole(
    steps: Steps, home: Path, tmp_path: Path, name: str
) -> None:
    for place in killed(steps, home, tmp_path, name):
        assert_original(place)
        assert_backups_whole(place)
        with suppress(errors.IncrementRefused):
            # A kill while the database notes a backup may cost the note: then a full one is due.
            AGAIN[name](str(place))
        work.full(str(place))
        assert not list((place / "chain").glob("*.partial"))


def test_a_claim_killed_at_any_call_holds_no_folder(steps: Steps, home: Path, tmp_path: Path) -> None:
    for place in killed(steps, home, tmp_path, "claim", every=True):
        work.claim(str(place))
        assert_backups_whole(place)


def test_a_rehearsal_killed_at_any_call_costs_its_backup_nothing(
    steps: Steps, home: Path, tmp_path: Path
) -> None:
    for place in killed(steps, home, tmp_path, "rehearsal"):
        assert_original(place)
        work.rehearsal(str(place))
        assert not list(place.glob(".holdfast-rehearsal-*")), "what was killed goes with the next"


def test_a_removal_killed_at_any_call_leaves_no_half_of_a_backup(
    steps: Steps, home: Path, tmp_path: Path
) -> None:
    for place in killed(steps, home, tmp_path, "removal"):
        found = list_backups(place / "chain")
        # The increment goes first: never one without what it adds to.
        assert [bool(info.parent) for info in found] in ([], [False], [True, False])
        for info in found:
            verify_task(info.path).run()
        assert_original(place)
        work.full(str(place))
        assert not list((place / "chain").glob("*.removing")), "what the kill left goes with the next"


EXPECTED = {
    "restore": work.OF_INCREMENT,
    "restore_to_point": work.OF_NOW,
    "restore_snapshot": work.OF_SNAPSHOT,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_restore_killed_at_any_call_leaves_no_database_or_a_whole_one(
    steps: Steps, home: Path, tmp_path: Path, name: str
) -> None:
    outcomes = set()
    for place in killed(steps, home, tmp_path, name, "back.holdfast"):
        target = place / "back.holdfast"
        is_clean = is_said_to_be_clean(target)
        found = letters_if_any(target)
        assert found == {EXPECTED[name]} or not (found or is_clean)
        outcomes.add("whole" if found else "none")
        assert_original(place)
        for _ in range(2 if target.exists() and any(target.iterdir()) else 0):
            was_cut_off = (place / ".back.holdfast.being-restored").exists()
            with pytest.raises(errors.TargetNotEmpty) as refused:
                getattr(work, name)(str(place), str(target))
            assert ("was cut off" in refused.value.message) is was_cut_off
            assert "new or an empty directory" in refused.value.suggested_action
    getattr(work, name)(str(home), str(tmp_path / "again.holdfast"))
    assert letters(tmp_path / "again.holdfast") == {EXPECTED[name]}
    assert outcomes == {"none", "whole"}


EXPECTED_OF = {"new": work.OF_NOW, work.SNAPSHOT: work.OF_SNAPSHOT}


@pytest.mark.parametrize("name", ["snapshot", "snapshot_dropped"])
def test_a_snapshot_killed_at_any_call_costs_no_other_and_is_none_or_whole(
    steps: Steps, home: Path, tmp_path: Path, name: str
) -> None:
    for place in killed(steps, home, tmp_path, name):
        with work.opened(place) as database:
            left = {info.name for info in database.snapshots.list()}
            for one in left:
                database.snapshots.restore_task(one, place / one).run()
            # What was begun is done now, or can be.
            if name == "snapshot" and "new" not in left:
                database.snapshots.take("new")
            if name == "snapshot_dropped" and work.SNAPSHOT in left:
                database.snapshots.drop(work.SNAPSHOT)
        assert left <= EXPECTED_OF.keys()
        assert name == "snapshot_dropped" or work.SNAPSHOT in left
        for one in left:
            assert letters(place / one) == {EXPECTED_OF[one]}
        assert_original(place)


def test_a_rescue_killed_at_any_call_is_all_or_nothing(steps: Steps, home: Path, tmp_path: Path) -> None:
    for place in killed(steps, home, tmp_path, "rescue"):
        assert_original(place, work.OF_NOW, work.OF_INCREMENT)
        work.rescue(str(place))
        assert_original(place, work.OF_INCREMENT)
        assert not list(place.glob(".holdfast-past-*")), "what was killed goes with the next"


def test_log_whose_archiving_is_killed_at_any_call_is_archived_whole_all_the_same(
    steps: Steps, home: Path, tmp_path: Path
) -> None:
    for place in killed(steps, home, tmp_path, "archive"):
        now = letters(place / "db.holdfast")
        assert_original(place, work.OF_NOW, work.OF_NEXT)
        work.archive(str(place))
        work.restore_to_point(str(place), str(place / "point.holdfast"))
        assert letters(place / "point.holdfast") == {work.OF_NEXT}
        assert now <= {work.OF_NOW, work.OF_NEXT}


def test_a_first_copy_killed_at_any_call_is_no_database_and_is_made_again(
    steps: Steps, home: Path, tmp_path: Path
) -> None:
    for place in killed(steps, home, tmp_path, "first_copy"):
        mirror = place / "mirror.holdfast"
        with pytest.raises(errors.HoldfastError) as refused:
            engine.open(mirror, create=False)
        assert refused.value.suggested_action
        assert_original(place)
        with work.opened(place) as database:
            if not database.mirrors.list():
                database.mirrors.add(mirror)
            database.mirrors.level_task(mirror).run()
        assert verify_mirror_task(mirror).run().ok
        fail_over_task(mirror).run()
        assert letters(mirror) == {work.OF_NOW}


def test_a_repair_killed_at_any_call_loses_nothing_and_is_done_again(
    steps: Steps, home: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(home, tmp_path / "damaged"))
    work.spoil(damaged)
    for place in killed(steps, damaged, tmp_path, "repair"):
        with work.opened(place) as database:
            is_whole = database.check().ok
            assert is_whole is not bool(database.integrity.findings()), "what is damaged is told as that"
        if not is_whole:
            work.repair(str(place))
        assert_original(place)
        assert_backups_whole(place)
