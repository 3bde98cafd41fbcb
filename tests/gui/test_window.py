"""The window as a whole: actions, pages, what it remembers, errors as cards."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QLineEdit

from gui.actions import CommandPalette, match
from gui.error_dialog import ErrorDialog
from gui.session import Preferences
from gui.theme import DARK, ThemeMode


def test_every_action_has_an_id_words_and_a_place_in_the_palette(window):
    actions = window.actions_registry.all()
    assert len({action.objectName() for action in actions}) == len(actions)
    assert all(action.text() and action.objectName() for action in actions)
    shortcuts = [key.toString() for action in actions for key in action.shortcuts()]
    assert len(set(shortcuts)) == len(shortcuts), "two actions have the same shortcut"


def test_every_button_that_can_be_seen_says_what_it_does(window):
    for page in window.pages.values():
        for button in page.findChildren(QAbstractButton):
            if button.isVisibleTo(page) and not button.objectName().startswith("qt_"):
                assert button.text() or button.accessibleName() or button.toolTip(), (page, button.parent())


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


def test_a_change_of_theme_does_not_block_and_reaches_every_part(qtbot, window, watch):
    with watch.watching():
        for mode in (ThemeMode.DARK, ThemeMode.LIGHT, ThemeMode.DARK):
            window.actions_registry.get(f"theme.{mode}").trigger()
            qtbot.waitUntil(window.shell.theme.is_settled, timeout=10_000)
            qtbot.wait(50)
    dressed = [*window._frames.values(), window.navigation, window.menuBar(), window.status_strip]
    assert all(DARK.window in part.styleSheet() for part in dressed)
    assert not QApplication.instance().styleSheet(), "a sheet of the application is matched for every widget"
