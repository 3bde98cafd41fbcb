"""The figures of a recovery in words."""

from __future__ import annotations

from typing import Any

import pytest

from engine.recovery.report import RecoveryReport
from gui.recovery.words import metrics_text, outcome_text


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"files": 8, "bytes": 8 << 20}, "8 files · 8.00 MiB"),
        ({"page_size": 8192, "cache_bytes": 40 << 20}, "page size 8.00 KiB · cache 40.0 MiB"),
        ({"segments": 1, "gaps": 0, "redo_lsn": 2997323}, "1 segment · 0 gaps · redo LSN 2,997,323"),
        ({"pages_restored": 1, "records": 1994}, "1 page restored · 1,994 records"),
        ({"bytes_written": 1 << 20}, "written 1.00 MiB"),
        (
            {"disk": {"required": 1 << 20, "available": 1 << 30}},
            "disk: 1.00 MiB of 1.00 GiB",
        ),
    ],
)
def test_the_figures_of_a_stage_are_read_as_they_are_said(metrics: dict[str, Any], words: str) -> None:
    assert metrics_text(metrics) == words


@pytest.mark.parametrize(
    ("applied", "undone", "words"),
    [
        (0, 0, "Nothing had to be applied again or undone; it took 570 ms."),
        (1, 0, "One change was applied again, in 570 ms."),
        (0, 1, "One unfinished transaction was undone, in 570 ms."),
        (1149, 2, "1,149 changes were applied again, 2 unfinished transactions were undone, in 570 ms."),
    ],
)
def test_what_a_recovery_has_done_is_said_as_people_say_it(applied: int, undone: int, words: str) -> None:
    report = RecoveryReport((), (), seconds=0.57, redo={"applied": applied}, undo={"transactions": undone})
    assert outcome_text(report) == words
