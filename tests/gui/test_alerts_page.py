"""The page of alerts over a real database, its count at the navigation, and the notice in the window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QTextBrowser

import engine
from engine.alerts.alert import Alert, AlertState, AlertType, Impact
from engine.backups.standing import Memory, write_memory
from engine.errors import ChecksumMismatch
from engine.integrity.findings import Checker
from engine.types import Severity
from gui.alerts import AlertsPage
from gui.alerts.runbook import RunbookDialog
from gui.alerts.words import (
    TONES,
    action_label,
    impact_words,
    picture,
    severity_word,
    state_words,
    type_words,
)
from gui.main_window import MainWindow
from gui.theme import Tone

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], object]], None]
DAY = 86400.0


@pytest.fixture
def unproved(tmp_path: Path) -> Path:
    """A database that nobody has backed up for a month."""
    path = tmp_path / "harbour.holdfast"
    engine.open(path).close()
    write_memory(path, Memory(since=time.time() - 30 * DAY))
    return path


def opened(window: MainWindow, path: Path, until: Until) -> AlertsPage:
    window.shell.open(path)
    until(lambda: window.opening.session is not None)
    page = window.pages["alerts"]
    assert isinstance(page, AlertsPage)
    window.show_page("alerts")
    return page


def work(window: MainWindow, page: AlertsPage, what: Callable[[Any], object]) -> None:
    """Have something done to the database, then looked at."""
    session = window.opening.session
    assert session is not None

    def do(database: Any) -> None:
        what(database)
        database.alerts.look()

    session.run(do, page, channel="test").failed(lambda error: pytest.fail(str(error)))


def spoil(database: Any) -> None:
    database.integrity.report_page(1, ChecksumMismatch.code, "made up", Checker.CHECK)


def settle(database: Any) -> None:
    for finding in database.integrity.findings():
        database.integrity.dismiss(finding.id, "it was made up")


def shown(page: AlertsPage, component: str) -> tuple[Alert, AlertState] | None:
    """The alert of a component as the list has it; this machine may lack other things too."""
    line = page.line_about(component)
    found: tuple[Alert, AlertState] | None = None if line is None else page.model.record(line)
    return found


def choose(page: AlertsPage, component: str) -> None:
    line = page.line_about(component)
    assert line is not None
    page.view.choose_line(line)


def test_a_missing_backup_is_told_when_the_database_is_opened(
    window: MainWindow, unproved: Path, until: Until
) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    choose(page, "backups")
    until(lambda: page.detail.act.text() == action_label("back_up"))
    assert page.detail.alert is not None
    assert "30 d" in page.detail.alert.summary
    until(lambda: not window.notice.isHidden())
    until(lambda: window.navigation._counts["alerts"].isVisible())
    assert "waiting" in window.navigation._buttons["alerts"].accessibleName()


def test_what_nobody_has_answered_is_told_again_when_the_database_is_opened_next(
    window: MainWindow, unproved: Path, until: Until
) -> None:
    with engine.open(unproved) as db:
        db.keeper.look()
        db.alerts.look()
    opened(window, unproved, until)
    until(lambda: not window.notice.isHidden())


def test_what_an_alert_recommends_is_done_by_its_button(
    window: MainWindow, unproved: Path, until: Until
) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    choose(page, "backups")
    asked: list[str] = []
    window.shell.action_requested.disconnect(window._do_for_error)
    window.shell.action_requested.connect(asked.append)
    page.detail.act.click()
    assert asked == ["back_up"]


def test_an_answer_ends_the_notice_and_the_count(window: MainWindow, unproved: Path, until: Until) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    number = shown(page, "backups")[0].id  # type: ignore[index]
    choose(page, "backups")
    page.detail.acknowledge.click()
    until(lambda: shown(page, "backups")[1] is AlertState.ACKNOWLEDGED)  # type: ignore[index]
    assert number not in {alert.id for alert in page._seen.unanswered}  # type: ignore[union-attr]
    assert "no backup" not in window.notice.words() or window.notice.isHidden()
    choose(page, "backups")
    assert not page.detail.acknowledge.isVisible()


def test_an_alert_is_silenced_and_the_silence_ended(window: MainWindow, unproved: Path, until: Until) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    choose(page, "backups")
    page.detail.menu.actions()[0].trigger()
    until(lambda: shown(page, "backups")[1] is AlertState.SILENCED)  # type: ignore[index]
    choose(page, "backups")
    until(page.detail.unsilence.isVisible)
    page.detail.unsilence.click()
    until(lambda: shown(page, "backups")[1] is AlertState.OPEN)  # type: ignore[index]
    page.detail.menu.actions()[-1].trigger()
    until(lambda: bool(page._seen.silences))  # type: ignore[union-attr]
    until(lambda: shown(page, "backups")[1] is AlertState.SILENCED)  # type: ignore[index]


def test_damage_is_noticed_on_any_page_until_it_is_over(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    path = tmp_path / "stock.holdfast"
    engine.open(path).close()
    page = opened(window, path, until)
    until(lambda: page._seen is not None)
    window.show_page("tables")
    work(window, page, spoil)
    until(lambda: not window.notice.isHidden() and "Damage was found" in window.notice.words())
    window.notice.show_button.click()
    assert window.current_page_id() == "alerts"
    until(lambda: shown(page, "data") is not None)
    alert, state = shown(page, "data")  # type: ignore[misc]
    assert (alert.severity, state) == (Severity.CRITICAL, AlertState.OPEN)
    work(window, page, settle)
    until(lambda: shown(page, "data") is None)
    assert "Damage" not in window.notice.words() or window.notice.isHidden()
    page._which.setCurrentIndex(1)
    until(lambda: shown(page, "data") is not None)


def test_the_action_for_damage_leads_to_where_it_is_repaired(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    path = tmp_path / "stock.holdfast"
    engine.open(path).close()
    page = opened(window, path, until)
    until(lambda: page._seen is not None)
    work(window, page, spoil)
    until(lambda: shown(page, "data") is not None)
    choose(page, "data")
    page.detail.act.click()
    assert window.current_page_id() == "integrity"


def test_actions_that_alerts_recommend_lead_to_their_pages(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    opened(window, tmp_path_with_database(tmp_path), until)
    for action, page_id in (("mirrors", "mirrors"), ("activity", "activity"), ("checkpoint", "log")):
        assert window.shell.can_do(action)
        window.shell.action_requested.emit(action)
        assert window.current_page_id() == page_id
        assert action_label(action)


def tmp_path_with_database(folder: Path) -> Path:
    path = folder / "stock.holdfast"
    engine.open(path).close()
    return path


def test_the_runbook_of_an_alert_can_be_read_beside_the_window(
    window: MainWindow, unproved: Path, until: Until
) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    choose(page, "backups")
    page.detail.runbook.click()
    dialog = page.findChild(RunbookDialog)
    assert dialog is not None
    assert not dialog.isModal()
    text = dialog.findChild(QTextBrowser)
    assert text is not None
    assert "Take one, to another disk" in text.toPlainText()
    dialog.close()


def test_a_closed_database_leaves_nothing_on_the_page(
    window: MainWindow, unproved: Path, until: Until
) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    window.close_database()
    until(lambda: window.opening.session is None)
    assert page.model.rowCount() == 0
    assert window.notice.isHidden()
    assert not window.navigation._counts["alerts"].isVisible()


def test_the_count_fits_into_the_narrow_navigation(window: MainWindow, unproved: Path, until: Until) -> None:
    page = opened(window, unproved, until)
    until(lambda: shown(page, "backups") is not None)
    window.resize(window.minimumSize())
    made, count = window.navigation._buttons["alerts"], window.navigation._counts["alerts"]
    until(lambda: "waiting" in made.toolTip() and not made.text())
    until(lambda: made.iconSize().width() + count.width() <= made.width())
    until(lambda: count.fontMetrics().horizontalAdvance(count.text()) <= count.contentsRect().width())


def test_everything_about_an_alert_has_words() -> None:
    for severity in Severity:
        assert severity_word(severity)
        assert picture(severity)
        assert isinstance(TONES[severity], Tone)
    assert all(type_words(kind) for kind in AlertType)
    assert all(impact_words(impact) for impact in Impact)
    alert = Alert(
        id=1,
        key="k",
        type=AlertType.DATA_CORRUPTION,
        severity=Severity.HIGH,
        component="data",
        impact=Impact.NONE,
        summary="It is damaged.",
        recommended_action="Repair it.",
        action="repair",
        runbook="",
        code=None,
        raised_at=0.0,
        last_seen_at=0.0,
        level=2,
    )
    assert {state_words(alert, state) for state in AlertState} == {
        "open, level 2",
        "acknowledged",
        "silenced",
        "cleared",
    }
