"""The dialog that restores a snapshot: into a new database, or, chosen on purpose, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QRadioButton, QWidget

from engine.errors import Cancelled
from gui.backups.dialogs import WorkDialog
from gui.backups.restore_dialog import RowLine, difference_fields
from gui.models.record_view import RecordView
from gui.models.records import RecordModel
from gui.page import Shell
from gui.tasks import EngineSession
from gui.theme import Tone
from gui.widgets import formats, label

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.snapshots.types import Restored, SnapshotInfo


class SnapshotRestoreDialog(WorkDialog):
    """Shows what will be there before anything is written."""

    def __init__(
        self, shell: Shell, session: EngineSession, info: SnapshotInfo, parent: QWidget | None = None
    ) -> None:
        self._session, self._info = session, info
        title = session.tr("Restore {name}").format(name=info.name)
        super().__init__(shell, title, session.tr("New database"), parent)
        self.resize(720, 560)
        self.words.setText(
            self.tr("As it was on {moment}, {ago}.").format(
                moment=formats.moment(info.taken_at), ago=formats.ago(info.taken_at)
            )
        )
        self.beside = QRadioButton(self.tr("Into a new database; this one is not touched"))
        self.in_place = QRadioButton(
            self.tr("Bring this database back, in place; a snapshot of now is taken first")
        )
        self.beside.setChecked(True)
        self.beside.toggled.connect(lambda _on: self.changed.emit())
        self.rows = RecordModel(
            difference_fields(with_now=True), lambda line: line[0], limit=1000, parent=self
        )
        self.list = RecordView(self.rows, self.tr("Tables of the snapshot"), (280, 110, 110))
        self.list.setMinimumHeight(150)
        self.list.hide()
        self.looking = label(self.tr("Looking at what is in it…"), "caption")
        for part in (self.beside, self.in_place, self.looking, self.list):
            self.middle.addWidget(part)
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        target = session.path.with_name(f"{session.path.stem} at snapshot.holdfast")
        self.place.setText(str(target))
        self._look()

    def _look(self) -> None:
        name = self._info.name
        answer = self._session.run(lambda db: _rows(db, name), self, channel="files")
        answer.done(self._show_rows).failed(self.has_failed)

    def _show_rows(self, found: tuple[dict[str, int], dict[str, int]]) -> None:
        then, now = found
        names = list(dict.fromkeys((*then, *now)))
        lines: list[RowLine] = [(name, then.get(name), now.get(name)) for name in names]
        self.rows.show(lines)
        self.looking.setVisible(not lines)
        self.looking.setText(self.tr("Neither the snapshot nor the database holds a table."))
        self.list.setVisible(bool(lines))

    def show_state(self) -> None:
        """Say what the button would do."""
        is_beside = self.beside.isChecked()
        self._target.setVisible(is_beside)
        if is_beside:
            path = self.path()
            self.go.setText(self.tr("Restore into {name}").format(name=path.name))
            self.go.setEnabled(bool(self.place.text().strip()))
            self.command.show_command("snapshot", self._session.path, "restore", self._info.name, path)
        else:
            self.go.setText(self.tr("Close {name} and bring it back").format(name=self._session.name))
            self.go.setEnabled(True)
            self.command.show_command("snapshot", self._session.path, "revert", self._info.name)

    def start(self) -> None:
        """Do what is chosen."""
        name, path, is_beside = self._info.name, self.path(), self.beside.isChecked()
        for choice in (self.beside, self.in_place):
            choice.setEnabled(False)
        if is_beside:
            answer = self._session.run(
                lambda db: db.snapshots.restore_task(name, path), self, channel="files"
            )
            answer.done(lambda task: self.follow(task, self._show_proof))
        else:
            answer = self._session.run(lambda db: _revert_task(db, name), self, channel="files")
            answer.done(lambda task: self.follow(task, self._has_reverted))
        answer.failed(self.has_failed)

    def has_failed(self, error: BaseException) -> None:
        super().has_failed(error)
        for choice in (self.beside, self.in_place):
            choice.setEnabled(True)
        if self._session.database.is_closed and not self._session.is_closing:
            # It was what it is now before, and is opened again as it is.
            self.accept()
            if not isinstance(error, Cancelled):
                self.shell.show_error(error, self.windowTitle())
            self.shell.open(self._session.path)

    def _show_proof(self, restored: Restored) -> None:
        self.has_succeeded()
        for part in (self.beside, self.in_place):
            part.hide()
        self.banner.say(
            Tone.GOOD,
            self.tr("Restored, every page checked"),
            self.tr("{size} were written to {path}. It is closed, and opens without a recovery.").format(
                size=formats.size(restored.bytes), path=restored.path
            ),
        )
        self.offer_to_open(restored.path)

    def _has_reverted(self, done: Any) -> None:
        self.accept()
        self.shell.tell(
            self.tr("Back at {name}; what was before is the snapshot {before}").format(
                name=done.snapshot, before=done.before
            )
        )
        self.shell.open(self._session.path)


def _rows(database: Any, name: str) -> tuple[dict[str, int], dict[str, int]]:
    now = {table.name: table.rows for table in database.tables.list()}
    return database.snapshots.rows_task(name).run(), now


def _revert_task(database: Any, name: str) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.snapshots.reverting import revert_task

    return revert_task(database, name)
