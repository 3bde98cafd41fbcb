"""The time left of a recovery, played from runs that were recorded.

`tests/data/recovery_runs.json` holds real recoveries, a sample each 0.1 s: most of redo; a large log of
which little is redone; a long undo; on one processor that another program wanted too. `holdout` was
recorded after the usual rates had been chosen.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.recovery.estimate import Estimator, Work

RUNS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "recovery_runs.json").read_text("utf-8")
)
# Which progress comes after analysis has told how much there is to do.
AFTER_ANALYSIS = ("redo", "undo")


def played(run: dict[str, Any], slower: float = 1.0) -> list[tuple[float, float]]:
    """Each moment of a run with the estimate made then, both in seconds."""
    estimator = Estimator(Work(run["log_bytes"], run["page_bytes"]))
    told = []
    for at, stage, name, done, total, unit in run["samples"]:
        if stage > 7 or name in AFTER_ANALYSIS:
            estimator.work = replace(
                estimator.work,
                dirty_bytes=run["dirty_bytes"],
                redo_bytes=run["redo_bytes"],
                undo_changes=run["undo_changes"],
            )
        progress = {"stage": name, "done": done, "total": total, "unit": unit}
        left = estimator.remaining_s(at * slower, stage, progress)
        if left is not None:
            told.append((at * slower, left))
    return told


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["name"])
@pytest.mark.parametrize("slower", [1.0, 2.0])
@pytest.mark.parametrize("share", [0.10, 0.25, 0.50, 0.75])
def test_the_time_left_is_right_within_a_factor_of_two(
    run: dict[str, Any], slower: float, share: float
) -> None:
    seconds = run["seconds"] * slower
    at, left = next((at, left) for at, left in played(run, slower) if at >= share * seconds)
    assert 0.5 <= left / (seconds - at) <= 2.0


def test_nothing_is_told_before_the_log_is_read() -> None:
    assert Estimator(Work(10**9, 10**8)).remaining_s(1.0, 3, {}) is None


def test_the_first_pass_tells_how_much_log_there_is_where_only_its_files_were_known() -> None:
    estimator, known = Estimator(Work(10**10, 10**8)), Estimator(Work(10**9, 10**8))
    begun = {"stage": "log validation", "done": 0, "total": 10**9, "unit": "bytes"}
    assert estimator.remaining_s(0.0, 6, begun) == known.remaining_s(0.0, 6, begun)


def test_a_recovery_of_nothing_takes_next_to_nothing() -> None:
    left = Estimator(Work(0, 0)).remaining_s(0.0, 6, {})
    assert left is not None
    assert left < 0.5
