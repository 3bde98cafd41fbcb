"""Backups with a passphrase, from the window: each place asks for it, and a wrong one touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.backups.keys import passphrase
from engine.errors import BackupLocked
from gui.backups import BackupsPage
from gui.backups.dialogs import BackupDialog
from gui.backups.key_question import KEY_FILE, KeyQuestion
from gui.backups.point_dialog import PointDialog
from gui.backups.rescue_dialog import CHOOSE, RescueDialog
from gui.backups.restore_dialog import RestoreDialog
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]
RIGHT, WRONG = "a long walk in the hills", "a long walk in the dark"


def page_of(window: MainWindow) -> BackupsPage:
    page = window.pages["backups"]
    assert isinstance(page, BackupsPage)
    return page


@pytest.fixture
def locked(window: MainWindow, tmp_path: Path, until: Until) -> MainWindow:
    """A backup that a passphrase opens, and one commit after it."""
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    session = window.opening.session
    assert session is not None
    database = session.database
    with database.transaction() as txn:
        tree = txn.tree("stock")
        for n in range(300):
            tree[b"%05d" % n] = b"x"
    database.backups.full_task(database.keeper.folder, key=passphrase(RIGHT)).run()
    with database.transaction() as txn:
        del txn.tree("stock")[b"00007"]
    window.show_page("backups")
    page = page_of(window)
    until(lambda: [str(stop.kind) for stop in page.time_line.moments.stops] == ["backup", "commit", "now"])
    return window


def give(question: KeyQuestion, text: str) -> None:
    question.text.setText(text)
    question.use.click()


def is_refused(place: Any) -> bool:
    """The card says that the key is missing or wrong, and the question stands below it."""
    card = place.errors._card
    return card is not None and card.words.code == BackupLocked.code and not place.lock.isHidden()


def restored_with_the_key(dialog: Any, target: Path, until: Until) -> int:
    """The rows that come back once the right key is given."""
    give(dialog.lock, RIGHT)
    until(dialog.go.isEnabled)
    dialog.start()
    until(lambda: "Restored" in dialog.banner.title())
    dialog.accept()
    with engine.open(target) as restored, restored.transaction() as txn:
        return len(txn.tree("stock"))


def test_a_verification_and_a_rehearsal_ask_for_the_passphrase(locked: MainWindow, until: Until) -> None:
    page = page_of(locked)
    page.verify()
    until(lambda: is_refused(page))
    give(page.lock, WRONG)
    until(lambda: is_refused(page))
    kept = page.view.current()
    assert kept.setback is None, "a wrong key is not the backup's fault"
    give(page.lock, RIGHT)
    until(lambda: page.errors.isHidden() and page.lock.isHidden())
    page.rehearse()
    until(lambda: bool(page.view.current() and page.view.current().is_proved))


def test_a_restore_asks_before_it_begins_and_a_wrong_key_writes_nothing(
    locked: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = page_of(locked)
    page.restore()
    (dialog,) = page.findChildren(RestoreDialog)
    target = tmp_path / "back.holdfast"
    dialog.place.setText(str(target))
    until(lambda: not dialog.lock.isHidden())
    assert not dialog.go.isEnabled()
    give(dialog.lock, WRONG)
    until(dialog.go.isEnabled)
    assert dialog.command.text().endswith("--passphrase")
    dialog.start()
    until(lambda: is_refused(dialog))
    assert not target.exists()
    assert restored_with_the_key(dialog, target, until) == 300


def refused_moment(window: MainWindow, target: Path, until: Until) -> PointDialog:
    """A moment of the past is to be restored, and no key was given."""
    page = page_of(window)
    page.time_line.go_to(1)
    page.past.restore()
    until(lambda: bool(page.findChildren(PointDialog)))
    (dialog,) = page.findChildren(PointDialog)
    dialog.place.setText(str(target))
    until(lambda: is_refused(dialog))
    return dialog


def test_a_moment_is_previewed_and_restored_with_the_passphrase(
    locked: MainWindow, tmp_path: Path, until: Until
) -> None:
    target = tmp_path / "then.holdfast"
    dialog = refused_moment(locked, target, until)
    assert not dialog.go.isEnabled()
    assert restored_with_the_key(dialog, target, until) == 299


def test_the_key_is_not_forgotten_where_a_look_from_before_it_was_given_is_refused_late(
    locked: MainWindow, tmp_path: Path, until: Until
) -> None:
    target = tmp_path / "then.holdfast"
    dialog = refused_moment(locked, target, until)
    give(dialog.lock, RIGHT)
    dialog._has_not_looked(target, None, BackupLocked(path="backups", reason="no key was given"))
    assert dialog.lock.key() is not None
    until(dialog.go.isEnabled)
    assert not is_refused(dialog)


def test_the_rescue_guide_asks_and_what_was_given_on_the_page_serves_it(
    locked: MainWindow, until: Until
) -> None:
    page = page_of(locked)
    page.time_line.go_to(0)
    page.past.rescue()
    until(lambda: bool(page.findChildren(RescueDialog)))
    (guide,) = page.findChildren(RescueDialog)
    until(lambda: is_refused(guide))
    give(guide.lock, RIGHT)
    until(lambda: guide.step == CHOOSE)
    guide.close()
    until(lambda: not page.findChildren(RescueDialog))
    page.verify()
    until(lambda: is_refused(page))
    give(page.lock, RIGHT)
    until(page.errors.isHidden)
    page.past.rescue()
    until(lambda: bool(page.findChildren(RescueDialog)))
    (again,) = page.findChildren(RescueDialog)
    until(lambda: again.step == CHOOSE)
    again.close()
    until(lambda: not page.findChildren(RescueDialog))


def test_an_increment_to_a_backup_with_a_passphrase_asks_for_it(locked: MainWindow, until: Until) -> None:
    page = page_of(locked)
    page.back_up()
    (dialog,) = page.findChildren(BackupDialog)
    dialog.adds.setChecked(True)
    dialog.start()
    until(lambda: is_refused(dialog))
    give(dialog.lock, RIGHT)
    assert dialog.command.text().endswith("--passphrase")
    dialog.start()
    until(lambda: "proved" in dialog.banner.title())
    dialog.accept()
    until(lambda: page.model.rowCount() == 2)


def test_a_key_file_is_asked_for_by_its_path_and_a_passphrase_is_not_shown(qtbot: Any) -> None:
    question = KeyQuestion()
    qtbot.addWidget(question)
    question.ask("passphrase")
    assert question.text.echoMode() == question.text.EchoMode.Password
    question.ask(KEY_FILE)
    assert question.text.echoMode() == question.text.EchoMode.Normal
    give(question, "/keys/one.key")
    assert question.command_words() == ("--key-file", Path("/keys/one.key"))
    assert RIGHT not in repr(question.key())
