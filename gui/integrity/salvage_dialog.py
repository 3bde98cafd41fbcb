"""The dialog that saves what can be read of a damaged database into a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from engine.errors import Cancelled
from gui.backups.dialogs import WorkDialog
from gui.page import Shell
from gui.recovery.saved import Saved
from gui.tasks import EngineSession

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.recovery.fallbacks import SalvageReport


class SalvageDialog(WorkDialog):
    """The open database is closed for it, and opened again when the dialog goes, as it was."""

    def __init__(self, shell: Shell, session: EngineSession, parent: QWidget | None = None) -> None:
        self._session = session
        self._next: Path | None = None
        """What is opened when the dialog goes; None while the database is open still."""
        self._task: Any = None
        """The salvage that is under way: somebody has to be there to open the database again."""
        title = session.tr("Save what can be read of {name}").format(name=session.name)
        super().__init__(shell, title, session.tr("New database"), parent)
        self.resize(760, 420)
        self.words.setText(
            self.tr(
                "Every record of every page that can be read goes into a new database, and its indexes are "
                "built again. Records on damaged pages are lost, and you are told which trees miss some. "
                "This database is closed meanwhile, stays as it is, and is opened again afterwards."
            )
        )
        self.saved = Saved()
        self.saved.hide()
        self.middle.addWidget(self.saved)
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        self.finished.connect(lambda _result: self._end())
        self.place.setText(str(session.path.with_name(f"{session.path.stem} salvaged.holdfast")))

    def show_state(self) -> None:
        """Say what the button would do."""
        path = self.path()
        self.go.setText(self.tr("Close {name} and save").format(name=self._session.name))
        self.go.setEnabled(bool(self.place.text().strip()))
        self.command.show_command("recover", self._session.path, "--fallback", "salvage", "--to", path)

    def start(self) -> None:
        """Close the database, and salvage it, as a job."""
        target = self.path()
        answer = self._session.run(lambda db: _salvage_task(db, target), self, channel="files")
        answer.done(self._begin).failed(self.has_failed)

    def _begin(self, task: Any) -> None:
        self._task = task
        self.follow(task, self._show_saved)
        self.close_button.setText(self.tr("Cancel"))

    def reject(self) -> None:
        """Go away; what is under way is cancelled first, and then it goes."""
        if self._task is not None:
            self._task.cancel()
        else:
            super().reject()

    def has_failed(self, error: BaseException) -> None:
        self._task = None
        super().has_failed(error)
        if self._session.database.is_closed and not self._session.is_closing:
            self._next = self._session.path
            self.close()
            if not isinstance(error, Cancelled):
                self.shell.show_error(error, self.windowTitle())

    def _show_saved(self, report: SalvageReport) -> None:
        self._next, self._task = self._session.path, None
        self.has_succeeded()
        self.resize(860, 560)
        self.saved.show_report(report)
        self.saved.show()
        self.close_button.setText(self.tr("Open {name} again").format(name=self._session.name))
        self.go.show()
        self.go.setText(self.tr("Open {name}").format(name=report.target.stem))
        self.go.setEnabled(True)
        self.go.clicked.disconnect()
        self.go.clicked.connect(lambda: self._open(report.target))

    def _open(self, path: Path) -> None:
        self._next = path
        self.close()

    def _end(self) -> None:
        if self._next is not None:
            self.shell.open(self._next)
        elif self._session.database.is_closed and not self._session.is_closing:
            self.shell.open(self._session.path)


def _salvage_task(database: Any, target: Path) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.recovery.saving import salvage_open_task

    return salvage_open_task(database, target)
