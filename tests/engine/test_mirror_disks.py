"""The disk of a mirror, full or read-only, and a clock set back: the database goes on and says what is so."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.config import Config
from engine.errors import DiskFull
from engine.mirrors.failover import fail_over_task
from engine.types import MirrorPhase
from tests.crash.faults import NO_OTHER_CLOCK, NO_SMALL_DISK, SmallDisk, clock_a_day_back, small_disk
from tests.engine.conftest import ROOT
from tests.engine.test_mirrors import count, fill, until

on_a_small_disk = pytest.mark.skipif(bool(NO_SMALL_DISK), reason=NO_SMALL_DISK or "small disks")
with_another_clock = pytest.mark.skipif(bool(NO_OTHER_CLOCK), reason=NO_OTHER_CLOCK or "other clocks")
CONFIG = Config().changed(segment_size="1 MiB", cache_size="1 MiB")
PORTION = 4000
"""Rows of about a megabyte of log."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "mirrors", 16 << 20) as made:
        yield made


def level(database: Any, mirror: Path, synchronous: bool) -> None:
    """Wait until the mirror has everything and commits wait for it, if they are to."""

    def is_level() -> bool:
        info = database.mirrors.find(mirror)
        return info.phase is MirrorPhase.FOLLOWING and not info.lag_bytes and info.in_step is synchronous

    until(is_level)


def is_lost(database: Any, mirror: Path) -> bool:
    return database.mirrors.find(mirror).phase is MirrorPhase.LOST


@on_a_small_disk
@pytest.mark.parametrize("synchronous", [False, True])
def test_a_mirror_whose_disk_is_full_is_lost_and_catches_up_once_there_is_room(
    tmp_path: Path, disk: SmallDisk, synchronous: bool
) -> None:
    mirror, rows = disk.folder / "m.holdfast", 0
    with engine.open(tmp_path / "a.holdfast", config=CONFIG) as database:
        fill(database, range(100))
        database.mirrors.add(mirror, synchronous=synchronous)
        level(database, mirror, synchronous)
        ballast = disk.folder / "ballast"
        free = os.statvfs(disk.folder)
        ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - (2 << 20)))
        # More than there is room for; none of it waits for the mirror longer than the settings say.
        for _ in range(12):
            fill(database, range(rows, rows + PORTION))
            rows += PORTION
        until(lambda: is_lost(database, mirror))
        assert isinstance(database.mirrors.error_of(mirror), DiskFull)
        assert not database.mirrors.find(mirror).in_step
        assert count(database) == rows
        ballast.unlink()
        disk.grow(256 << 20)
        level(database, mirror, synchronous)
        assert database.mirrors.find(mirror).copies == 1, "its log reached: no second copy"
        assert database.mirrors.verify_task(mirror).run().ok
    fail_over_task(mirror).run()
    with engine.open(mirror, create=False) as taken:
        assert count(taken) == rows


@on_a_small_disk
@pytest.mark.parametrize("synchronous", [False, True])
def test_a_mirror_on_a_read_only_disk_is_lost_and_follows_once_it_can_be_written_to(
    tmp_path: Path, disk: SmallDisk, synchronous: bool
) -> None:
    path, mirror = tmp_path / "a.holdfast", disk.folder / "m.holdfast"
    with engine.open(path, config=CONFIG) as database:
        fill(database, range(100))
        database.mirrors.add(mirror, synchronous=synchronous)
        level(database, mirror, synchronous)

    def remount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(disk.folder)], check=True)

    remount("ro")
    with engine.open(path, create=False, config=CONFIG) as database:
        fill(database, range(100, 200))
        until(lambda: is_lost(database, mirror))
        assert "read-only" in database.mirrors.find(mirror).error.lower()
        fill(database, range(200, 300))
        assert count(database) == 300
        remount("rw")
        level(database, mirror, synchronous)
        assert database.mirrors.verify_task(mirror).run().ok
    with engine.open(path, create=False, config=CONFIG) as database:
        database.mirrors.remove(mirror)
    # A recovery asks for more room than this one takes.
    disk.grow(256 << 20)
    fail_over_task(mirror).run()
    with engine.open(mirror, create=False) as taken:
        assert count(taken) == 300


WRITER = """
    import sys
    import engine
    from tests.engine.test_mirrors import fill, until
    from engine.types import MirrorPhase

    with engine.open(sys.argv[1], create=False) as database:
        fill(database, range(100, 200))
        info = database.mirrors.list()[0]
        until(lambda: database.mirrors.find(info.path).in_step)
        fill(database, range(200, 300))
        info = database.mirrors.find(info.path)
        assert info.phase is MirrorPhase.FOLLOWING, info
        assert info.lag_s >= 0, info
        assert database.mirrors.verify_task(info.path).run().ok
"""


@with_another_clock
def test_a_mirror_follows_and_takes_over_where_the_clock_was_set_back_by_a_day(tmp_path: Path) -> None:
    path, mirror = tmp_path / "a.holdfast", tmp_path / "m.holdfast"
    with engine.open(path) as database:
        fill(database, range(100))
        database.mirrors.add(mirror, synchronous=True)
        level(database, mirror, True)
    with clock_a_day_back(tmp_path) as environment:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    # The clock is right again: nothing depends on it.
    with engine.open(path, create=False) as database:
        level(database, mirror, True)
        fill(database, range(300, 310))
    fail_over_task(mirror).run()
    with engine.open(mirror, create=False) as taken:
        assert count(taken) == 310
        assert taken.check().ok
