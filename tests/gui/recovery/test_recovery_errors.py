"""Each of the fourteen recovery errors in the guide: a card, its button, and what the button comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtWidgets import QLabel, QPushButton

from engine import errors
from gui.backups.restore_dialog import RestoreDialog
from gui.main_window import MainWindow
from gui.recovery.page import EVIDENCE, RecoveryPage
from tests.gui.recovery.guide import Until, card, guide, shown
from tests.recovery_causes import CAUSES, Cause, PutRight, Through
from tests.recovery_originals import ROWS, Originals, whole

WAITS = ("wait",)
SHOWS = ("free_space", "show_path", "settings")


@pytest.fixture
def path(originals: Originals, window: MainWindow, tmp_path: Path) -> Path:
    """A killed database with a backup where the window looks for one."""
    place = tmp_path / "harbour.holdfast"
    return originals.crashed(place, window.preferences.backup_folder(place))


def press(page: RecoveryPage) -> None:
    """Press the button that the card suggests."""
    shown_card = card(page)
    label = shown_card.words.action_label
    next(button for button in shown_card.findChildren(QPushButton) if button.text() == label).click()


def meet(window: MainWindow, page: RecoveryPage, path: Path, cause: Cause, until: Until) -> None:
    """Do what meets the cause, and wait for the card."""
    if cause.through is Through.OPEN:
        window.shell.open(path)
    elif cause.through is Through.REHEARSE:
        page.rehearse()
    else:
        page.start()
    until(lambda: page.work.trouble is not None and not page.work.is_busy and card(page) is not None)


def assert_same_words(page: RecoveryPage, words: Any) -> None:
    """The card has what the engine's class says of this code and these fields, as the command line does."""
    assert page.work.trouble is not None
    same = errors.from_kernel(words.code, dict(page.work.trouble.fields)).as_card()
    assert (words.title, words.message, words.answers) == (same.title, same.message, same.answers)
    seen = " ".join(part.text() for part in card(page).findChildren(QLabel))
    for text in (same.title, str(same.code), same.message, same.answers.what_to_do):
        assert text in seen, text


def is_open(window: MainWindow) -> bool:
    return window.opening.session is not None


def recover(window: MainWindow, page: RecoveryPage, until: Until) -> None:
    """From the plan to the open database, with all that was committed."""
    until(lambda: shown(page) == EVIDENCE and page.work.plan is not None and not page.work.is_busy)
    page.start()
    until(lambda: is_open(window))
    assert_whole(window)


def assert_whole(window: MainWindow) -> None:
    assert window.opening.session is not None
    with window.opening.session.database.transaction(read_only=True) as txn:
        assert whole(txn.tree("t"), txn.tree("later"))


def restore(window: MainWindow, page: RecoveryPage, path: Path, until: Until) -> None:
    """Through the dialog that the button has opened, to the restored database."""

    def dialogs() -> list[Any]:
        return [child for child in page.children() if isinstance(child, RestoreDialog)]

    until(lambda: bool(dialogs()))
    dialog = dialogs()[0]
    until(lambda: dialog.go.isEnabled())
    dialog.go.click()
    until(lambda: dialog.go.isEnabled() and dialog.go.text().startswith("Open"))
    dialog.go.click()
    until(lambda: is_open(window))
    assert window.opening.session is not None
    database = window.opening.session.database
    assert database.path == path.with_name("harbour restored.holdfast")
    with database.transaction(read_only=True) as txn:
        assert len(txn.tree("t")) == ROWS


@pytest.mark.parametrize("cause", CAUSES, ids=str)
def test_it_reaches_the_guide_as_a_card_whose_button_helps(
    window: MainWindow, page: RecoveryPage, path: Path, until: Until, cause: Cause
) -> None:
    if cause.missing:
        pytest.skip(cause.missing)
    seen: list[QUrl] = []
    page.remedies.open_url = lambda url: bool(seen.append(url)) or True  # type: ignore[assignment]
    if cause.through is not Through.OPEN:
        guide(window, page, path, until)
    with cause.fault(path):
        meet(window, page, path, cause, until)
        words = card(page).words
        assert words.code == cause.code, words.message
        assert_same_words(page, words)
        details = dict(words.details)
        for name, is_right in cause.fields.items():
            assert name in details or not is_right(""), name
        if words.action in WAITS:
            press(page)
            until(lambda: page.remedies.is_waiting)
        elif words.action in SHOWS:
            press(page)
            assert seen
    if words.action == "restore_backup":
        assert cause.put_right is PutRight.BACKUP
        press(page)
        restore(window, page, path, until)
    elif words.action in WAITS:
        # The other one has recovered it meanwhile, and the guide opens it as soon as it can.
        until(lambda: is_open(window))
        assert_whole(window)
    elif words.action in SHOWS:
        page.foot.again.click()
        recover(window, page, until)
    else:
        press(page)
        if cause.through is Through.REHEARSE:
            until(lambda: page.foot.start in page.foot.shown() and not page.work.is_busy)
            page.start()
            until(lambda: is_open(window))
            assert_whole(window)
        else:
            recover(window, page, until)
