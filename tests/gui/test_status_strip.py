"""The strip below every page says what state the engine is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtWidgets import QWidget

from engine.types import BackupStanding, RecoveryStanding
from gui.theme import Tone
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


@pytest.fixture
def crowded(qtbot: Any, theme: Any) -> Iterator[StatusStrip]:
    """A strip with much to tell, of which three figures are only to be known, in ample room."""
    place = QWidget()
    qtbot.addWidget(place)
    strip = StatusStrip(place)
    for item in (*strip._items, strip._snapshot):
        item.show()
    strip._put(strip._state, "stop", "Changes stopped by damage", Tone.BAD)
    strip._put(strip._health, "health", "Health 40", Tone.BAD)
    strip._put(strip._log, "log", "Log 1,023 MiB", None)
    strip._put(strip._oldest, "clock", "No transaction", None)
    strip._put(strip._waiters, "lock", "0 waiting", None)
    strip._put(strip._backup, "backups", "Log waits for its archive", Tone.WARN)
    strip._put(strip._snapshot, "clock", "Snapshot given up", Tone.BAD)
    strip.show_jobs(3, 0.42)
    strip._told.setText("The mirror was recovered beside itself, and is whole")
    strip.resize(3000, 30)
    place.show()
    qtbot.waitExposed(place)
    yield strip
    place.hide()


def needed(strip: StatusStrip) -> int:
    """Pixels that all of it takes, but for what is told for a moment."""
    return sum(item.sizeHint().width() + 2 for item in (*strip._items, strip._snapshot, strip._jobs))


def test_what_somebody_has_to_see_is_told_whole_where_there_is_little_room(qtbot, crowded):
    strip = crowded
    strip.resize(needed(strip) - 20, 30)
    shown = (strip._state, strip._health, strip._backup, strip._snapshot, strip._jobs)
    qtbot.waitUntil(strip._log.isHidden)
    qtbot.waitUntil(lambda: all(item.width() >= item.sizeHint().width() for item in shown))
    assert not any(item.isHidden() for item in shown)


def test_a_figure_that_gave_way_comes_back_with_the_room(qtbot, crowded):
    strip = crowded
    strip.resize(needed(strip) - 200, 30)
    qtbot.waitUntil(lambda: strip._log.isHidden() and strip._waiters.isHidden())
    strip.resize(3000, 30)
    qtbot.waitUntil(lambda: not any(item.isHidden() for item in strip._items))


def test_who_waits_is_told_even_where_there_is_little_room(qtbot, crowded):
    strip = crowded
    strip._put(strip._waiters, "lock", "12 waiting", Tone.WARN)
    strip.resize(needed(strip) - 300, 30)
    qtbot.waitUntil(strip._log.isHidden)
    assert not strip._waiters.isHidden()
