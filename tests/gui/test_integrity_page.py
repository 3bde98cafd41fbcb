"""The page of integrity, over databases that were really damaged."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt

import engine
from engine.integrity.findings import Checker, Finding, Priority
from engine.integrity.page_map import PageMap, PageState
from gui.integrity import IntegrityPage
from gui.integrity.map import PageMapView
from gui.integrity.page import CLEAN, LISTED, UNCHECKED
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]
PAGE = 8192
SPOILED = 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed database of one tree whose log does not reach back."""
    made = tmp_path / "harbour.holdfast"
    with engine.open(made, config=engine.config.Config().changed(segment_size="1 MiB")) as db:
        with db.transaction() as txn:
            tree = txn.tree("stock")
            for n in range(3000):
                tree[b"%05d" % n] = b"x" * 100
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
    return made


def spoil(path: Path, page: int = SPOILED) -> None:
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")


def shown(qtbot: Any, window: MainWindow, path: Path) -> IntegrityPage:
    """The page in view, over the open database."""
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(path)
    page = window.pages["integrity"]
    assert isinstance(page, IntegrityPage)
    window.show_page("integrity")
    return page


def test_a_sound_database_is_said_to_be_sound_with_the_date_of_the_check(
    qtbot: Any, window: MainWindow, until: Until, path: Path, watch: Any
) -> None:
    page = shown(qtbot, window, path)
    until(lambda: page.map_card.has_map)
    assert page._stack.currentIndex() == UNCHECKED
    assert page._when.value() == "never"
    qtbot.wait(50)
    with watch.watching():
        page.check()
        until(lambda: page._stack.currentIndex() == CLEAN)
    assert page._seen is not None
    assert page._seen.check is not None
    assert page._when.value() != "never"


def test_damage_is_listed_with_its_detail_and_marked_on_the_map(
    qtbot: Any, window: MainWindow, until: Until, path: Path, watch: Any
) -> None:
    spoil(path)
    page = shown(qtbot, window, path)
    qtbot.wait(50)
    with watch.watching():
        page.check()
        until(lambda: page._stack.currentIndex() == LISTED)
        until(lambda: page.map_card.has_map and not page.map_card.is_looking)
    assert page.model.rowCount() == 1
    assert page.detail.finding is not None
    assert (page.detail.finding.page, page.detail.finding.tree) == (SPOILED, "stock")
    view = page.map_card.view
    assert view.state_at(SPOILED) is PageState.DAMAGED
    keys, rows = page.detail._facts.lines["keys"], page.detail._facts.lines["rows"]
    until(lambda: keys.text().startswith("stock: after "))
    assert rows.text().startswith("about ")
    page.detail.extent.click()
    until(lambda: rows.text().startswith("up to "))
    assert keys.text().startswith("stock: after ")


def test_a_finding_is_still_there_when_the_database_is_opened_again(
    qtbot: Any, window: MainWindow, until: Until, path: Path
) -> None:
    spoil(path)
    with engine.open(path) as db:
        db.check()
    page = shown(qtbot, window, path)
    until(lambda: page.model.rowCount() == 1)
    assert page._open.value() == "1"


def test_a_finding_closed_by_hand_moves_to_the_closed_ones(
    qtbot: Any, window: MainWindow, until: Until, path: Path
) -> None:
    spoil(path)
    with engine.open(path) as db:
        db.check()
    page = shown(qtbot, window, path)
    until(lambda: page.model.rowCount() == 1)
    page.detail._question()
    page.detail._confirm.confirmed.emit()
    until(lambda: page._stack.currentIndex() == CLEAN)
    # A check that found damage is never called a good one.
    assert page._clean._title.text() == "Nothing is open"
    page._which.setCurrentIndex(1)
    assert page.model.rowCount() == 1
    assert page.detail.extent.isHidden()


def test_a_page_that_a_read_sets_apart_appears_by_itself(
    qtbot: Any, window: MainWindow, until: Until, path: Path
) -> None:
    spoil(path)
    page = shown(qtbot, window, path)
    assert window.opening.session is not None

    def read(database: Any) -> None:
        with database.transaction() as txn, pytest.raises(engine.errors.ChecksumMismatch):
            list(txn.tree("stock").items())

    window.opening.session.run(read, channel="reader")
    until(lambda: page.model.rowCount() == 1)
    until(lambda: page.detail._facts.lines["keys"].text().startswith("stock: after "))
    assert page.detail.finding is not None
    assert page.detail.finding.tree == "stock"
    assert page.detail._facts.lines["rows"].text().startswith("about ")


def test_the_background_check_finds_damage_that_nobody_reads_and_shows_it(
    qtbot: Any, window: MainWindow, until: Until, path: Path, watch: Any
) -> None:
    spoil(path)
    page = shown(qtbot, window, path)
    qtbot.wait(50)
    with watch.watching():
        page.scrub.begin()
        until(lambda: page.model.rowCount() == 1)
        until(lambda: page.scrub.state == "waiting" and "covered by" in page.scrub.toolTip())
    assert page.detail.finding is not None
    assert page.detail.finding.page == SPOILED


def test_the_map_shows_a_page_as_repaired_once_it_is(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path
) -> None:
    path = tmp_path / "reached.holdfast"
    with engine.open(path) as db, db.transaction() as txn:
        tree = txn.tree("stock")
        for n in range(3000):
            tree[b"%05d" % n] = b"x" * 100
    spoil(path)
    page = shown(qtbot, window, path)
    view = page.map_card.view
    until(lambda: page.map_card.has_map and not page.map_card.is_looking)
    assert view.state_at(SPOILED) is PageState.DAMAGED
    page.scrub.begin()
    until(lambda: view.state_at(SPOILED) is PageState.REPAIRED)


def test_the_background_check_is_paused_and_goes_on(
    qtbot: Any, window: MainWindow, until: Until, path: Path
) -> None:
    page = shown(qtbot, window, path)
    page.scrub.toggle()
    until(lambda: page.scrub.state == "paused")
    page.scrub.toggle()
    until(lambda: page.scrub.state not in ("paused", ""))


def a_map(pages: int, marked: dict[int, PageState]) -> PageMap:
    states = bytearray([PageState.TREE] * pages)
    for number, state in marked.items():
        states[number] = state
    return PageMap(1.0, pages, 1, bytes(states), array("I", [0] * pages), marked)


@pytest.fixture
def view(qtbot: Any, theme: Any) -> PageMapView:
    made = PageMapView()
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_a_cell_of_many_pages_shows_the_gravest_of_them(view: PageMapView) -> None:
    view.show_map(a_map(100_000, {77_777: PageState.DAMAGED}))
    assert view.cells() < 5000
    damaged = [cell for cell in range(view.cells()) if view.state_at(cell) is PageState.DAMAGED]
    assert len(damaged) == 1
    first, last = view.pages_in(damaged[0])
    assert first <= 77_777 < last
    assert "1 damaged" in view.words_for(damaged[0])


def test_the_keyboard_walks_the_map_and_finds_the_damage(qtbot: Any, view: PageMapView) -> None:
    view.show_map(a_map(100, {40: PageState.DAMAGED, 70: PageState.SET_APART}))
    said: list[str] = []
    chosen: list[int] = []
    view.pointed_at.connect(said.append)
    view.page_chosen.connect(chosen.append)
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Home)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert said[-1].startswith("Page 1:")
    qtbot.keyClick(view, Qt.Key.Key_N)
    assert said[-1] == "Page 40: damaged"
    assert view.accessibleDescription() == said[-1]
    qtbot.keyClick(view, Qt.Key.Key_N)
    assert said[-1] == "Page 70: set apart"
    qtbot.keyClick(view, Qt.Key.Key_Return)
    assert chosen == [70]


def test_a_large_map_is_painted_without_holding_up_the_interface(
    qtbot: Any, view: PageMapView, watch: Any
) -> None:
    big = a_map(262_144, {n * 100: PageState.DAMAGED for n in range(100)})
    qtbot.wait(50)
    with watch.watching():
        view.show_map(big)
        view.resize(1400, 900)
        qtbot.wait(200)


@pytest.mark.parametrize("tree", ["beacons", "x" * 120, "a table of a very long name " * 5], ids=len)
def test_a_finding_of_any_name_fits_into_the_smallest_window(
    qtbot: Any, window: MainWindow, until: Until, path: Path, tree: str
) -> None:
    window.resize(window.minimumSize())
    page = shown(qtbot, window, path)
    until(lambda: page._seen is not None)
    assert page._seen is not None
    summary = f"the checksum of {'y' * 150} does not hold"
    found = Finding(1, Priority.P0, -21, 1124, tree, summary, Checker.CHECK, 1.0, 9.0, rows=10_000_000)
    page._show(replace(page._seen, findings=(found,)))
    page.detail._tell("keys", "z" * 200)
    page.detail._question()
    until(lambda: page.detail.isVisible() and page.detail._confirm.isVisible())
    assert page.minimumSizeHint().width() <= page.parentWidget().width()
