"""Snapshots from the interface, over a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QPushButton

from gui.backups import BackupsPage
from gui.backups.snapshot_restore_dialog import SnapshotRestoreDialog
from gui.backups.snapshots_dialog import SnapshotsDialog
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]

SCHEMA = '{"name": "items", "columns": [{"name": "id", "type": "integer"}], "primary_key": ["id"]}'


@pytest.fixture
def page(window: MainWindow, tmp_path: Path, until: Until) -> BackupsPage:
    """The page of backups over a database with a table of ten rows."""
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    with database_of(window).transaction() as txn:
        txn.create_table(SCHEMA).insert_many([(number,) for number in range(10)])
    window.show_page("backups")
    made = window.pages["backups"]
    assert isinstance(made, BackupsPage)
    return made


def database_of(window: MainWindow) -> Any:
    session = window.opening.session
    assert session is not None
    return session.database


def dialog_of(page: BackupsPage) -> SnapshotsDialog:
    page.snapshots.show_all()
    return page.findChildren(SnapshotsDialog)[-1]


def add_rows(window: MainWindow) -> None:
    with database_of(window).transaction() as txn:
        txn.table("items").insert_many([(number,) for number in range(10, 17)])


def rows(window: MainWindow) -> int:
    found = database_of(window).tables.info("items").rows
    return int(found)


def test_without_one_the_dialog_says_what_a_snapshot_is_for(page: BackupsPage, until: Until) -> None:
    dialog = dialog_of(page)
    until(lambda: bool(dialog.pace.currentText()))
    assert dialog.stack.currentIndex() == 0
    assert not dialog.drop_button.isEnabled()
    assert "None yet" in page.snapshots.card.summary()
    dialog.close()


def test_one_is_taken_by_the_card_and_by_name(window: MainWindow, page: BackupsPage, until: Until) -> None:
    page.snapshots.take()
    until(lambda: page.snapshots.card.summary().startswith("1,"))
    dialog = dialog_of(page)
    dialog.name.setText("before the change")
    dialog.take()
    until(lambda: dialog.model.rowCount() == 2)
    assert next(info.name for info in database_of(window).snapshots.list()) == "before the change"
    assert dialog.name.text() == ""
    dialog.take_button.setFocus()
    dialog.name.setText("before the change")
    dialog.take()
    until(lambda: not dialog.errors.isHidden())
    dialog.close()


def test_an_open_snapshot_shows_its_rows_in_a_window_of_its_own(
    window: MainWindow, page: BackupsPage, until: Until
) -> None:
    database_of(window).snapshots.take("then")
    add_rows(window)
    dialog = dialog_of(page)
    until(lambda: dialog.view.current() is not None)
    dialog.open_chosen()
    until(lambda: len(page.snapshots.windows()) == 1)
    opened = page.snapshots.windows()[0]
    until(lambda: opened.workspace.model is not None and opened.workspace.model.rowCount() == 10)
    assert opened.workspace.edit_bar.isHidden()
    opened.close()
    until(lambda: not page.snapshots.windows())
    until(lambda: not database_of(window).snapshots.list()[0].is_open)
    dialog.close()


def test_a_snapshot_is_restored_beside_after_the_difference_was_shown(
    window: MainWindow, page: BackupsPage, tmp_path: Path, until: Until
) -> None:
    database_of(window).snapshots.take("then")
    add_rows(window)
    dialog = dialog_of(page)
    until(lambda: dialog.view.current() is not None)
    dialog.restore()
    restoring = dialog.findChildren(SnapshotRestoreDialog)[0]
    until(lambda: restoring.rows.rowCount() == 1)
    assert restoring.rows.index(0, 3).data() == "−7"
    restoring.place.setText(str(tmp_path / "then.holdfast"))
    restoring.start()
    until(lambda: "Restored" in restoring.banner.title())
    restoring.go.click()
    until(lambda: window.opening.session is not None and window.opening.session.name == "then")
    assert rows(window) == 10


def test_a_database_goes_back_in_place_and_is_opened_again(
    window: MainWindow, page: BackupsPage, until: Until
) -> None:
    database = database_of(window)
    database.snapshots.take("then")
    add_rows(window)
    dialog = dialog_of(page)
    until(lambda: dialog.view.current() is not None)
    dialog.restore()
    restoring = dialog.findChildren(SnapshotRestoreDialog)[0]
    restoring.in_place.setChecked(True)
    assert "bring it back" in restoring.go.text()
    until(lambda: restoring.rows.rowCount() == 1)
    restoring.start()
    until(lambda: window.opening.session is not None and database_of(window) is not database)
    assert rows(window) == 10
    assert len(database_of(window).snapshots.list()) == 2


def test_dropping_asks_first(window: MainWindow, page: BackupsPage, until: Until) -> None:
    database_of(window).snapshots.take("then")
    dialog = dialog_of(page)
    until(lambda: dialog.view.current() is not None)
    dialog.drop_button.click()
    assert not dialog.question.isHidden()
    assert len(database_of(window).snapshots.list()) == 1
    dialog.question.confirmed.emit()
    until(lambda: dialog.stack.currentIndex() == 0)
    assert database_of(window).snapshots.list() == ()
    dialog.close()


def test_schedule_and_rules_are_in_force_at_once(window: MainWindow, page: BackupsPage, until: Until) -> None:
    dialog = dialog_of(page)
    until(lambda: bool(dialog.pace.currentText()))
    dialog.enabled.click()
    until(lambda: bool(database_of(window).config.enable_snapshots))
    dialog.pace.setCurrentText("15 min")
    dialog.pace.activated.emit(dialog.pace.currentIndex())
    until(lambda: bool(database_of(window).config.snapshot_interval == 900.0))
    dialog.most.setValue(5)
    dialog.most.editingFinished.emit()
    until(lambda: bool(database_of(window).config.keep_snapshots == 5))
    dialog.close()


def test_a_snapshot_that_failed_is_told_on_strip_and_overview_with_a_button_that_leads_there(
    window: MainWindow, page: BackupsPage, until: Until
) -> None:
    database = database_of(window)
    keeper = database.snapshot_keeper
    folder = database.path / "snapshots"
    assert window.status_strip._snapshot.isHidden()
    folder.write_bytes(b"in the way")
    database.config = database.config.changed(enable_snapshots=True)
    keeper._opened -= 3600
    keeper.tick()
    until(lambda: window.status_strip._snapshot.text() == "Snapshot failed")
    window.show_page("overview")
    overview: Any = window.pages["overview"]

    def offered() -> list[QPushButton]:
        found = overview.health.findChildren(QPushButton)
        return [made for made in found if made.text() == "Show snapshots…" and made.isVisible()]

    until(lambda: bool(offered()))
    offered()[0].click()
    assert window.current_page_id() == "backups"
    (dialog,) = page.findChildren(SnapshotsDialog)
    dialog.close()
    folder.unlink()
    keeper._tried_at = 0.0
    keeper.tick()
    assert keeper.failure() is None
    until(window.status_strip._snapshot.isHidden)
