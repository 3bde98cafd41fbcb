"""The part of a dialog that asks for the key file that a backup is encrypted with."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QWidget

from gui.theme import Space
from gui.widgets import button, column, label, row


class KeyFileChoice(QWidget):
    """Whether to encrypt, and with which file; a file that is not there is made. Reads nothing itself."""

    changed = Signal()

    def __init__(self, suggested: Path) -> None:
        super().__init__()
        self.encrypts = QCheckBox(self.tr("Encrypt it with a key file"))
        self.file = QLineEdit(str(suggested))
        self.file.setAccessibleName(self.tr("Key file"))
        browse = button(self.tr("Choose…"), self._browse)
        words = self.tr(
            "Whoever has this file can read the backup; without it nobody can, Holdfast neither. It is made "
            "where it is not there: keep a copy of it away from the database and from the backups."
        )
        self._more = QWidget()
        self._more.setLayout(column(row(self.file, browse, gap=Space.M), label(words, "caption", wrap=True)))
        self._more.hide()
        inner = column(self.encrypts, self._more, gap=Space.S)
        self.setLayout(inner)
        self.encrypts.toggled.connect(self._more.setVisible)
        self.encrypts.toggled.connect(lambda _on: self.changed.emit())
        self.file.textChanged.connect(lambda _text: self.changed.emit())

    def path(self) -> Path | None:
        """The key file; None where the backup is not to be encrypted here."""
        text = self.file.text().strip()
        return Path(text).expanduser() if self.encrypts.isChecked() and text else None

    def _browse(self) -> None:
        dialog = QFileDialog(self, self.tr("Key file"), self.file.text())
        dialog.setFileMode(QFileDialog.FileMode.AnyFile)
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.fileSelected.connect(self.file.setText)
        dialog.open()
