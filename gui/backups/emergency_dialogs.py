"""The dialogs of emergency backups: of a database as it lies there, whatever it is worth, and back again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QCheckBox, QWidget

from engine.errors import BackupLocked
from gui.backups.dialogs import WorkDialog
from gui.backups.key_choice import KeyFileChoice
from gui.backups.key_question import GivenKey
from gui.page import Shell
from gui.tasks import EngineSession
from gui.theme import Tone
from gui.widgets import formats, label, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.emergency import EmergencyRestored
    from engine.backups.emergency_manifest import EmergencyBackup

_MOST_LACKS = 6


class EmergencyDialog(WorkDialog):
    """Copies what can be read of a database before anything is tried; with `session`, of the open one."""

    def __init__(
        self,
        shell: Shell,
        database: Path,
        folder: Path,
        parent: QWidget | None = None,
        session: EngineSession | None = None,
    ) -> None:
        self._database, self._session = database, session
        words = (
            shell.tr("Copy the files of {name} first")
            if session is None
            else shell.tr("Copy {name} as it is")
        )
        super().__init__(shell, words.format(name=database.stem), shell.tr("Folder"), parent)
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        copied = self.tr(
            "An emergency backup: every file as it is, damaged or not. What cannot be read is named and left "
            "out."
        )
        untouched = self.tr(
            "The database is neither opened nor changed, and the copy can be restored whatever becomes of it."
        )
        in_use = self.tr(
            "The database stays in use, and is not changed by it; the copy has all that is committed when it "
            "begins. A backup that is whole is better where one can be taken: Back up now."
        )
        self.words.setText(f"{copied} {untouched if session is None else in_use}")
        self.key = KeyFileChoice(folder.with_name(f"{database.stem}.key"))
        self.key.changed.connect(self.show_state)
        self.middle.addWidget(self.key)
        self.place.setText(str(folder))

    def show_state(self) -> None:
        """Say what the button would do."""
        self.go.setText(self.tr("Copy what can be read"))
        self.go.setEnabled(bool(self.place.text().strip()))
        key = self.key.path()
        more: tuple[str | Path, ...] = self.lock.command_words() if key is None else ("--key-file", key)
        self.command.show_command("backup", self._database, self.path(), "--emergency", *more)
        # Elsewhere it can be taken only once the database is closed here.
        self.command.setVisible(self._session is None)

    def start(self) -> None:
        """Take it, as a job."""
        database, folder, key, given = self._database, self.path(), self.key.path(), self.lock.key()
        self.key.setEnabled(False)
        if self._session is None:
            answer = self.shell.run(lambda: _take(database, folder, key, given), self)
        else:
            work = partial(_take, database, folder, key, given)
            answer = self._session.run(work, self, channel="files")
        answer.done(lambda task: self.follow(task, self._show_taken)).failed(self.has_failed)

    def has_failed(self, error: BaseException) -> None:
        self.key.setEnabled(True)
        super().has_failed(error)

    def _show_taken(self, backup: EmergencyBackup) -> None:
        self.has_succeeded()
        self.key.hide()
        size, files = formats.size(backup.bytes), formats.count(len(backup.files))
        words = self.tr("{files} files, {size}, in {path}.").format(files=files, size=size, path=backup.path)
        if backup.encryption:
            words += " " + self.tr("Without its key nobody can read it.")
        if backup.missing:
            title = self.tr("Copied, with what it lacks")
            self.banner.say(Tone.WARN, title, f"{words} {_lacks(backup)}")
        else:
            self.banner.say(Tone.GOOD, self.tr("Copied: everything could be read"), words)


class EmergencyRestoreDialog(WorkDialog):
    """Puts the files of an emergency backup into a new folder, and recovers them there."""

    def __init__(self, shell: Shell, source: Path, target: Path, parent: QWidget | None = None) -> None:
        self._source = source
        self._backup: EmergencyBackup | None = None
        super().__init__(shell, shell.tr("Restore an emergency backup"), shell.tr("New database"), parent)
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        self.words.setText(
            self.tr(
                "The files go into a new folder as they were copied, and are recovered there. No database "
                "that exists is touched. It is no backup that was proved: it has what could be read."
            )
        )
        self._what = label("", "strong")
        self._lacks = label("", wrap=True)
        self.accepts = QCheckBox(self.tr("Restore it with what it lacks"))
        self.accepts.toggled.connect(lambda _on: self.show_state())
        for part in (self._what, self._lacks, self.accepts):
            self.middle.addWidget(part)
        shell.run(lambda: _read(source), self).done(self._show_backup).failed(self._has_not_looked)
        self.place.setText(str(target))

    def show_state(self) -> None:
        """Say what the button would do."""
        path = self.path()
        self.go.setText(self.tr("Restore into {name}").format(name=path.name))
        is_ready = self._backup is not None and self.accepts.isChecked()
        self.go.setEnabled(is_ready and bool(self.place.text().strip()))
        words = ("restore", self._source, path, "--accept-incomplete", *self.lock.command_words())
        self.command.show_command(*words)

    def _has_not_looked(self, error: BaseException) -> None:
        self.go.setEnabled(False)
        self.show_failure(error)

    def _show_backup(self, found: tuple[EmergencyBackup, bool]) -> None:
        self._backup, is_locked = found
        backup = self._backup
        self._what.setText(
            self.tr("{name}, as it lay there on {moment}").format(
                name=Path(backup.database).stem, moment=formats.moment(backup.taken_at)
            )
        )
        self._lacks.setText(_lacks(backup) or self.tr("Nothing is known to be missing."))
        set_look(self._lacks, tone=str(Tone.WARN if backup.missing else Tone.NEUTRAL))
        if is_locked:
            self.lock.ask(backup.encryption)
        self.show_state()

    def start(self) -> None:
        """Restore it, as a job."""
        source, target, given = self._source, self.path(), self.lock.key()
        answer = self.shell.run(lambda: _restore(source, target, given), self)
        answer.done(lambda task: self.follow(task, self._show_restored)).failed(self.has_failed)

    def _show_restored(self, done: EmergencyRestored) -> None:
        self.has_succeeded()
        self.accepts.hide()
        if done.problem is None:
            words = self.tr("The recovery brought it to log position {lsn}.").format(
                lsn=formats.count(done.end_lsn or 0)
            )
            self.banner.say(Tone.GOOD, self.tr("Restored, recovered and checked"), words)
        else:
            words = self.tr("Its files are there, and opening it shows the ways out: {why}")
            self.banner.say(
                Tone.WARN,
                self.tr("Restored, and not recovered"),
                words.format(why=done.problem.message),
            )
        self.offer_to_open(done.path)


def _lacks(backup: EmergencyBackup) -> str:
    return " ".join(backup.missing[:_MOST_LACKS])


def _take(
    database: Path, folder: Path, key_path: Path | None, given: GivenKey | None, opened: Any = None
) -> Any:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.emergency import emergency_task
    from engine.backups.keys import key_file, make_key_file

    key = None if given is None else given.read()
    if key_path is not None:
        key = key_file(key_path) if key_path.exists() else make_key_file(key_path)
    return emergency_task(database, folder, key=key, opened=opened)


def _read(source: Path) -> tuple[EmergencyBackup, bool]:
    """The backup, and whether its key has to be asked for."""
    from engine.backups.emergency_manifest import read_emergency, vault_of

    backup = read_emergency(source)
    try:
        vault_of(backup, None)
    except BackupLocked:
        return backup, True
    return backup, False


def _restore(source: Path, target: Path, given: GivenKey | None) -> Any:
    from engine.backups.emergency import restore_emergency_task

    key = None if given is None else given.read()
    return restore_emergency_task(source, target, accept_incomplete=True, key=key)
