"""The past on the page of backups: the slider, the card of a moment, restoring it, rescuing from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPointF, Qt

import engine
from engine.backups.history import RowCounts
from engine.backups.line import Bin, Commit, Stretch, TimeLine
from engine.errors import UniqueViolation
from gui.backups import BackupsPage
from gui.backups.axis import moments_before
from gui.backups.moments import Moments, StopKind
from gui.backups.point_dialog import PointDialog
from gui.backups.rescue_dialog import CHOOSE, DONE, PREVIEW, RescueDialog
from gui.backups.time_line import BackupTimeLine
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


def test_a_moment_is_restored_into_a_new_database(
    lived: MainWindow, tmp_path: Path, until: Until, watch: Any
) -> None:
    page = page_of(lived)
    page.time_line.go_to(kinds(page).index("commit"))
    with watch.watching():
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
    dialog.choose.all_rows.setChecked(True)
    until(lambda: dialog.choose.rows.rowCount() == 10)
    dialog.choose.all_rows.setChecked(False)
    until(lambda: dialog.choose.rows.rowCount() == 3)
    dialog.choose.row_view.selectRow(0)
    dialog.choose.take_rows.click()
    with watch.watching():
        dialog.go.click()
        until(lambda: dialog.step == PREVIEW and dialog.go.isEnabled())
    assert "1 row " in dialog.go.text()
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


def test_a_line_of_thousands_of_commits_never_blocks_the_interface(
    lived: MainWindow, qtbot: Any, until: Until, watch: Any
) -> None:
    work = {"threads": 4, "operations": 5000, "read_share": 0.0, "batch": 1, "tree": "load", "keys": 500}
    database_of(lived).load_task(work).run()
    page = page_of(lived)
    line = page.time_line
    with watch.watching():
        page.refresh()
        until(lambda: len(line.moments.stops) > 1000)
        assert line.moments.line is not None
        assert sum(bin_.commits for bin_ in line.moments.line.bins) > 5000
        line.go_to(kinds(page).index("commits"))
        place = line.current().bin
        # The commits around the slider are read one by one.
        until(lambda: line.moments.has_read(place))
        for _ in range(20):
            qtbot.keyClick(line, Qt.Key.Key_Right)
        for share in range(10):
            line._drag(40 + share * line.width() / 20)
            qtbot.wait(1)
    assert line.current().kind in (StopKind.COMMIT, StopKind.COMMITS, StopKind.BACKUP)


def test_the_page_without_a_backup_has_no_slider(window: MainWindow, tmp_path: Path, until: Until) -> None:
    window.shell.create_requested.emit(tmp_path / "empty.holdfast")
    until(lambda: window.opening.session is not None)
    window.show_page("backups")
    page = page_of(window)
    until(lambda: page._shown is not None)
    assert page._stack.currentIndex() == 0
    assert page._side.isHidden()


def made_line(*, is_damaged: bool = False) -> TimeLine:
    """Two stretches of log with a gap between them; a commit in each, and many in the last."""
    first = Stretch(0, 100, 1000.0, 2000.0, is_damaged)
    last = Stretch(500, 900, 5000.0, 8000.0)
    bins = (
        Bin(0, 0, 90, 1, 2000.0, 2000.0, {"t": 5}),
        Bin(1, 500, 600, 1, 6000.0, 6000.0, {"t": 1}, is_reachable=False),
        Bin(1, 600, 900, 3, 7000.0, 8000.0, {"t": 6}),
    )
    return TimeLine(9000.0, 900, (), (first, last), bins, rows=RowCounts({"t": 20}))


def test_gaps_are_hatched_and_told_and_what_they_hide_is_not_guessed(qtbot: Any, theme: Any) -> None:
    moments = Moments((), made_line(), 9000.0)
    assert [(gap.begin, gap.end, gap.is_damage) for gap in moments.gaps()] == [(2000.0, 5000.0, False)]
    assert Moments((), made_line(is_damaged=True), 9000.0).gaps()[0].is_damage
    assert [stop.kind for stop in moments.stops] == [StopKind.COMMIT, StopKind.COMMITS, StopKind.NOW]
    first, many, now = moments.stops
    assert moments.rows_at(first) is None, "the log behind it is not all there"
    assert moments.rows_at(many) == moments.rows_at(now) == {"t": 20}
    line = BackupTimeLine()
    qtbot.addWidget(line)
    line.resize(800, line.height())
    line._now = 9000.0
    line._renew(moments)
    line.show()
    assert "No log" in line.words_at(QPointF(line._x(3500.0), 100))
    assert line.grab().height() == line.height()
    qtbot.keyClick(line, Qt.Key.Key_Home)
    assert line.current() == first


def test_a_stop_of_many_commits_is_replaced_by_them() -> None:
    moments = Moments((), made_line(), 9000.0)
    commits = [Commit(lsn, lsn, 7000.0 + lsn, {"t": 2}, {}, True) for lsn in (700, 800, 900)]
    moments.refine(2, commits)
    inside = [stop for stop in moments.stops if stop.bin == 2]
    assert [stop.lsn for stop in inside] == [700, 800, 900]
    assert [moments.rows_at(stop) for stop in inside] == [{"t": 16}, {"t": 18}, {"t": 20}]
    # Of very many only the first are told: the end of them all stays.
    moments.refine(2, commits[:1])
    assert [stop.lsn for stop in moments.stops if stop.bin == 2] == [700, 900]


def test_moments_without_a_line_are_the_backups_alone() -> None:
    assert Moments().stops == ()
    assert Moments().nearest(5.0) is None
    assert Moments().gaps() == ()


@pytest.mark.parametrize("most", [3, 5])
def test_the_axis_names_round_moments_none_of_them_twice(most: int) -> None:
    for span in (1.0, 7.0, 60.0, 61.0, 96.0, 119.0, 200.0, 3599.0, 5000.0, 90_000.0, 1e6, 4e7, 1e10):
        named = moments_before(span, most)
        assert 1 < len(named) <= most, span
        assert named[0] == (0, "now")
        assert all(0 < at <= span for at, _words in named[1:])
        assert len({words for _at, words in named}) == len(named)
    assert moments_before(96.0, 5) == [(0, "now"), (30, "30 s ago"), (60, "60 s ago"), (90, "90 s ago")]
    assert moments_before(2 * 86400.0, 3)[1:] == [(86400, "1 day ago"), (172800, "2 days ago")]
