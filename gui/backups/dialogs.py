"""Dialogs that take a backup and that restore one. Both show the outcome with its proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QDialog, QFileDialog, QLineEdit, QWidget

from engine.errors import Cancelled
from engine.types import BackupInfo
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import CommandLine, Step, Stepper, StepState, button, column, formats, label, row
from gui.widgets.banner import Banner


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)


class _WorkDialog(QDialog):
    """A title, a place to choose, what will happen, a job, and the proof."""

    def __init__(self, shell: Shell, title: str, place_name: str, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.resize(660, 380)
        self.shell = shell
        self.errors = ErrorSlot()
        self.words = label("", "muted", wrap=True)
        self.place = QLineEdit()
        self.place.setAccessibleName(place_name)
        self.place.textChanged.connect(self.show_state)
        self.banner = Banner()
        self.proof = Stepper()
        self.bar = JobBar()
        self.command = CommandLine()
        self.close_button = button(self.tr("Close"), self.close)
        self.go = button("", self.start, "primary")
        self.go.setDefault(True)
        browse = button(self.tr("Choose…"), self.browse)
        self._target = QWidget()
        self._target.setLayout(row(label(place_name, "caption"), self.place, browse, gap=Space.M))
        whole = column(
            label(title, "title"), self.words, self.errors, self._target, self.banner, self.proof, self.bar
        )
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        whole.addStretch(1)
        whole.addWidget(self.command)
        whole.addLayout(row(None, self.close_button, self.go))
        self.setLayout(whole)

    def path(self) -> Path:
        """The place that is typed in."""
        return Path(self.place.text().strip()).expanduser()

    def show_state(self) -> None:
        """Say what the button would do now."""
        raise NotImplementedError

    def start(self) -> None:
        """Do it."""
        raise NotImplementedError

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

    def has_failed(self, error: BaseException) -> None:
        """Show the card; everything can be tried again."""
        self._target.setEnabled(True)
        self.close_button.setText(self.tr("Close"))
        self.show_state()
        if not isinstance(error, Cancelled):
            self.bar.hide()
            self.errors.show_error(error, self.windowTitle())

    def has_succeeded(self) -> None:
        """Leave room for the proof."""
        self.bar.hide()
        self._target.hide()
        self.go.hide()
        self.close_button.setText(self.tr("Done"))
        self.close_button.setFocus()


class BackupDialog(_WorkDialog):
    """Takes a full backup while the database is in use."""

    taken = Signal(object)
    """The `BackupInfo`."""

    def __init__(self, shell: Shell, session: EngineSession, parent: QWidget | None = None) -> None:
        self._session = session
        super().__init__(
            shell, session.tr("Back up {name}").format(name=session.name), session.tr("Folder"), parent
        )
        self.words.setText(
            self.tr(
                "A full backup. The database stays in use meanwhile; what is committed before the end is in "
                "it. It is checked against its checksums before it counts."
            )
        )
        self.place.setText(str(shell.preferences.backup_folder(session.path)))

    def show_state(self) -> None:
        sample = self._session.last_sample
        size = 0 if sample is None else sample.status.pages * sample.status.cache.page_size
        self.go.setText(
            self.tr("Back up about {size}").format(size=formats.size(size)) if size else self.tr("Back up")
        )
        self.go.setEnabled(bool(self.place.text().strip()))
        self.command.show_command("backup", self._session.path, self.path())

    def start(self) -> None:
        folder = self.path()
        self.shell.preferences.keep_backup_folder(self._session.path, folder)
        answer = self._session.run(lambda db: db.backups.full_task(folder), self, channel="files")
        answer.done(lambda task: self.follow(task, self._show_proof)).failed(self.has_failed)

    def _show_proof(self, info: BackupInfo) -> None:
        self.has_succeeded()
        self.banner.say(
            Tone.GOOD,
            self.tr("Backed up and proved"),
            self.tr("It holds everything that was committed before log position {lsn}.").format(
                lsn=info.end_lsn
            ),
        )
        self.proof.set_steps(proof_steps(info))
        self.taken.emit(info)


class RestoreDialog(_WorkDialog):
    """Restores a backup into a new folder; nothing that exists is touched."""

    def __init__(
        self,
        shell: Shell,
        source: Path,
        target: Path,
        parent: QWidget | None = None,
    ) -> None:
        self._source = source
        super().__init__(shell, shell.tr("Restore a backup"), shell.tr("New database"), parent)
        self.words.setText(
            self.tr(
                "The backup is copied into a new folder, brought to its last commit by a recovery, and "
                "checked in full. No database that exists is touched."
            )
        )
        self.place.setText(str(target))
        self._opened = Path()

    def show_state(self) -> None:
        path = self.path()
        self.go.setText(self.tr("Restore into {name}").format(name=path.name))
        self.go.setEnabled(bool(self.place.text().strip()))
        self.command.show_command("restore", self._source, path)

    def start(self) -> None:
        source, target = self._source, self.path()
        answer = self.shell.run(lambda: _restore_task(source, target), self)
        answer.done(lambda task: self.follow(task, self._show_proof)).failed(self.has_failed)

    def _show_proof(self, result: Any) -> None:
        self.has_succeeded()
        check: Any = next(
            (s.metrics for s in result.recovery.stages if s.name == "Consistency Validation"), {}
        )
        self.banner.say(
            Tone.GOOD,
            self.tr("Restored, recovered and checked"),
            self.tr("{pages} pages and {records} records were checked, without a problem.").format(
                pages=formats.count(check.get("pages", result.pages)),
                records=formats.count(check.get("records", 0)),
            ),
        )
        self._opened = result.path
        self.go.show()
        self.go.setText(self.tr("Open {name}").format(name=result.path.stem))
        self.go.setEnabled(True)
        self.go.clicked.disconnect()
        self.go.clicked.connect(self._open)

    def _open(self) -> None:
        self.accept()
        self.shell.open(self._opened)


def proof_steps(info: BackupInfo) -> list[Step]:
    """What is known of a backup, as a list of steps with their dates."""
    taken = Step(
        tr("Taken"),
        StepState.DONE,
        tr("{size} · {n} pages").format(size=formats.size(info.bytes), n=formats.count(info.pages)),
        formats.moment(info.taken_at),
    )
    if info.verified_at is None:
        return [taken, Step(tr("Checksums"), StepState.WAITING, tr("not verified yet"), "")]
    detail = tr("every file and page against the manifest")
    return [taken, Step(tr("Checksums"), StepState.DONE, detail, formats.moment(info.verified_at))]


def _restore_task(source: Path, target: Path) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.backups.restore import restore_task

    return restore_task(source, target)
