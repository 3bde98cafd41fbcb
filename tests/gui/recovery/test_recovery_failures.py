"""The guide through a recovery that fails: cause, what was taken back, the button that helps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import QUrl

from engine import errors
from engine.recovery.choices import ChoiceKind
from engine.recovery.manager import RecoveryManager
from gui.main_window import MainWindow
from gui.recovery.page import EVIDENCE, FAILED, RecoveryPage
from tests.gui.recovery.guide import Until, card, fail_in, guide, hashes, is_idle, shown


def test_a_failure_on_the_way_names_stages_cause_and_what_was_taken_back(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(crashed)
    guide(window, page, crashed, until)
    fail_in(monkeypatch, "Consistency Validation", errors.DiskFull(path="wal"))
    page.start()
    until(is_idle(page, FAILED))
    assert hashes(crashed) == before
    words = card(page).words
    assert words.code == -74
    assert "Transaction Recovery" in words.message
    assert "Consistency Validation" in words.message
    assert "not lost" in page.failure.banner.title()
    assert "Taken back: Transaction Recovery, Lock Acquisition" in page.failure.back_words.text()
    chain = page.failure.chain()
    assert ["-72" in chain[0], "DiskFull" in chain[1]] == [True, True]
    monkeypatch.undo()
    card(page).action_requested.emit("recover")
    until(lambda: shown(page) == EVIDENCE and page.work.plan is not None)
    page.start()
    until(lambda: window.opening.session is not None)


def test_a_control_file_without_a_valid_slot_leads_to_the_ways_out(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    (crashed / "control").write_bytes(b"\xff" * 8192)
    guide(window, page, crashed, until)
    assert card(page).words.code == -70
    assert card(page).words.action == "restore_backup"
    assert page.foot.ways_first in page.foot.shown()
    page.foot.ways_first.click()
    until(lambda: bool(page.ways.cards))
    assert page.ways.current().kind is ChoiceKind.SALVAGE  # type: ignore[union-attr]


def test_a_check_that_fails_after_recovery_says_that_data_may_be_lost_and_what_was_taken_back(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(crashed)
    guide(window, page, crashed, until)
    wrong = errors.RecoveryVerificationFailed(check_name="pages", details="page 3", critical=True)
    fail_in(monkeypatch, "Consistency Validation", wrong)
    page.start()
    until(is_idle(page, FAILED))
    assert card(page).words.code == -74
    assert "-83" in page.failure.chain()[0]
    # Recovering once more would end in the same way.
    assert card(page).words.action == "restore_backup"
    assert "may be lost" in page.failure.banner.title()
    assert page.foot.ways_first in page.foot.shown()
    assert hashes(crashed) == before
    page.foot.ways_first.click()
    until(lambda: bool(page.ways.cards))
    assert page.ways.current().kind is ChoiceKind.SALVAGE  # type: ignore[union-attr]


def test_a_wrong_setting_is_shown_and_its_default_taken(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    opened: list[QUrl] = []
    page.remedies.open_url = lambda url: bool(opened.append(url)) or True  # type: ignore[assignment]
    guide(window, page, crashed, until)
    (crashed / "reliability.toml").write_text('recovery_timeout = "soon"\n')
    page.start()
    until(is_idle(page, FAILED))
    assert card(page).words.code == -76
    card(page).action_requested.emit("settings")
    assert opened[0].toLocalFile().endswith("reliability.toml")
    assert "recovery_timeout" in page.foot.use_default.text()
    page.foot.use_default.click()
    until(lambda: shown(page) == EVIDENCE and page.work.plan is not None)
    page.start()
    until(lambda: window.opening.session is not None)


def test_a_locked_database_is_waited_for_until_its_holder_lets_go(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    guide(window, page, crashed, until)
    holder = RecoveryManager(crashed)
    holder.prepare()
    page.begin()
    until(lambda: page.work.trouble is not None)
    assert card(page).words.code == -73
    assert f"process {os.getpid()}" in card(page).words.message
    card(page).action_requested.emit("wait")
    until(lambda: page.remedies.is_waiting)
    holder.roll_back()
    until(lambda: page.work.plan is not None)
    assert not page.remedies.is_waiting


def test_a_path_that_may_not_be_used_and_a_full_disk_are_shown(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    opened: list[str] = []
    page.remedies.open_url = lambda url: bool(opened.append(url.toLocalFile())) or True  # type: ignore[assignment]
    guide(window, page, crashed, until)
    page.work.trouble = errors.RecoveryPermissionError(
        path=str(crashed / "control"), required_permissions="read"
    )
    page.remedies.do("show_path")
    page.remedies.do("free_space")
    assert opened == [str(crashed), str(crashed.parent)]
