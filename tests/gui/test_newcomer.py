"""What somebody meets who opens the wrong thing, or a database that something has happened to."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from blake3 import blake3
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton

import engine
from gui.tables.import_dialog import ImportDialog
from gui.welcome.sample import build_sample
from gui.welcome.start import StartTile
from gui.widgets import ErrorCard

pytest.importorskip("engine._kernel")

PAGE = 8192
SLOTS = (0, 4096)


@pytest.fixture
def database(tmp_path):
    """A closed database of some hundred pages."""
    path = tmp_path / "harbour.holdfast"
    with engine.open(path) as database, database.transaction() as txn:
        tree = txn.tree("ships")
        for number in range(20_000):
            tree[f"{number:06}".encode()] = b"x" * 100
    return path


def cards():
    return [c for top in QApplication.topLevelWidgets() for c in top.findChildren(ErrorCard) if c.isVisible()]


def card_after_opening(until, window, path):
    """The card that comes of opening `path`; there is one, and it can be acted on."""
    window.shell.open(Path(path))
    until(lambda: bool(cards()))
    card = cards()[0]
    assert window.opening.session is None
    assert all(card.words.answers.__getattribute__(name) for name in ("how_serious", "what_to_do"))
    return card


def offers(card):
    return {button.text() for button in card.findChildren(QPushButton) if button.isVisibleTo(card)}


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda place: place / "nothing.holdfast", -14),
        (lambda place: (place / "plain").mkdir() or place / "plain", -19),
        (lambda place: (place / "notes.txt").write_text("hello") and place / "notes.txt", -19),
    ],
    ids=["missing", "another directory", "a file"],
)
def test_what_is_no_database_gets_a_card_that_lets_one_choose_another(
    window, until, tmp_path, make, code, watch
):
    with watch.watching():
        card = card_after_opening(until, window, make(tmp_path))
    assert card.words.code == code
    assert "Choose another" in offers(card)


def test_the_file_inside_a_database_opens_the_database(qtbot, window, database):
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(database / "database.holdfast")
    assert window.opening.session.path == database
    assert window.navigation._name.text() == "harbour"


def test_a_database_that_is_open_elsewhere_can_be_tried_again(qtbot, window, until, database):
    held = engine.open(database)
    card = card_after_opening(until, window, database)
    assert card.words.code == -16
    held.close()
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        next(b for b in card.findChildren(QPushButton) if b.text() == "Try again").click()


def test_wrong_settings_are_named_and_can_be_mended_and_tried_again(window, until, database):
    (database / "reliability.toml").write_text('cache_size = "lots"\n')
    card = card_after_opening(until, window, database)
    assert card.words.code == -64
    assert "cache_size" in card.words.message
    assert {"Open the settings"} <= offers(card)


def test_another_format_version_is_named(window, until, database):
    # The version follows eight bytes of magic; the slot ends with the hash of what stands before.
    content = bytearray((database / "control").read_bytes())
    for slot in SLOTS:
        content[slot + 8 : slot + 12] = (99).to_bytes(4, "little")
        content[slot + 496 : slot + 512] = blake3(content[slot : slot + 496]).digest()[:16]
    (database / "control").write_bytes(content)
    card = card_after_opening(until, window, database)
    assert card.words.code in (-18, -70)
    assert "99" in card.words.message
    assert "newer" in card.words.suggested_action


def test_a_database_without_its_log_offers_to_restore_a_backup(window, until, database):
    shutil.rmtree(database / "wal")
    card = card_after_opening(until, window, database)
    assert card.words.code == -71
    assert card.words.action_label in offers(card)


def test_a_damaged_page_is_named_by_the_check(qtbot, window, until, database, watch):
    flip(database / "database.holdfast", 40 * PAGE + 300)
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(database)
    page = window.pages["integrity"]
    window.show_page("integrity")
    qtbot.wait(50)
    with watch.watching():
        page.check()
        until(lambda: page.model.rowCount() > 0)
    assert "40" in {page.model.index(0, place).data() for place in range(page.model.columnCount())}


def test_a_button_that_would_do_nothing_is_not_offered(qtbot, window, database):
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(database)
    window.show_error(engine.errors.Deadlock(), "take a checkpoint")
    card = cards()[0]
    assert card.words.action == "retry"
    assert "Try again" not in offers(card), "only an opening can be tried again from here"


def test_the_state_is_told_before_the_first_figures_come(qtbot, window, database):
    told = []
    window.opening.opened.connect(lambda session: told.append(window.status_strip._state.text()))
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(database)
    assert told == ["Open"]


def test_the_enter_key_does_what_the_focused_button_says(qtbot, window):
    tile = window.pages["welcome"].findChildren(StartTile)[0]
    with qtbot.waitSignal(tile.clicked, timeout=1000):
        qtbot.keyClick(tile, Qt.Key.Key_Return)
    dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog) and w.isVisible())
    dialog.reject()


def test_the_window_fits_a_small_screen_with_its_frame(window):
    room = window.screen().availableGeometry()
    assert window.height() < room.height(), "the frame needs room too"


def test_the_sample_is_one_file_however_often_it_is_tried(window, until, preferences, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_names, **_more: made.append(1) or str(tmp_path))
    for name in ("harbour", "harbour 2"):
        window.actions_registry.get("database.sample").trigger()
        until(lambda: window.findChild(ImportDialog) is not None)
        dialog = window.findChild(ImportDialog)
        until(dialog.go.isEnabled)
        assert window.opening.session.path == tmp_path / f"{name}.holdfast"
        dialog.close()
        window.close_database()
        until(lambda: window.opening.session is None and window.current_page_id() == "welcome")
    assert [path.name for path in preferences.samples.iterdir()] == ["harbour.sqlite"]
    assert not made, "no folder that somebody has to clear away"


def test_a_sample_that_is_right_is_left_alone_and_one_that_was_altered_is_made_anew(tmp_path):
    path = build_sample(tmp_path)
    right = path.read_bytes()
    os.utime(path, (1, 1))
    assert build_sample(tmp_path) == path
    assert path.stat().st_mtime == 1
    path.write_bytes(right[:-1])
    build_sample(tmp_path)
    assert path.read_bytes() == right
