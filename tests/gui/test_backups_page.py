"""Backups and checks from the interface, over a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from gui.backups import BackupsPage
from gui.backups.dialogs import BackupDialog, RestoreDialog
from gui.integrity import IntegrityPage
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def filled(window: MainWindow, tmp_path: Path, until: Until) -> MainWindow:
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    database = window.opening.session.database
    with database.transaction() as txn:
        tree = txn.tree("stock")
        for n in range(3000):
            tree[b"%05d" % n] = b"x" * 100
    return window


def test_a_backup_is_taken_proved_listed_and_restored(
    filled: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = filled.pages["backups"]
    assert isinstance(page, BackupsPage)
    filled.show_page("backups")
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(tmp_path / "kept"))
    dialog.start()
    until(lambda: page.model.rowCount() == 1)
    assert "proved" in dialog.banner.title()
    dialog.accept()
    page.restore()
    restoring = page.findChildren(RestoreDialog)[0]
    target = tmp_path / "again.holdfast"
    restoring.place.setText(str(target))
    restoring.start()
    until(lambda: "Restored" in restoring.banner.title())
    restoring.accept()
    with engine.open(target) as restored, restored.transaction() as txn:
        assert len(txn.tree("stock")) == 3000


def test_a_backup_into_the_database_itself_is_refused_with_a_card(filled: MainWindow, until: Until) -> None:
    page = filled.pages["backups"]
    assert isinstance(page, BackupsPage)
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(filled.opening.session.path / "inside"))
    dialog.start()
    until(lambda: not dialog.errors.isHidden())
    dialog.reject()


def test_a_sound_database_is_found_sound(filled: MainWindow, until: Until) -> None:
    page = filled.pages["integrity"]
    assert isinstance(page, IntegrityPage)
    filled.show_page("integrity")
    page.check()
    until(lambda: page._stack.currentIndex() == 1)
    assert page.model.rowCount() == 0
    assert page._records.value() != "–"
