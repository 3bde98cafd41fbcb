"""The past on the page of backups: the slider, the card of a moment, restoring it, rescuing from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPointF, Qt

import engine
from engine.errors import UniqueViolation
from gui.backups import BackupsPage
from gui.backups.moments import Moments, StopKind
from gui.backups.point_dialog import PointDialog
from gui.backups.rescue_dialog import CHOOSE, DONE, PREVIEW, RescueDialog
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]
SCHEMA = {
    "name": "people",
    "columns": [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}],
    "primary_key": ["id"],
    "indexes": [{"name": "by_name", "columns": ["name"], "unique": True}],
}


def database_of(window: MainWindow) -> Any:
    session = window.opening.session
    assert session is not None
    return session.database


def page_of(window: MainWindow) -> BackupsPage:
    page = window.pages["backups"]
    assert isinstance(page, BackupsPage)
    return page


def kinds(page: BackupsPage) -> list[str]:
    return [str(stop.kind) for stop in page.time_line.moments.stops]


@pytest.fixture
def lived(window: MainWindow, tmp_path: Path, until: Until) -> MainWindow:
    """Ten people in a backup; then three commits: one is gone, one is renamed, one is new."""
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    database = database_of(window)
    with database.transaction() as txn:
        txn.create_table(json.dumps(SCHEMA)).insert_many([(i, f"name {i}") for i in range(10)])
    database.backups.full_task(database.keeper.folder).run()
    with database.transaction() as txn:
        txn.table("people").delete(3)
    with database.transaction() as txn:
        txn.table("people").update(5, {"name": "renamed"})
    with database.transaction() as txn:
        txn.table("people").insert((20, "new"))
    window.show_page("backups")
    page = page_of(window)
    until(lambda: kinds(page) == ["backup", "commit", "commit", "commit", "now"])
    return window


def test_arrow_keys_snap_from_commit_to_commit_and_tell_the_rows_there_were(
    lived: MainWindow, qtbot: Any, until: Until
) -> None:
    page = page_of(lived)
    line, card = page.time_line, page.past.card
    qtbot.keyClick(line, Qt.Key.Key_End)
    assert page._side.currentWidget() is card
    assert not card.restore.isEnabled(), "now is no moment to go back to"
    qtbot.keyClick(line, Qt.Key.Key_Left)
    until(lambda: bool(line.current() and line.current().touched))
    assert card.rows.record(0) == ("people", 10, 10)
    qtbot.keyClick(line, Qt.Key.Key_Left)
    qtbot.keyClick(line, Qt.Key.Key_Left)
    assert card.rows.record(0) == ("people", 9, 10)
    assert "−1" in card._what.text() or line.current().txn == 0
    assert card.restore.isEnabled()
    qtbot.keyClick(line, Qt.Key.Key_Home)
    assert line.current().kind is StopKind.BACKUP
    assert page._side.currentWidget() is page.detail
    qtbot.keyClick(line, Qt.Key.Key_Right, Qt.KeyboardModifier.ControlModifier)
    assert line.current().kind is StopKind.NOW


def test_a_drag_snaps_to_the_nearest_moment_and_a_wheel_looks_closer(lived: MainWindow, qtbot: Any) -> None:
    line = page_of(lived).time_line
    stop = line.moments.stops[2]
    line._zoom(1000, stop.at)
    begin, end = line._span()
    assert end - begin < 10
    x = round(line._x(stop.at))
    qtbot.mousePress(line, Qt.MouseButton.LeftButton, pos=QPointF(x, 100).toPoint())
    current = line.current()
    assert current is not None
    assert abs(line._x(current.at) - x) <= 1
    assert line.words_at(QPointF(x, 100))
    qtbot.keyClick(line, Qt.Key.Key_0)
    assert line._view is None


def test_a_moment_gets_a_name_and_loses_it(lived: MainWindow, qtbot: Any, until: Until) -> None:
    page = page_of(lived)
    card = page.past.card
    page.past.mark_now()
    assert page.time_line.current().kind is StopKind.NOW
    card.name.setText("before the move")
    qtbot.keyClick(card.name, Qt.Key.Key_Return)
    until(lambda: "named" in kinds(page))
    assert [point.name for point in database_of(lived).points.all()] == ["before the move"]
    page.time_line.go_to(kinds(page).index("named"))
    assert card._what.text() == "before the move"
    # A moment of the past gets one too.
    page.time_line.go_to(kinds(page).index("commit"))
    card.named.emit("after the first commit")
    until(lambda: kinds(page).count("named") == 2)
    page.time_line.go_to(kinds(page).index("named"))
    card._forget.click()
    until(lambda: kinds(page).count("named") == 1)


def test_a_moment_is_restored_into_a_new_database(lived: MainWindow, tmp_path: Path, until: Until) -> None:
    page = page_of(lived)
    page.time_line.go_to(kinds(page).index("commit"))
    page.past.restore()
    until(lambda: bool(page.findChildren(PointDialog)))
    (dialog,) = page.findChildren(PointDialog)
    until(dialog.go.isEnabled)
    assert "--to-lsn" in dialog.command.text()
    assert dialog.reached is not None
    assert dialog.reached.commits == 1
    target = tmp_path / "then.holdfast"
    dialog.place.setText(str(target))
    until(dialog.go.isEnabled)
    dialog.start()
    until(lambda: "Restored" in dialog.banner.title())
    dialog.accept()
    with engine.open(target) as restored:
        assert restored.tables.info("people").rows == 9


def guide(page: BackupsPage, until: Until) -> RescueDialog:
    """The guide, at the backup's end, with what differs."""
    page.time_line.go_to(kinds(page).index("backup"))
    page.past.rescue()
    until(lambda: bool(page.findChildren(RescueDialog)))
    dialog: RescueDialog = page.findChildren(RescueDialog)[0]
    until(lambda: dialog.step == CHOOSE and dialog.choose.rows.rowCount() == 3)
    return dialog


def people(window: MainWindow) -> list[Any]:
    with database_of(window).transaction(read_only=True) as txn:
        return list(txn.table("people").rows())


def test_rows_are_chosen_previewed_and_rescued_in_one_transaction(
    lived: MainWindow, until: Until, watch: Any
) -> None:
    page = page_of(lived)
    with watch.watching():
        dialog = guide(page, until)
    kinds_found = [dialog.choose.rows.record(line).kind for line in range(3)]  # type: ignore[union-attr]
    assert kinds_found == ["removed", "changed", "added"]
    dialog.choose.row_view.selectRow(0)
    dialog.choose.take_rows.click()
    with watch.watching():
        dialog.go.click()
        until(lambda: dialog.step == PREVIEW and dialog.go.isEnabled())
    assert "1 rows" in dialog.go.text()
    dialog.go.click()
    until(lambda: dialog.step == DONE)
    assert (3, "name 3") in people(lived)
    assert (5, "renamed") in people(lived)
    dialog.accept()
    # The moment before it has a name, and the scratch folder goes.
    until(lambda: "named" in kinds(page))
    until(lambda: dialog_is_gone(page))


def dialog_is_gone(page: BackupsPage) -> bool:
    return not page.findChildren(RescueDialog)


def test_a_whole_table_becomes_what_it_was(lived: MainWindow, until: Until) -> None:
    dialog = guide(page_of(lived), until)
    dialog.choose.take_table.click()
    dialog.go.click()
    until(lambda: dialog.step == PREVIEW)
    dialog.preview.ways.setCurrentIndex(2)
    until(lambda: dialog.go.isEnabled() and sum(table.removed for table in dialog._counts) == 1)
    assert "exact" in dialog.command.text()
    dialog.go.click()
    until(lambda: dialog.step == DONE)
    dialog.accept()
    assert people(lived) == [(i, f"name {i}") for i in range(10)]


def test_a_conflict_is_a_card_and_the_choice_stands(lived: MainWindow, until: Until) -> None:
    with database_of(lived).transaction() as txn:
        txn.table("people").update(20, {"name": "name 3"})
    before = people(lived)
    dialog = guide(page_of(lived), until)
    dialog.choose.take_table.click()
    dialog.go.click()
    until(lambda: dialog.step == PREVIEW and dialog.go.isEnabled())
    dialog.go.click()
    until(lambda: not dialog.errors.isHidden())
    card: Any = dialog.errors._card
    assert card.words.code == UniqueViolation.code
    assert dialog.step == PREVIEW
    assert people(lived) == before
    dialog.reject()


def test_closing_the_guide_while_it_looks_leaves_nothing(lived: MainWindow, until: Until) -> None:
    page = page_of(lived)
    page.time_line.go_to(kinds(page).index("backup"))
    page.past.rescue()
    until(lambda: bool(page.findChildren(RescueDialog)))
    dialog = page.findChildren(RescueDialog)[0]
    held = dialog._held
    dialog.reject()
    until(lambda: all(job.is_over for job in lived.jobs.all()))
    assert held.past is None


def test_the_page_without_a_backup_has_no_slider(window: MainWindow, tmp_path: Path, until: Until) -> None:
    window.shell.create_requested.emit(tmp_path / "empty.holdfast")
    until(lambda: window.opening.session is not None)
    window.show_page("backups")
    page = page_of(window)
    until(lambda: page._shown is not None)
    assert page._stack.currentIndex() == 0
    assert page._side.isHidden()


def test_moments_without_a_line_are_the_backups_alone() -> None:
    assert Moments().stops == ()
    assert Moments().nearest(5.0) is None
    assert Moments().gaps() == ()
