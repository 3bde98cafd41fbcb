"""The parts of recovery that need no database: needs, limits, errors, declarations."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import errors
from engine.recovery import failures, resources
from engine.recovery.watch import StageWatch, Standstill, progress_text


class Work:
    """Stands for a kernel job: progress that the test sets, and a cancel that it can wait for."""

    def __init__(self) -> None:
        self.done = 0
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def progress(self) -> dict[str, Any]:
        return {"stage": "redo", "done": self.done, "total": 100, "unit": "pages", "rows": 0}


def watch(
    work: Work, idle_s: float = 60.0, total_s: float = 60.0
) -> tuple[StageWatch, list[Mapping[str, Any]]]:
    told: list[Mapping[str, Any]] = []
    return StageWatch(work, idle_s=idle_s, standstill=Standstill(total_s), tell=told.append), told


def test_a_stage_without_progress_is_cancelled_after_its_limit() -> None:
    work = Work()
    watching, _ = watch(work, idle_s=0.2)
    with watching:
        assert work.cancelled.wait(10)
    assert watching.expired == 0.2


def test_a_stage_that_progresses_is_left_alone_however_long_it_takes() -> None:
    work = Work()
    watching, told = watch(work, idle_s=0.5)
    seen = threading.Event()
    watching._tell = lambda progress: (told.append(progress), len(told) >= 8 and seen.set())  # type: ignore[assignment]
    with watching:
        while not seen.wait(0.02):
            work.done += 1
    assert watching.expired is None
    assert not work.cancelled.is_set()


def test_a_recovery_has_a_limit_as_a_whole() -> None:
    work = Work()
    watching, _ = watch(work, total_s=0.2)
    with watching:
        while not work.cancelled.wait(0.02):
            work.done += 1
    assert watching.expired == 0.2


def test_the_limit_of_a_whole_recovery_is_time_without_progress_in_all() -> None:
    standstill = Standstill(0.3)
    for longest in (0.2, 30.0):
        work = Work()
        watching = StageWatch(work, idle_s=60, standstill=standstill, tell=lambda progress: None)
        with watching:
            expired = work.cancelled.wait(longest)
    # Neither stage stood still for as long; both together did.
    assert expired
    assert watching.expired == 0.3


def test_a_recovery_that_goes_on_never_reaches_the_limit_of_the_whole() -> None:
    standstill = Standstill(2.0)
    for _pause in range(1000):
        standstill.end(0.15)
    assert not standstill.is_over(0.15)
    standstill.end(1.5)
    assert standstill.is_over(0.7)


def test_progress_reads_in_words() -> None:
    assert progress_text({"stage": "redo", "done": 5, "total": 10, "unit": "pages"}) == "5 of 10 pages"
    large = {"stage": "reading", "done": 50 << 20, "total": 3 << 30, "unit": "bytes"}
    assert progress_text(large) == "50 MiB of 3 GiB"
    assert progress_text({"done": 2_000_000, "total": 0, "unit": "pages"}) == "2,000,000 pages"
    assert progress_text({"stage": "redo", "done": 0, "total": 0, "unit": ""}) == "redo"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (errors.DatabaseOpenElsewhere(path="/db", pid=7), errors.DatabaseLocked),
        (errors.PermissionDenied(path="/db/wal", operation="read"), errors.RecoveryPermissionError),
        (errors.DiskFull(path="/db"), errors.InsufficientResources),
        (errors.PageDamaged(page_id=3), errors.InconsistentState),
        (errors.IoError(operation="read", path="/db"), errors.RecoveryDependencyError),
        (errors.ControlDamaged(path="/db"), errors.RecoveryImpossible),
        (errors.InternalError(detail="x"), errors.RecoveryImpossible),
    ],
)
def test_a_failed_stage_ends_with_a_recovery_error_and_keeps_the_cause(
    raised: errors.HoldfastError, expected: type[errors.HoldfastError]
) -> None:
    error = failures.stage_error(raised, "WAL Discovery")
    assert type(error) is expected
    assert error.__cause__ is raised
    assert "unknown" not in error.message.replace("unknown needed", "").replace("unknown available", "")


@pytest.mark.parametrize("kept", [errors.WalCorrupted(details="x"), errors.Cancelled(operation="Recovery")])
def test_recovery_errors_and_cancel_pass_as_they_are(kept: errors.HoldfastError) -> None:
    assert failures.stage_error(kept, "WAL Validation") is kept


def test_a_partial_failure_names_what_was_done_and_what_failed() -> None:
    cause = errors.RecoveryVerificationFailed(check_name="pages", details="page 3", critical=True)
    error = failures.partial(
        cause, "Consistency Validation", ["Initialization", "Lock Acquisition"], rollback_available=False
    )
    assert error.fields["failed_stage"] == "Consistency Validation"
    assert error.fields["completed_stages"] == ["Initialization", "Lock Acquisition"]
    assert error.fields["rollback_available"] is False
    assert error.__cause__ is cause


def test_the_first_need_that_is_not_met_is_the_one_to_tell(tmp_path: Path) -> None:
    found = resources.needs(
        tmp_path, cache_bytes=1 << 20, log_buffer_bytes=1 << 20, segment_bytes=1 << 20, segments=2
    )
    assert [need.resource for need in found] == ["memory", "disk", "file handles"]
    assert resources.first_unmet(found) is None
    short = [found[0], replace(found[1], available=found[1].required - 1), found[2]]
    assert resources.first_unmet(short) is short[1]


def test_a_recovery_needs_no_more_memory_for_a_larger_cache(tmp_path: Path) -> None:
    small, large = (
        resources.needs(tmp_path, cache_bytes=size, log_buffer_bytes=0, segment_bytes=1 << 20, segments=1)
        for size in (resources.CACHE_AT_MOST, 1 << 40)
    )
    assert [need.required for need in small] == [need.required for need in large]


def test_a_recovery_that_asks_for_more_memory_than_there_is_is_told_so(tmp_path: Path) -> None:
    found = resources.needs(
        tmp_path, cache_bytes=1 << 20, log_buffer_bytes=1 << 50, segment_bytes=1 << 20, segments=1
    )
    unmet = resources.first_unmet(found)
    assert unmet is not None
    assert unmet.resource == "memory"
    assert unmet.required > unmet.available > 0
