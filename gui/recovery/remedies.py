"""Carries out what the card of a recovery error suggests.

| action | what it does here |
| --- | --- |
| retry, recover | tries again what failed |
| wait | waits until nobody has the database open, then opens it, or guides where it still needs recovery |
| free_space | shows the disk of the database in the file manager |
| show_path | shows the file that may not be used |
| settings | opens the file of settings; a button beside it takes the default of the one that is wrong |
| restore_backup | opens the dialog that restores, filled in with the newest backup |

And, before any of that, the files can be copied as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from engine.errors import (
    HoldfastError,
    RecoveryConfigurationError,
    RecoveryNeeded,
    RecoveryPermissionError,
)
from engine.recovery.choices import root_cause
from gui.backups.emergency_dialogs import EmergencyDialog
from gui.backups.restore_dialog import RestoreDialog
from gui.mirrors.takeover import TakeoverDialog
from gui.page import Shell
from gui.recovery.work import RecoveryWork, folder_of_backups, newest_backup
from gui.tasks.error_slot import ErrorSlot

_ASK_EVERY_MS = 500


class Remedies(QObject):
    """Does it for the database that `work` is at."""

    retry_wanted = Signal()
    """What failed is to be tried again."""
    waiting = Signal(str)
    """It is open; who has it, in words."""

    def __init__(self, shell: Shell, work: RecoveryWork, over: QWidget) -> None:
        super().__init__(over)
        self._shell = shell
        self._work = work
        self._over = over
        self.open_url = QDesktopServices.openUrl
        """How places are shown: another one in tests."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_ASK_EVERY_MS)
        self._timer.timeout.connect(lambda: self._work.when_free(self._has_heard))
        self._acts = {
            "retry": self.retry_wanted.emit,
            "recover": self.retry_wanted.emit,
            "wait": self.wait,
            "free_space": self._show_disk,
            "show_path": self._show_path,
            "settings": self._show_settings,
            "restore_backup": self.restore,
        }

    def make_errors(self) -> ErrorSlot:
        """Every suggested action is carried out here where it concerns this database, else by the window."""
        slot = ErrorSlot(self._can_be_done)

        def act(action: str) -> None:
            slot.clear()
            if self.can_do(action):
                self.do(action)
            else:
                self._shell.action_requested.emit(action)

        slot.action_requested.connect(act)
        return slot

    def _can_be_done(self, action: str) -> bool:
        if action == "retry" and self._work.path is not None:
            # Where another attempt would end in the same way, none is offered.
            error = self._error()
            return error is None or error.is_retryable() or error.entry.action == "retry"
        return self.can_do(action) or self._shell.can_do(action)

    def can_do(self, action: str) -> bool:
        return self._work.path is not None and action in self._acts

    def do(self, action: str) -> None:
        """Carry out the action of a card."""
        self._acts[action]()

    @property
    def is_waiting(self) -> bool:
        return self._timer.isActive()

    def wait(self) -> None:
        """Ask again and again who has the database open, until nobody has."""
        self._work.when_free(self._has_heard)

    def stop_waiting(self) -> None:
        self._timer.stop()

    def _has_heard(self, holder: str | None) -> None:
        if holder is None:
            self._timer.stop()
            if self._work.path is not None:
                self._shell.open(self._work.path)
        else:
            self.waiting.emit(holder)
            self._timer.start()

    def wrong_setting(self) -> str:
        """The name of the setting that stands in the way; empty for none."""
        error = self._error()
        return str(error.fields.get("setting") or "") if isinstance(error, RecoveryConfigurationError) else ""

    def use_default(self) -> None:
        """Take the wrong setting out of the file, then try again."""
        path, name = self._work.path, self.wrong_setting()
        if path is not None and name:
            answer = self._shell.run(lambda: _use_default(path, name), self)
            answer.done(lambda _none: self.retry_wanted.emit())
            answer.failed(lambda error: self._shell.show_error(error, self.tr("correct the setting")))

    def restore(self) -> None:
        """Open the dialog that restores: the newest backup, into a folder beside the database."""
        path = self._work.path
        if path is not None:
            chosen = self._shell.preferences.backup_folder(path)
            answer = self._shell.run(lambda: newest_backup(path, chosen), self)
            answer.done(lambda info: self._restore(path, info))

    def _restore(self, path: Path, info: Any) -> None:
        if info is None:
            # Where none is known, the window asks for one.
            self._shell.action_requested.emit("restore_backup")
            return
        target = path.with_name(f"{path.stem} restored.holdfast")
        RestoreDialog(self._shell, Path(info.path), target, self._over).open()

    def copy_first(self) -> None:
        """Open the dialog that copies what can be read, before anything is tried."""
        path = self._work.path
        if path is not None:
            chosen = self._shell.preferences.backup_folder(path)
            answer = self._shell.run(lambda: folder_of_backups(path, chosen), self)
            answer.done(lambda folder: EmergencyDialog(self._shell, path, folder, self._over).open())

    def take_over(self) -> None:
        """Open the dialog that lets a mirror take the place of the database, with what that loses."""
        path = self._work.path
        if path is not None:
            trouble = self._work.trouble or RecoveryNeeded(path=str(path), indicators=[])
            answer = self._shell.run(lambda: _heirs(path), self)
            answer.done(lambda heirs: TakeoverDialog(self._shell, path, trouble, heirs, self._over).open())

    def _show_disk(self) -> None:
        if self._work.path is not None:
            self._show(self._work.path.parent)

    def _show_path(self) -> None:
        error = self._error()
        named = str(error.fields.get("path") or "") if isinstance(error, RecoveryPermissionError) else ""
        path = Path(named) if named else self._work.path
        if path is not None:
            self._shell.tell(str(path))
            self._show(path if path.is_dir() else path.parent)

    def _show_settings(self) -> None:
        if self._work.path is not None:
            self._show(self._work.path / "reliability.toml")

    def _show(self, path: Path) -> None:
        self.open_url(QUrl.fromLocalFile(str(path)))

    def _error(self) -> HoldfastError | None:
        trouble = self._work.trouble
        return None if trouble is None else root_cause(trouble)


def _heirs(path: Path) -> Any:
    from engine.mirrors.register import heirs

    return heirs(path)


def _use_default(path: Path, name: str) -> None:
    from engine.config import use_default

    use_default(path, name)
