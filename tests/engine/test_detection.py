"""The five signs that a database needs recovery."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.recovery import detection
from engine.types import DatabaseState

CLEAN: dict[str, Any] = {
    "exists": True,
    "page_size": 8192,
    "checkpoint_lsn": 900,
    "last_lsn": 1000,
    "doublewrite_pages": 0,
    "clean_shutdown": True,
    "recovery_needed": False,
    "recovery_state": None,
    "holder": None,
}


def names(facts: dict[str, Any]) -> list[str]:
    return [indicator.name for indicator in detection.indicators(facts)]


def test_a_cleanly_closed_database_shows_no_sign() -> None:
    assert names(CLEAN) == []
    assert detection.state(CLEAN) is DatabaseState.CLEAN


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"recovery_needed": True}, "recovery_marker"),
        ({"clean_shutdown": False}, "unclean_shutdown"),
        ({"clean_shutdown": False, "doublewrite_pages": 3}, "doublewrite"),
        (
            {"recovery_state": json.dumps({"status": "running", "stage": "WAL Discovery"})},
            "stale_recovery_lock",
        ),
        ({"recovery_state": "{half writ"}, "stale_recovery_lock"),
        ({"clean_shutdown": False}, "unfinished_log"),
    ],
)
def test_each_sign_is_shown_by_its_name(change: dict[str, Any], sign: str) -> None:
    facts = CLEAN | change
    assert sign in names(facts)
    assert detection.state(facts) is DatabaseState.NEEDS_RECOVERY


def test_the_report_of_a_completed_recovery_is_no_sign() -> None:
    assert names(CLEAN | {"recovery_state": json.dumps({"status": "completed"})}) == []


def test_a_crashed_recovery_says_in_which_stage() -> None:
    facts = CLEAN | {"recovery_state": json.dumps({"status": "running", "stage": "WAL Discovery"})}
    (indicator,) = detection.indicators(facts)
    assert "WAL Discovery" in indicator.detail


def test_a_database_that_someone_has_open_is_not_said_to_need_recovery() -> None:
    holder = {"pid": 42, "host": "desk", "since": 0.0, "alive": True}
    facts = CLEAN | {"clean_shutdown": False, "holder": holder}
    assert detection.state(facts) is DatabaseState.OPEN_ELSEWHERE
    assert detection.holder_text(facts) == "process 42 on desk"


def test_the_lock_file_of_a_dead_process_holds_nothing() -> None:
    facts = CLEAN | {"holder": {"pid": 42, "host": "desk", "since": 0.0, "alive": False}}
    assert detection.state(facts) is DatabaseState.CLEAN
    assert detection.holder_text(facts) is None


def test_a_control_file_that_cannot_be_read_means_damage() -> None:
    assert detection.state(CLEAN | {"page_size": 0}) is DatabaseState.DAMAGED
