"""Emergency backups from the window: taken of a database that does not open, and put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QFileDialog

import engine
from engine.backups.emergency import restore_emergency_task
from engine.backups.emergency_manifest import emergency_backups
from gui.backups import BackupsPage
from gui.backups.emergency_dialogs import EmergencyDialog, EmergencyRestoreDialog
from gui.main_window import MainWindow
from gui.menus import ask_restore
from gui.recovery.page import RecoveryPage

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def hurt(tmp_path: Path) -> Path:
    """A closed database that cannot be opened, with a page that a disk has lost."""
    path = tmp_path / "stock.holdfast"
    with engine.open(path) as database, database.transaction() as txn:
        tree = txn.tree("stock")
        for n in range(3000):
            tree[b"%05d" % n] = b"x" * 100
    (path / ".clean_shutdown").unlink()
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(20 * 8192 + 300)
        file.write(b"what a disk made up!")
    return path


def restoring(window: MainWindow, source: Path) -> Any:
    """The dialog that opens for a folder that somebody chose to restore."""
    ask_restore(window)
    chooser = window.findChildren(QFileDialog)[-1]
    chooser.fileSelected.emit(str(source))
    chooser.reject()
    return window.findChildren(EmergencyRestoreDialog)[-1]


def test_the_files_are_copied_and_encrypted_before_anything_is_tried_and_come_back_with_the_key(
    window: MainWindow, hurt: Path, tmp_path: Path, until: Until
) -> None:
    before = {file.name: file.read_bytes() for file in hurt.iterdir() if file.is_file()}
    window.shell.open(hurt)
    page = window.pages["recovery"]
    assert isinstance(page, RecoveryPage)
    until(lambda: page.work.path == hurt and page.foot.ways in page.foot.shown() and not page.work.is_busy)
    page.show_ways()
    until(lambda: bool(page.ways.cards) and not page.work.is_busy)
    assert page.foot.copy_first in page.foot.shown()
    page.foot.copy_first.click()
    until(lambda: bool(page.findChildren(EmergencyDialog)))
    (dialog,) = page.findChildren(EmergencyDialog)
    chain, key = tmp_path / "chain", tmp_path / "stock.key"
    dialog.place.setText(str(chain))
    dialog.key.encrypts.setChecked(True)
    dialog.key.file.setText(str(key))
    assert f'--emergency --key-file "{key}"' in dialog.command.text()
    dialog.start()
    until(lambda: "Copied" in dialog.banner.title())
    assert {name: (hurt / name).read_bytes() for name in before} == before
    (backup,) = emergency_backups(chain)
    assert (backup.encryption, backup.damaged_pages) == ("key_file", (20,))
    dialog.accept()
    moved = key.rename(tmp_path / "moved.key")
    back, target = restoring(window, Path(backup.path)), tmp_path / "back.holdfast"
    back.place.setText(str(target))
    until(lambda: not back.lock.isHidden())
    assert back._lacks.text() == "Page 20 is damaged."
    assert not back.go.isEnabled(), "what it lacks has to be agreed to"
    back.accepts.setChecked(True)
    back.lock.kind.setCurrentIndex(1)
    back.lock.text.setText(str(moved))
    back.lock.use.click()
    assert back.go.isEnabled()
    back.start()
    until(lambda: "Restored" in back.banner.title())
    assert (target / "database.holdfast").exists()
    back.reject()


def test_a_wrong_key_writes_nothing_and_is_asked_for_again(
    window: MainWindow, hurt: Path, tmp_path: Path, until: Until
) -> None:
    from engine.backups.emergency import emergency_task
    from engine.backups.keys import passphrase

    backup = emergency_task(hurt, tmp_path / "chain", key=passphrase("a long walk in the hills")).run()
    dialog, target = restoring(window, Path(backup.path)), tmp_path / "back.holdfast"
    dialog.place.setText(str(target))
    until(lambda: not dialog.lock.isHidden())
    dialog.accepts.setChecked(True)
    dialog.lock.text.setText("a long walk in the dark")
    dialog.lock.use.click()
    assert dialog.command.text().endswith("--accept-incomplete --passphrase")
    dialog.start()
    until(lambda: not dialog.errors.isHidden() and not dialog.lock.isHidden())
    assert not target.exists()
    dialog.lock.text.setText("a long walk in the hills")
    dialog.lock.use.click()
    dialog.start()
    until(lambda: "Restored" in dialog.banner.title())
    assert target.exists()
    dialog.reject()


def test_the_open_database_is_copied_as_it_is_and_stays_open(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    path, chain = tmp_path / "stock.holdfast", tmp_path / "chain"
    window.shell.create_requested.emit(path)
    until(lambda: window.opening.session is not None)
    session = window.opening.session
    assert session is not None
    database: Any = session.database
    with database.transaction() as txn:
        txn.tree("stock")[b"1"] = b"x"
    page = window.pages["backups"]
    assert isinstance(page, BackupsPage)
    page.copy_as_it_is()
    (dialog,) = page.findChildren(EmergencyDialog)
    dialog.place.setText(str(chain))
    assert "stays in use" in dialog.words.text()
    assert dialog.command.isHidden(), "elsewhere it is refused while it is open here"
    dialog.start()
    until(lambda: "Copied" in dialog.banner.title())
    assert window.opening.session is session
    with database.transaction() as txn:
        txn.tree("stock")[b"2"] = b"y"
    (backup,) = emergency_backups(chain)
    assert (backup.missing, backup.damaged_pages) == ((), ())
    target = tmp_path / "back.holdfast"
    assert restore_emergency_task(backup.path, target, accept_incomplete=True).run().problem is None
    with engine.open(target, create=False) as back, back.transaction(read_only=True) as txn:
        assert dict(txn.tree("stock")) == {b"1": b"x"}
    dialog.accept()
