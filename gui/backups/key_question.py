"""The part of a dialog or page that asks for the key of an encrypted backup that nothing else opens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QFrame, QLineEdit, QWidget

from gui.theme import Space, Tone
from gui.widgets import button, column, label, row, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.keys import BackupKey

PASSPHRASE, KEY_FILE = "passphrase", "key_file"


@dataclass(frozen=True, slots=True)
class GivenKey:
    """What somebody typed in or chose. Nothing of it is written anywhere."""

    kind: str
    text: str = field(repr=False)
    """A passphrase, or the path of a key file."""

    def read(self) -> BackupKey:
        """The key itself, for a worker. Raises `BackupLocked`, `InvalidArgument`."""
        from engine.backups.keys import key_file, passphrase

        return passphrase(self.text) if self.kind == PASSPHRASE else key_file(self.text)


class KeyQuestion(QFrame):
    """Without height until `ask`; keeps what was given for as long as it lives."""

    given = Signal()
    """Somebody gave a key: what has failed can be tried again."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._key: GivenKey | None = None
        self.kind = QComboBox()
        self.kind.setAccessibleName(self.tr("Kind of key"))
        self.kind.addItem(self.tr("Passphrase"), PASSPHRASE)
        self.kind.addItem(self.tr("Key file"), KEY_FILE)
        self.text = QLineEdit()
        self.text.returnPressed.connect(self._give)
        self._browse = button(self.tr("Choose…"), self._choose_file)
        self.use = button(self.tr("Use this key"), self._give)
        # In a dialog Return gives the key, and does not start what waits for it.
        self.use.setAutoDefault(False)
        words = self.tr("It is encrypted. The key is kept in memory only, and forgotten with this window.")
        line = row(self.kind, gap=Space.M)
        line.addWidget(self.text, 1)
        line.addWidget(self._browse)
        line.addWidget(self.use)
        self.setLayout(column(label(words, "caption", wrap=True), line, gap=Space.S, margin=Space.M))
        set_look(self, surface=str(Tone.WARN))
        self.kind.currentIndexChanged.connect(lambda _place: self._show_kind())
        self.text.textChanged.connect(lambda text: self.use.setEnabled(bool(text)))
        self._show_kind()
        self.hide()

    def ask(self, kind: str = "") -> None:
        """Show the question; `kind` is that of the backup, where it is known."""
        self._key = None
        place = self.kind.findData(kind)
        if place >= 0:
            self.kind.setCurrentIndex(place)
        self.show()
        self.text.setFocus()
        self.text.selectAll()

    def key(self) -> GivenKey | None:
        """What was given; None where nothing was, or where it turned out to be wrong."""
        return self._key

    def take(self, key: GivenKey | None) -> None:
        """Use what was given elsewhere; None forgets it."""
        self._key = key
        self.text.clear()
        self.hide()

    def command_words(self) -> tuple[str | Path, ...]:
        """How the command line is told of it: never the passphrase itself."""
        if self._key is None:
            return ()
        is_file = self._key.kind == KEY_FILE
        return ("--key-file", Path(self._key.text)) if is_file else ("--passphrase",)

    def _give(self) -> None:
        text = self.text.text()
        if text:
            self._key = GivenKey(str(self.kind.currentData()), text)
            self.hide()
            self.given.emit()

    def _show_kind(self) -> None:
        is_file = self.kind.currentData() == KEY_FILE
        self.text.clear()
        self.text.setEchoMode(QLineEdit.EchoMode.Normal if is_file else QLineEdit.EchoMode.Password)
        self.text.setAccessibleName(self.kind.currentText())
        self._browse.setVisible(is_file)
        self.use.setEnabled(False)

    def _choose_file(self) -> None:
        dialog = QFileDialog(self, self.tr("Key file"), self.text.text())
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self.text.setText)
        dialog.open()


def key_on(database: Any, source: Path, given: GivenKey | None) -> BackupKey | None:
    """What opens the backups in `source`, for a worker: the key that was given, else what is known.

    `database` is the open one that they are of, or None. Raises `BackupLocked`, `InvalidArgument`.
    """
    from engine.backups.keys import key_of

    key = None if given is None else given.read()
    found: BackupKey | None = (
        key_of(source, key) if database is None else database.backups.key_for(source, key)
    )
    return found


def known_key(database: Any, source: Path, given: GivenKey | None) -> BackupKey | None:
    """As `key_on`; None where what is known cannot be read: somebody is asked then."""
    from engine.errors import BackupLocked

    try:
        return key_on(database, source, given)
    except BackupLocked:
        if given is not None:
            raise
        return None
