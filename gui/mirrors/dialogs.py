"""The dialog that adds a mirror."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QDialog, QFileDialog, QLineEdit, QWidget

from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.theme import Space
from gui.widgets import CommandLine, button, column, label, row


class AddMirrorDialog(QDialog):
    """Where the mirror goes, and whether commits wait for it."""

    added = Signal()

    def __init__(self, session: EngineSession, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Add a mirror"))
        self.resize(620, 320)
        self._session = session
        self.errors = ErrorSlot(lambda action: action in ("retry", "choose_another"))
        self.errors.action_requested.connect(self._act)
        self.place = QLineEdit()
        self.place.setAccessibleName(self.tr("Directory of the mirror"))
        self.place.textChanged.connect(lambda _text: self._say())
        self.waits = QCheckBox(self.tr("Commits wait until the mirror has them"))
        self.waits.toggled.connect(lambda _on: self._say())
        self._cost = label("", "caption", wrap=True)
        self.command = CommandLine()
        self.go = button(self.tr("Add the mirror"), self.add, "primary", "plus")
        self.go.setDefault(True)
        words = self.tr(
            "A second directory that is kept up to date, and can take over when this disk fails. Put it "
            "on another disk or a share; it is copied while you work."
        )
        place = row(label(self.tr("Directory"), "caption"), self.place, gap=Space.M)
        place.addWidget(button(self.tr("Choose…"), self.browse))
        whole = column(label(self.tr("Add a mirror"), "title"), label(words, "muted", wrap=True), self.errors)
        whole.addLayout(place)
        for part in (self.waits, self._cost):
            whole.addWidget(part)
        whole.addStretch(1)
        whole.addWidget(self.command)
        whole.addLayout(row(None, button(self.tr("Close"), self.close), self.go))
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        self.setLayout(whole)
        self.place.setText(str(session.path.with_name(f"{session.path.stem} mirror.holdfast")))

    def _say(self) -> None:
        if self.waits.isChecked():
            cost = self.tr(
                "Nothing is lost while the mirror answers; each commit takes as long as the slower of the "
                "two disks. A mirror that does not answer in time is gone on without, unless the settings "
                "say otherwise."
            )
        else:
            cost = self.tr(
                "Commits do not wait. What the mirror had not received yet is lost if this disk fails: "
                "usually a fraction of a second."
            )
        self._cost.setText(cost)
        self.go.setEnabled(bool(self.place.text().strip()))
        more = ["--synchronous"] if self.waits.isChecked() else []
        self.command.show_command("mirror", self._session.path, "add", self.place.text().strip(), *more)

    def browse(self) -> None:
        dialog = QFileDialog(self, self.windowTitle(), str(self._session.path.parent))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Use this folder"))
        dialog.fileSelected.connect(self.place.setText)
        dialog.open()

    def add(self) -> None:
        """Begin to keep the mirror; its copy goes on in the background."""
        self.errors.clear()
        self.go.setEnabled(False)
        path, waits = Path(self.place.text().strip()), self.waits.isChecked()
        answer = self._session.run(lambda db: db.mirrors.add(path, synchronous=waits), self, channel="files")
        answer.done(self._has_added).failed(self._has_failed)

    def _has_added(self, _info: object) -> None:
        self.added.emit()
        self.close()

    def _has_failed(self, error: BaseException) -> None:
        self.go.setEnabled(True)
        self.errors.show_error(error, self.windowTitle())

    def _act(self, action: str) -> None:
        self.errors.clear()
        if action == "retry":
            self.add()
        else:
            self.browse()
