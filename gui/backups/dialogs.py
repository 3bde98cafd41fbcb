"""The dialog that takes a backup, and what it shares with that which restores one: both end with proof."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QWidget

from engine.errors import BackupLocked, Cancelled, HoldfastError, IncrementRefused
from engine.types import BackupInfo, ProofStep
from gui.backups.key_choice import KeyFileChoice
from gui.backups.key_question import GivenKey, KeyQuestion, key_on
from gui.backups.words import proof_steps
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import CommandLine, FittedDialog, Stepper, button, column, formats, label, row
from gui.widgets.banner import Banner

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup

_log = logging.getLogger(__name__)

_ELSEWHERE = ("choose_another", "backup_folder")
_AGAIN = ("retry", "wait", "back_up")
"""What the button of an error's card may do here: choose another place, or start once more."""


class WorkDialog(FittedDialog):
    """A title, a place to choose, what will happen, a job, and the proof."""

    asked = Signal()
    """The work is to begin, by the button or by that of an error's card."""
    changed = Signal()
    """What the button would do now has to be said anew."""

    def __init__(self, shell: Shell, title: str, place_name: str, parent: QWidget | None) -> None:
        super().__init__(660, 380, parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.shell = shell
        self.errors = ErrorSlot(lambda action: action in (*_ELSEWHERE, *_AGAIN))
        self.errors.action_requested.connect(self._act)
        self.lock = KeyQuestion()
        self.lock.given.connect(self._has_key)
        self.words = label("", "muted", wrap=True)
        self.place = QLineEdit()
        self.place.setAccessibleName(place_name)
        self.place.textChanged.connect(lambda _text: self.changed.emit())
        self.banner = Banner()
        self.proof = Stepper()
        self.bar = JobBar()
        self.command = CommandLine()
        self.close_button = button(self.tr("Close"), self.close)
        self.go = button("", self.asked.emit, "primary")
        self.go.setDefault(True)
        browse = button(self.tr("Choose…"), self.browse)
        self._target = QWidget()
        self._target.setLayout(row(label(place_name, "caption"), self.place, browse, gap=Space.M))
        self.middle = column(gap=Space.S)
        whole = column(label(title, "title"), self.words, self.errors, self.lock, self._target)
        whole.addLayout(self.middle)
        for part in (self.banner, self.proof, self.bar):
            whole.addWidget(part)
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        whole.addStretch(1)
        whole.addWidget(self.command)
        whole.addLayout(row(None, self.close_button, self.go))
        self.setLayout(whole)

    def path(self) -> Path:
        """The place that is typed in."""
        return Path(self.place.text().strip()).expanduser()

    def browse(self) -> None:
        dialog = QFileDialog(self, self.windowTitle(), str(self.path().parent))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Use this folder"))
        dialog.fileSelected.connect(self.place.setText)
        dialog.open()

    def follow(self, task: Any, done: Callable[[Any], object]) -> None:
        """Run a task as a job and show it here; closing the dialog does not stop it."""
        self.errors.clear()
        self._target.setEnabled(False)
        self.go.setEnabled(False)
        self.close_button.setText(self.tr("Go on in the background"))
        job = self.shell.jobs.start(task, self)
        self.bar.follow(job)
        job.answer.done(done).failed(self.has_failed)

    def _act(self, action: str) -> None:
        self.errors.clear()
        if action in _ELSEWHERE:
            self.browse()
        else:
            self.asked.emit()

    def has_failed(self, error: BaseException) -> None:
        """Show the card; everything can be tried again."""
        self._target.setEnabled(True)
        self.close_button.setText(self.tr("Close"))
        self.changed.emit()
        self.show_failure(error)

    def show_failure(self, error: BaseException) -> None:
        """Show the card and, where it is a key that is wanted, ask for one."""
        if isinstance(error, Cancelled):
            return
        self.bar.hide()
        self.errors.show_error(error, self.windowTitle())
        if isinstance(error, BackupLocked):
            self.lock.ask()

    def _has_key(self) -> None:
        self.errors.clear()
        self.changed.emit()

    def has_succeeded(self) -> None:
        """Leave room for the proof."""
        self.bar.hide()
        self.lock.hide()
        self._target.hide()
        self.go.hide()
        self.let_shrink()
        self.close_button.setText(self.tr("Done"))
        self.close_button.setFocus()

    def offer_to_open(self, made: Path) -> None:
        """The button opens the database that the work has made."""

        def open_it() -> None:
            self.accept()
            self.shell.open(made)

        self.go.show()
        self.go.setText(self.tr("Open {name}").format(name=made.stem))
        self.go.setEnabled(True)
        self.go.clicked.disconnect()
        self.go.clicked.connect(open_it)


class BackupDialog(WorkDialog):
    """Takes a backup while the database is in use, full or an increment, and rehearses a restore of it."""

    taken = Signal(object)
    """The `BackupInfo`, as soon as there is one."""
    ended = Signal()
    """What was asked for is done, or has failed."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        folder: Path,
        parent: QWidget | None = None,
        newest: KeptBackup | None = None,
    ) -> None:
        """`newest` is the backup in `folder` that an increment would add to; None for none."""
        self._session = session
        self._folder, self._newest = folder, newest
        self._info: BackupInfo | None = None
        super().__init__(
            shell, session.tr("Back up {name}").format(name=session.name), session.tr("Folder"), parent
        )
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        self.words.setText(
            self.tr(
                "The database stays in use meanwhile; what is committed before the end is in the backup. It "
                "is checked against its checksums before it counts."
            )
        )
        self.adds = QCheckBox()
        if newest is not None:
            since = self.tr("Only what has changed since the backup of {moment}: an increment")
            self.adds.setText(since.format(moment=formats.moment(newest.info.taken_at)))
        self.adds.toggled.connect(lambda _on: self.show_state())
        self.rehearses = QCheckBox(
            self.tr("Then rehearse a restore: into a scratch folder, checked, every row counted")
        )
        self.rehearses.setChecked(True)
        self.middle.addWidget(self.adds)
        self.middle.addWidget(self.rehearses)
        self.key = KeyFileChoice(folder.with_name(f"{session.name}.key"))
        self.key.changed.connect(self.show_state)
        self.lock.given.connect(self._rehearse_again)
        self.middle.addWidget(self.key)
        self.place.setText(str(folder))

    def show_state(self) -> None:
        sample = self._session.last_sample
        size = 0 if sample is None else sample.status.pages * sample.status.cache.page_size
        # An increment belongs beside what it adds to.
        self.adds.setVisible(self._newest is not None and self.path() == self._folder)
        if self._is_increment():
            self.go.setText(self.tr("Back up what has changed"))
        elif size:
            self.go.setText(self.tr("Back up about {size}").format(size=formats.size(size)))
        else:
            self.go.setText(self.tr("Back up"))
        self.go.setEnabled(bool(self.place.text().strip()))
        more: tuple[str | Path, ...] = ("--incremental",) if self._is_increment() else ()
        if (key := self.key.path()) is not None:
            more = (*more, "--key-file", key)
        else:
            more = (*more, *self.lock.command_words())
        self.command.show_command("backup", self._session.path, self.path(), *more)

    def _is_increment(self) -> bool:
        return self.adds.isChecked() and not self.adds.isHidden()

    def start(self) -> None:
        folder, adds, key = self.path(), self._is_increment(), self.key.path()
        given = self.lock.key()
        self.adds.hide()
        self.rehearses.hide()
        self.key.hide()
        answer = self._session.run(
            lambda db: _backup_task(db, folder, adds, key, given), self, channel="files"
        )
        answer.done(lambda task: self.follow(task, self._has_taken)).failed(self.has_failed)

    def has_failed(self, error: BaseException) -> None:
        if isinstance(error, IncrementRefused):
            # What helps is a full one, which the button takes next.
            self.adds.setChecked(False)
        super().has_failed(error)
        if self._info is None:
            self.rehearses.show()
            self.key.show()
            return
        # The backup is there; only its rehearsal is to be told of.
        self._target.hide()
        self.go.hide()
        self.let_shrink()
        self._look(self._show_kept)
        self.ended.emit()

    def _has_taken(self, info: BackupInfo) -> None:
        self._info = info
        self.shell.preferences.keep_backup_folder(self._session.path, Path(info.path).parent)
        self.taken.emit(info)
        if not self.rehearses.isChecked():
            self._look(self._show_proof)
            return
        self._look(lambda kept: self.proof.set_steps(proof_steps(kept, ProofStep.RESTORED)))
        self._rehearse(Path(info.path))

    def _rehearse(self, path: Path) -> None:
        given = self.lock.key()
        answer = self._session.run(lambda db: _rehearse_task(db, path, given), self, channel="files")
        answer.done(lambda task: self.follow(task, lambda _found: self._look(self._show_proof)))
        answer.failed(self.has_failed)

    def _rehearse_again(self) -> None:
        """A key was given for the backup that was just taken, where its rehearsal asked for it."""
        if self._info is not None:
            self._rehearse(Path(self._info.path))

    def _look(self, show: Callable[[KeptBackup], object]) -> None:
        assert self._info is not None
        path = Path(self._info.path)
        self._session.run(lambda db: _look_again(db, path), self, channel="files").done(
            lambda kept: show(kept) if kept is not None else None
        ).failed(self.has_failed)

    def _show_kept(self, kept: KeptBackup) -> None:
        self.proof.set_steps(proof_steps(kept))

    def _show_proof(self, kept: KeptBackup) -> None:
        self.has_succeeded()
        self.banner.say(
            Tone.GOOD,
            self.tr("Backed up and proved") if kept.is_proved else self.tr("Backed up and checksummed"),
            self.tr("It holds everything that was committed before log position {lsn}.").format(
                lsn=formats.count(kept.info.end_lsn)
            ),
        )
        self._show_kept(kept)
        self.ended.emit()


def _backup_task(
    database: Any, folder: Path, adds: bool, key_path: Path | None, given: GivenKey | None
) -> Any:
    from engine.backups.keys import key_file, make_key_file

    key = None if given is None else given.read()
    if key_path is not None:
        key = key_file(key_path) if adds or key_path.exists() else make_key_file(key_path)
    backups = database.backups
    task = backups.increment_task(folder, key=key) if adds else backups.full_task(folder, key=key)
    return task.then(lambda _info: _look_there(database, folder.absolute()))


def _look_there(database: Any, folder: Path) -> None:
    """Where a backup was put by hand, those of the schedule and its proof are looked for too."""
    # Not before it is there: one that fails is no reason to lose sight of those in another folder.
    if folder == database.keeper.folder or database.is_closed:
        return
    try:
        database.keeper.change(backup_folder=str(folder))
    except HoldfastError as error:
        # The backup is taken all the same.
        _log.warning("the folder of backups could not be kept: %s", error.title)


def _rehearse_task(database: Any, path: Path, given: GivenKey | None) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.backups.rehearsal import rehearse_task

    return rehearse_task(path, key=key_on(database, path, given))


def _look_again(database: Any, path: Path) -> Any:
    from engine.backups.history import kept_backup

    database.keeper.look()
    return kept_backup(path)
