"""The window as a whole: actions, pages, what it remembers, errors as cards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

import engine
from engine.config import Config
from gui.about import AboutDialog
from gui.actions import CommandPalette, match
from gui.backups.restore_dialog import RestoreDialog
from gui.error_dialog import ErrorDialog
from gui.session import Preferences
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.step_dialog import StepDialog
from gui.theme import DARK, ThemeMode


def test_every_action_has_an_id_words_and_a_place_in_the_palette(window):
    actions = window.actions_registry.all()
    assert len({action.objectName() for action in actions}) == len(actions)
    assert all(action.text() and action.objectName() for action in actions)
    shortcuts = [key.toString() for action in actions for key in action.shortcuts()]
    assert len(set(shortcuts)) == len(shortcuts), "two actions have the same shortcut"
    without = [action.objectName() for action in actions if action.shortcut().isEmpty()]
    assert not without, "every action has a shortcut"
    menus = [menu for top in window.menuBar().actions() if (menu := top.menu()) is not None]
    in_menus = {action.objectName() for menu in menus for action in menu.actions()}
    assert {action.objectName() for action in actions} <= in_menus, "every action is in a menu"


def test_every_button_that_can_be_seen_says_what_it_does(window):
    for page in window.pages.values():
        for button in page.findChildren(QAbstractButton):
            if button.isVisibleTo(page) and not button.objectName().startswith("qt_"):
                assert button.text() or button.accessibleName() or button.toolTip(), (page, button.parent())


def test_no_page_is_wider_than_the_smallest_window(window, until, tmp_path):
    path = tmp_path / f"{'a database of a very long name ' * 3}.holdfast"
    with engine.open(path):
        pass
    window.resize(window.minimumSize())
    window.shell.open(path)
    until(lambda: window.opening.session is not None)
    schedule = window.pages["backups"].schedule
    schedule.show_config(replace(Config(), backup_schedule="interval", backup_interval=4.5 * 86400))
    for name, page in window.pages.items():
        window.show_page(name)
        until(page.isVisible)
        assert page.minimumSizeHint().width() <= page.parentWidget().width(), name


def test_a_narrow_window_has_icons_beside_its_pages_that_tell_their_words(window, until):
    navigation = window.navigation
    titles = {page.title for name, page in window.pages.items() if name != "welcome"}
    window.resize(1400, 800)
    until(lambda: {made.text() for made in navigation.findChildren(QPushButton)} == titles)
    wide = navigation.width()
    window.resize(window.minimumSize())
    until(lambda: {made.toolTip() for made in navigation.findChildren(QPushButton)} == titles)
    until(lambda: navigation.width() < wide / 2)
    for made in navigation.findChildren(QPushButton):
        assert not made.text()
        assert made.accessibleName() == made.toolTip()


def test_the_palette_does_what_is_chosen(qtbot, window):
    window.show_palette()
    palette = window.findChild(CommandPalette)
    search = palette.findChild(QLineEdit)
    qtbot.keyClicks(search, "theme dark")
    with qtbot.waitSignal(palette.chosen) as chosen:
        qtbot.keyClick(search, Qt.Key.Key_Return)
    assert chosen.args == ["theme.dark"]
    assert window.preferences.theme is ThemeMode.DARK


def test_letters_are_found_in_order():
    assert match("chk", "Checkpoint now") is not None
    assert match("khc", "Checkpoint now") is None


def test_choices_and_recent_databases_are_kept(tmp_path):
    first = Preferences(tmp_path / "c", tmp_path / "s")
    first.theme = ThemeMode.DARK
    first.remember(Path("/data/a.holdfast"))
    first.remember(Path("/data/b.holdfast"))
    first.remember(Path("/data/a.holdfast"))
    first.keep_window(b"", "log")
    second = Preferences(tmp_path / "c", tmp_path / "s")
    assert second.theme is ThemeMode.DARK
    assert second.recent == [Path("/data/a.holdfast"), Path("/data/b.holdfast")]
    assert second.last_page() == "log"


def test_opening_what_is_not_there_shows_a_card_and_leaves_the_welcome_page(qtbot, window, tmp_path, watch):
    with watch.watching():
        window.shell.open(tmp_path / "missing.holdfast")
        qtbot.waitUntil(lambda: window.findChild(ErrorDialog) is not None, timeout=10_000)
    card = window.findChild(ErrorDialog).card
    assert card.words.code < 0
    assert window.current_page_id() == "welcome"
    window.findChild(ErrorDialog).close()


def test_a_window_without_a_database_offers_only_what_needs_none(window):
    assert not window.actions_registry.get("log.checkpoint").isEnabled()
    assert window.actions_registry.get("database.open").isEnabled()


def test_a_change_of_theme_costs_what_is_seen_and_reaches_every_part(qtbot, window):
    frames = window._frames
    chrome = (window.navigation, window.menuBar(), window.status_strip)

    def is_dark(part):
        return DARK.window in part.styleSheet()

    window.actions_registry.get("theme.dark").trigger()
    assert not window.updatesEnabled(), "a window in two themes at once is not to be seen"
    qtbot.waitUntil(window.updatesEnabled)
    assert all(is_dark(part) for part in chrome)
    assert [name for name, frame in frames.items() if is_dark(frame)] == ["welcome"], "no page that is hidden"
    window.show_page("settings")
    assert is_dark(frames["settings"])
    assert not QApplication.instance().styleSheet(), "a sheet of the application is matched for every widget"


def test_what_takes_the_focus_has_a_name_and_the_tab_key_reaches_it(window):
    for page in window.pages.values():
        for widget in page.findChildren(QWidget):
            if not widget.focusPolicy() & Qt.FocusPolicy.TabFocus or not widget.isVisibleTo(page):
                continue
            if isinstance(widget, QAbstractButton):
                assert widget.text() or widget.accessibleName(), (page.page_id, widget)
            elif isinstance(widget, QLineEdit | QComboBox | QAbstractItemView | QPlainTextEdit):
                parent = widget.parentWidget()
                is_part = isinstance(parent, QComboBox | QAbstractSpinBox) or widget.window() is not window
                assert is_part or widget.accessibleName(), (page.page_id, widget)


def test_the_enter_key_does_what_a_dialog_is_for_and_never_its_opposite(qtbot, window):
    dialogs = (
        RestoreDialog(window.shell, Path("/nowhere"), Path("/nowhere.holdfast"), window),
        AboutDialog(window),
    )
    for dialog in dialogs:
        window.open_dialog(dialog)
        buttons = [b for b in dialog.findChildren(QPushButton) if b.isDefault()]
        assert [b.property("kind") for b in buttons] == ["primary"], dialog
        qtbot.keyClick(dialog, Qt.Key.Key_Escape)
        qtbot.waitUntil(lambda shown=dialog: not shiboken6.isValid(shown) or not shown.isVisible())


def test_a_guide_is_no_larger_than_the_window_it_belongs_to(qtbot, window):
    window.resize(window.minimumSize())
    guide = StepDialog("Repair", ("1 List", "2 Advise"), {0: 0}, ErrorSlot(), window)
    guide.lay_out([QWidget()], print, print)
    guide.resize_within(1060, 640)
    assert (guide.width(), guide.height()) == (window.width(), window.height())
    window.resize(1400, 900)
    guide.resize_within(1060, 640)
    assert (guide.width(), guide.height()) == (1060, 640)
    guide.close()


def test_the_enter_key_does_not_copy_the_command_of_a_guide_that_only_works(qtbot, window):
    guide = StepDialog("Repair", ("1 List", "2 Advise"), {0: 0}, ErrorSlot(), window)
    guide.lay_out([QWidget()], print, print)
    guide.go.hide()
    guide.back.hide()
    guide.open()
    qtbot.waitExposed(guide)
    qtbot.waitUntil(lambda: guide.focusWidget() is guide.close_button)
    guide.close()
