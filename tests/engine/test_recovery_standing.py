"""What is said of a recovery that goes on behind an open database."""

from __future__ import annotations

from typing import Any

import pytest

from engine.recovery.standing import noted_standing, share_of_step, standing_json, standing_words
from engine.types import RecoveryStanding


def standing(**values: Any) -> RecoveryStanding:
    told: dict[str, Any] = {
        "stage": "redo",
        "pages": 20_000,
        "pages_left": 0,
        "losers": 3,
        "losers_left": 0,
        "damaged": (),
        "log_bytes": 1 << 30,
        "applied": 9,
        "seconds": 1.0,
        "problems": None,
        "segments": 16,
        "segments_validated": 16,
        **values,
    }
    return RecoveryStanding(**told)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"pages_left": 7_655, "losers_left": 3, "segments_validated": 14},
            (
                "12,345 of 20,000 pages recovered",
                "0 of 3 unfinished transactions rolled back",
                "14 of 16 segments of the log validated",
                "consistency is checked afterwards",
            ),
        ),
        ({"stage": "undo", "losers_left": 1}, ("all 20,000 pages recovered", "2 of 3 unfinished")),
        ({"stage": "log", "segments_validated": 1}, ("1 of 16 segments of the log validated",)),
        (
            {"stage": "check", "checking": "trees", "check_done": 40, "check_total": 80},
            ("all 16 segments of the log validated", "consistency is being checked, 50% of the trees"),
        ),
        ({"stage": "check", "checking": "indexes"}, ("consistency is being checked",)),
        ({"stage": "stuck", "pages_left": 1, "damaged": ((7, "torn"),)}, ("1 page cannot be redone",)),
        ({"stage": "done", "problems": 0}, ("consistency checked, nothing is wrong",)),
        ({"stage": "done", "problems": 1}, ("consistency checked, 1 problem found",)),
        ({"pages": 0, "losers": 0}, ("no page had to be recovered",)),
    ],
)
def test_it_says_what_is_done_and_what_is_left(values: dict[str, Any], parts: tuple[str, ...]) -> None:
    words = standing_words(standing(**values))
    for part in parts:
        assert part in words


def test_the_share_is_that_of_the_step_which_goes_on() -> None:
    assert share_of_step(standing(pages_left=5_000)) == 0.75
    assert share_of_step(standing(stage="undo", losers_left=3)) == 0.0
    assert share_of_step(standing(stage="check", check_done=1, check_total=4)) == 0.25
    assert share_of_step(standing(stage="check")) is None
    assert share_of_step(standing(stage="done", problems=0)) == 1.0


def test_what_a_state_does_not_tell_is_not_made_up() -> None:
    noted = {"at": 5.0, "standing": standing_json(standing(pages_left=1))}
    assert noted_standing(noted) == {**noted["standing"], "at": 5.0}  # type: ignore[dict-item]
    for state in (None, {}, {"standing": 7}, {"standing": {}}, {"standing": {"words": 7}}):
        assert noted_standing(state) is None
