"""The strip below every page says what state the engine is in."""

from __future__ import annotations

from typing import Any

import pytest

from engine.types import BackupStanding, RecoveryStanding
from gui.widgets.status_strip import StatusStrip


def standing(stage: str, **figures: Any) -> RecoveryStanding:
    values: dict[str, Any] = {
        "pages": 1310,
        "pages_left": 0,
        "losers": 2,
        "losers_left": 0,
        "damaged": (),
        "log_bytes": 1 << 20,
        "applied": 5,
        "seconds": 1.5,
        "problems": None,
    }
    return RecoveryStanding(stage=stage, **{**values, **figures})


@pytest.mark.parametrize(
    ("recovery", "text"),
    [
        (standing("redo", pages_left=1204, losers_left=2), "Recovering: pages left: 1204"),
        (standing("undo", losers_left=1), "Recovering: transactions left: 1"),
        (standing("checkpoint"), "Recovered"),
        (standing("check"), "Recovered, being checked"),
        (standing("stuck", pages_left=1, damaged=((7, "torn"),)), "Recovery: pages that cannot be redone: 1"),
    ],
    ids=lambda value: value.stage if isinstance(value, RecoveryStanding) else "",
)
def test_what_is_left_of_a_recovery_is_said_until_it_is_through(qtbot, theme, recovery, text):
    strip = StatusStrip()
    qtbot.addWidget(strip)
    assert strip._recovering(recovery) == text


@pytest.mark.parametrize(
    ("troubles", "text"),
    [
        ({"archive_failed", "no_proved_backup"}, "Log waits for its archive"),
        ({"archive_gap"}, "Archive has a gap"),
        ({"backup_missed"}, "Backup missed"),
        ({"no_proved_backup"}, "No backup"),
    ],
)
def test_what_is_wrong_with_the_backups_comes_before_how_old_they_are(qtbot, theme, troubles, text):
    strip = StatusStrip()
    qtbot.addWidget(strip)
    strip.show_backups(BackupStanding("/backups", 0.0), troubles)
    assert strip._backup.text() == text


def test_snapshots_are_in_the_strip_only_where_something_is_wrong_with_them(qtbot, theme):
    strip = StatusStrip()
    qtbot.addWidget(strip)
    pages = []
    strip.page_requested.connect(pages.append)
    for troubles, text in (
        ({"snapshot_given_up", "snapshot_failed"}, "Snapshot given up"),
        ({"snapshot_missed"}, "Snapshot missed"),
    ):
        strip.show_snapshots(troubles)
        assert strip._snapshot.text() == text
        assert not strip._snapshot.isHidden()
    strip._snapshot.click()
    assert pages == ["backups"]
    strip.show_snapshots(set())
    assert strip._snapshot.isHidden()
