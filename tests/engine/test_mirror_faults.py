"""What happens to mirrors from outside: removed in use, replaced, wanted by two databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.mirrors.failover import fail_over_task
from engine.mirrors.outlook import verify_task
from engine.types import MirrorPhase
from tests.engine.test_mirrors import count, fill, until


@pytest.fixture
def mirrored(tmp_path: Path) -> Any:
    """A database whose commits wait for a mirror."""
    database = engine.open(tmp_path / "a.holdfast")
    fill(database, range(100))
    database.mirrors.add(tmp_path / "b.holdfast", synchronous=True)
    until(lambda: database.mirrors.find(tmp_path / "b.holdfast").in_step)
    yield database
    database.close()


def phase_of(database: Any, mirror: Path) -> Callable[[], MirrorPhase]:
    return lambda: database.mirrors.find(mirror).phase


def test_a_mirror_whose_directory_was_removed_in_use_is_lost_and_told(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    shutil.rmtree(mirror)
    until(lambda: phase_of(mirrored, mirror)() is MirrorPhase.LOST)
    info = mirrored.mirrors.find(mirror)
    assert "there is no mirror in this directory" in info.error
    assert not info.in_step
    fill(mirrored, range(100, 120))
    assert count(mirrored) == 120
    assert not mirror.exists(), "nothing is made where the disk may only be away"
    # A new one is made once that is wanted.
    mirrored.mirrors.remove(mirror)
    mirrored.mirrors.add(mirror)
    mirrored.mirrors.level_task(mirror).run()
    assert mirrored.mirrors.verify_task(mirror).run().ok


def test_a_mirror_that_was_replaced_by_that_of_another_database_is_left_alone(
    mirrored: Any, tmp_path: Path
) -> None:
    mirror, theirs = tmp_path / "b.holdfast", tmp_path / "d.holdfast"
    with engine.open(tmp_path / "c.holdfast") as other:
        fill(other, range(7))
        other.mirrors.add(theirs)
        other.mirrors.level_task(theirs).run()
    mirror.rename(tmp_path / "away")
    theirs.rename(mirror)
    until(lambda: phase_of(mirrored, mirror)() is MirrorPhase.REFUSED)
    refusal = mirrored.mirrors.error_of(mirror)
    assert isinstance(refusal, errors.MirrorDiverged)
    assert "another database" in refusal.message
    fill(mirrored, range(100, 110))
    mirrored.close()
    assert fail_over_task(mirror).run().outlook.primary == str(tmp_path / "c.holdfast")
    with engine.open(mirror, create=False) as taken:
        assert count(taken) == 7


def test_two_databases_do_not_share_a_mirror(mirrored: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "b.holdfast"
    with engine.open(tmp_path / "c.holdfast") as other:
        fill(other, range(7))
        other.mirrors.add(mirror)
        # While the first one keeps it.
        until(lambda: phase_of(other, mirror)() is MirrorPhase.LOST)
        assert isinstance(other.mirrors.error_of(mirror), errors.DatabaseOpenElsewhere)
        fill(mirrored, range(100, 150))
        assert mirrored.mirrors.level_task(mirror).run().copies == 1
        mirrored.close()
        # And once nobody does.
        until(lambda: phase_of(other, mirror)() is MirrorPhase.REFUSED)
        assert isinstance(other.mirrors.error_of(mirror), errors.MirrorDiverged)
    assert verify_task(mirror).run().ok
    assert fail_over_task(mirror).run().outlook.primary == str(mirrored.path)
    with engine.open(mirror, create=False) as taken:
        assert count(taken) == 150
