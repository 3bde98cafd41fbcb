"""The time left of a recovery, played from runs that were recorded.

`tests/data/recovery_runs.json` holds real recoveries, a sample each 0.1 s, as
`python -m tests.crash.recording` makes them: most of redo; a large log of which little is redone; a long
undo; some of all. On two processors: once with nothing beside ("quiet", played slower too); and where a
dozen other programs wanted them, once with precedence over those (played slower too), once beside them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.recovery.estimate import MB, USUAL_RATES, Estimator, Work, learned

RUNS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "recovery_runs.json").read_text("utf-8")
)
# Of shorter ones nothing is said but that they are short.
SHORT_S = 0.5
JUDGED = [run for run in RUNS if run["seconds"] >= SHORT_S]
PLAYED = [(run, 1.0) for run in JUDGED] + [(run, 1.5) for run in JUDGED if "beside" not in run["name"]]
# Which progress comes after analysis has told how much there is to do.
AFTER_ANALYSIS = ("redo", "undo")


def played(run: dict[str, Any], slower: float = 1.0) -> list[tuple[float, float]]:
    """Each moment of a run with the estimate made then, both in seconds."""
    estimator = Estimator(Work(run["log_bytes"], run["page_bytes"]))
    told = []
    for at, stage, name, done, total, unit, *more in run["samples"]:
        if stage > 7 or name in AFTER_ANALYSIS:
            estimator.work = replace(
                estimator.work,
                dirty_bytes=run["dirty_bytes"],
                redo_bytes=run["redo_bytes"],
                undo_changes=run["undo_changes"],
            )
        progress = {"stage": name, "done": done, "total": total, "unit": unit}
        if more:
            progress["unfinished"] = more[0]
        left = estimator.remaining_s(at * slower, stage, progress)
        if left is not None:
            told.append((at * slower, left))
    return told


@pytest.mark.parametrize(("run", "slower"), PLAYED, ids=[f"{run['name']} x {by}" for run, by in PLAYED])
@pytest.mark.parametrize("share", [0.10, 0.25, 0.50, 0.75])
def test_the_time_left_is_right_within_a_factor_of_two(
    run: dict[str, Any], slower: float, share: float
) -> None:
    seconds = run["seconds"] * slower
    at, left = next((at, left) for at, left in played(run, slower) if at >= share * seconds)
    assert 0.5 <= left / (seconds - at) <= 2.0


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run["seconds"] < SHORT_S], ids=lambda run: run["name"]
)
def test_a_recovery_that_is_over_in_no_time_is_never_said_to_take_a_second(run: dict[str, Any]) -> None:
    told = [left for _, left in played(run)]
    assert told
    assert max(told) < 1.0


def test_a_wait_for_the_medium_between_two_passes_says_nothing_of_their_speed() -> None:
    left = []
    for wait_s in (0.1, 0.4):
        estimator = Estimator(Work(400 * MB, 100 * MB))
        at = {"total": 400 * MB, "done": 400 * MB, "unit": "bytes", "stage": "log validation"}
        estimator.remaining_s(0.5, 6, at)
        estimator.remaining_s(
            0.5 + wait_s, 7, {"stage": "double-write", "done": 64, "total": 0, "unit": "pages"}
        )
        left.append(estimator.remaining_s(0.6 + wait_s, 7, {"stage": "redo", "done": 0, "total": 800}))
    assert left[0] is not None
    assert left[0] == pytest.approx(left[1])


def test_nothing_is_told_before_the_log_is_read() -> None:
    assert Estimator(Work(10**9, 10**8)).remaining_s(1.0, 3, {}) is None


def test_the_first_pass_tells_how_much_log_there_is_where_only_its_files_were_known() -> None:
    estimator, known = Estimator(Work(10**10, 10**8)), Estimator(Work(10**9, 10**8))
    begun = {"stage": "log validation", "done": 0, "total": 10**9, "unit": "bytes"}
    assert estimator.remaining_s(0.0, 6, begun) == known.remaining_s(0.0, 6, begun)


def reading(done: int, unfinished: int) -> dict[str, Any]:
    whole = {"stage": "log validation", "total": 100 * MB, "unit": "bytes"}
    return {**whole, "done": done * MB, "unfinished": unfinished}


def test_a_long_undo_is_foreseen_while_the_log_is_read() -> None:
    estimator = Estimator(Work(100 * MB, 100 * MB))
    # Short transactions, then one that has not ended when a third of it was read.
    for share in range(10):
        estimator.remaining_s(share / 50, 6, reading(share, 1000 * (share % 2)))
    short = estimator.work.undo_changes
    for share in range(10, 34):
        left = estimator.remaining_s(share / 50, 6, reading(share, 4000 * (share - 9)))
    assert short < 20_000
    assert 0.8 < estimator.work.undo_changes / (4000 * 91) < 1.25
    without = Estimator(Work(100 * MB, 100 * MB)).remaining_s(33 / 50, 6, reading(33, 0))
    assert left is not None
    assert without is not None
    assert left > without + 1.0


def test_work_that_ends_before_the_log_does_is_not_foreseen_as_undo() -> None:
    estimator = Estimator(Work(100 * MB, 100 * MB))
    for share, changes in ((10, 50_000), (20, 100_000), (30, 0), (40, 0)):
        estimator.remaining_s(share / 50, 6, reading(share, changes))
    assert estimator.work.undo_changes == 0


def test_a_recovery_of_nothing_takes_next_to_nothing() -> None:
    left = Estimator(Work(0, 0)).remaining_s(0.0, 6, {})
    assert left is not None
    assert left < 0.5


def report_of(seconds: float) -> dict[str, Any]:
    """A recovery of 800 MB of log, 100 MB of pages and 10,000 changes to undo; each pass took so long."""
    stages = [
        {"name": "Config Validation", "seconds": 0.01, "metrics": {"page_size": 8192}},
        {"name": "WAL Validation", "seconds": seconds, "metrics": {"bytes": 800 * MB}},
        {"name": "Consistency Validation", "seconds": seconds, "metrics": {"bytes": 100 * MB}},
        {"name": "Finalization", "seconds": seconds, "metrics": {}},
    ]
    redo = {"bytes": 800 * MB, "pages": 10_000, "seconds": seconds}
    undo = {"records": 10_000, "seconds": seconds}
    return {"recovered": True, "stages": stages, "redo": redo, "undo": undo}


def test_a_database_that_was_slow_to_recover_before_is_expected_to_be_slow_again() -> None:
    slow, quick = learned([report_of(5.0)]), learned([report_of(0.2)])
    assert set(slow) == set(USUAL_RATES)
    assert all(slow[name] > 2 * quick[name] for name in USUAL_RATES)
    work = Work(800 * MB, 100 * MB, 80 * MB, 800 * MB, 10_000)
    told = [Estimator(work, known).remaining_s(0.1, 6, {}) for known in (quick, None, slow)]
    assert told == sorted(told, key=lambda left: left or 0.0)
    assert (told[2] or 0.0) > 4 * (told[0] or 0.0)


def test_only_recoveries_that_say_how_long_they_took_are_learned_from() -> None:
    early = {**report_of(5.0), "on_demand": True}
    assert set(learned([early])) == {"log validation"}
    failed = {**report_of(5.0), "recovered": False}
    assert learned([failed, {"recovered": True}, {"recovered": True, "stages": [{}]}]) == {}


def test_a_part_of_a_pass_that_tells_nothing_is_where_the_pass_stood() -> None:
    estimator = Estimator(Work(10 * MB, 1000 * MB))
    half = estimator.remaining_s(1.0, 9, {"stage": "trees", "done": 500, "total": 1000, "unit": "pages"})
    indexes = estimator.remaining_s(1.0, 9, {"stage": "indexes", "done": 7, "total": 0, "unit": "rows"})
    assert half is not None
    assert indexes == half
