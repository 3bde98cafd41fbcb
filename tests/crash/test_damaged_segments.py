"""A log of several segments, damaged in the first, a middle or the last one, recovered as far as it goes.

What is lost is told beforehand, and is what is then missing; what no log leads to any more is refused.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.errors import HoldfastError
from engine.recovery.fallbacks import offers
from engine.recovery.manager import RecoveryManager
from tests.crash.run import MIB, Run
from tests.recovery_causes import begins_at

SEGMENTS = 5
IN_A_SEGMENT = MIB // 20_000
"""Commits, at most: each has twenty records of a thousand bytes."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A killed database with `SEGMENTS` segments of log and more, all of it to be recovered."""
    run = Run(tmp_path_factory.mktemp("several"), SEGMENTS * MIB)
    run.work(run.orders())
    return run


@pytest.fixture
def run(original: Run, tmp_path: Path) -> Run:
    copy = Run(tmp_path, original.log_bytes, acknowledged=dict(original.acknowledged), shape=original.shape)
    shutil.rmtree(copy.path)
    shutil.copytree(original.path, copy.path)
    return copy


def segments(run: Run) -> list[Path]:
    """Those that hold log, in their order."""
    found = [file for file in (run.path / "wal").glob("*.wal") if file.read_bytes()[:8].strip(b"\0")]
    return sorted(found, key=begins_at)


def overwritten(segment: Path) -> None:
    with segment.open("r+b") as file:
        used = len(segment.read_bytes().rstrip(b"\0"))
        file.seek(used // 2)
        file.write(b"\xa5" * 64)


def without_header(segment: Path) -> None:
    with segment.open("r+b") as file:
        file.write(b"\xa5" * 64)


def cut_short(segment: Path) -> None:
    with segment.open("r+b") as file:
        file.truncate(len(segment.read_bytes().rstrip(b"\0")) // 2)


def zeroed_from_its_middle(segment: Path) -> None:
    content = segment.read_bytes()
    half = len(content.rstrip(b"\0")) // 2
    segment.write_bytes(content[:half] + bytes(len(content) - half))


def emptied(segment: Path) -> None:
    segment.write_bytes(b"")


def missing(segment: Path) -> None:
    segment.unlink()


DAMAGES = (overwritten, without_header, cut_short, zeroed_from_its_middle, emptied, missing)
PLACES = {"first": 0, "second": 1, "middle": SEGMENTS // 2, "last": -1}
UNSEEN = {(name, "last") for name in ("zeroed_from_its_middle", "emptied", "missing", "without_header")}
"""Where nothing in the log tells that more was there: it ends as after a crash."""
HOPELESS = {(name, "first") for name in ("without_header", "cut_short", "emptied", "missing")}
"""Recovery begins in the first segment, and one that lacks a part is not read at all."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_it_is_recovered_up_to_the_damage_with_the_loss_that_was_told(
    run: Run, place: str, damage: Callable[[Path], None]
) -> None:
    case = (damage.__name__, place)
    damage(segments(run)[PLACES[place]])
    refused = attempt(run, "")
    if refused is None:
        assert case in UNSEEN
        assert run.verify(may_lack=True).problems == []
        return
    assert refused.code in (-70, -71), refused
    offer = offers(run.path)[0]
    failure = attempt(run, "last-valid")
    assert offer.is_possible == (failure is None), (offer, failure)
    if failure is not None:
        assert case in HOPELESS, failure
        return
    verdict = run.verify(may_lack=True)
    assert verdict.problems == []
    lost = sum(run.acknowledged.values()) - verdict.commits
    told = int(offer.figures["lost_commits"])
    assert lost > 0
    # One more may have been in flight when it was killed.
    assert told <= lost + 1
    # What the segment itself held cannot be counted where it is gone, nor where it is not read.
    uncounted = 1 if damage is overwritten else 1 + IN_A_SEGMENT
    assert told >= lost - uncounted


def attempt(run: Run, fallback: str) -> HoldfastError | None:
    """Recover it; the error that it ended with."""
    manager = RecoveryManager(run.path, fallback=fallback)
    try:
        manager.run()
    except HoldfastError as error:
        return error
    manager.take_store().close()
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much was read")
def test_the_log_is_read_a_few_times_and_not_for_each_page_beyond_the_damage(run: Run) -> None:
    overwritten(segments(run)[0])
    process = psutil.Process()
    before = process.io_counters().read_chars
    assert attempt(run, "last-valid") is None
    read = process.io_counters().read_chars - before
    size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
    # Hundreds of pages were written out beyond the damage.
    assert read < 20 * size
