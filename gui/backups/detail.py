"""One backup: its four steps with their dates, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from gui.backups.words import proof_steps, proof_tone, proof_word, rows_words
from gui.theme import Space, Tone
from gui.widgets import Card, ElidedLabel, Pill, Stepper, button, formats, label, row, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup


class BackupDetail(Card):
    """Shows the chosen backup; each button asks by a signal."""

    verify_asked = Signal()
    rehearse_asked = Signal()
    restore_asked = Signal()
    reveal_asked = Signal()
    remove_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Backup"), parent=parent)
        self._pill = Pill()
        self.head.addWidget(self._pill)
        self.steps = Stepper()
        self._rows = label("", "caption", wrap=True)
        self.words = label("", "", wrap=True)
        self._path = ElidedLabel("", "mono")
        self.verify = button(self.tr("Verify"), self.verify_asked.emit, "", "check")
        self.rehearse = button(self.tr("Rehearse"), self.rehearse_asked.emit, "", "play")
        self.restore = button(self.tr("Restore…"), self.restore_asked.emit, "", "undo")
        self.reveal = button(self.tr("Show folder"), self.reveal_asked.emit, "quiet", "folder")
        self.remove = button(self.tr("Remove…"), self.remove_asked.emit, "quiet", "trash")
        for made, tip in (
            (self.verify, self.tr("Compare every file with its checksum")),
            (self.rehearse, self.tr("Restore it into a scratch folder, check that, count its rows")),
            (self.restore, self.tr("Restore it into a new database")),
        ):
            made.setToolTip(tip)
        # Buttons stand above what differs in length, so that they stay where they are.
        self.add(self.steps, Space.XS, row(self.verify, self.rehearse, self.restore, None))
        self.add(row(self.reveal, self.remove, None), self._rows, self.words, self._path, None)
        self.body.setSpacing(Space.S)
        self.show_backup(None)

    def buttons(self) -> tuple[QWidget, ...]:
        return (self.verify, self.rehearse, self.restore, self.reveal, self.remove)

    def show_backup(self, kept: KeptBackup | None) -> None:
        """Show one; None where none is chosen."""
        for made in self.buttons():
            made.setEnabled(kept is not None)
        self._pill.setVisible(kept is not None)
        if kept is None:
            self.hint.setText(self.tr("choose one"))
            self.steps.set_steps([])
            for words in (self._rows, self.words, self._path):
                words.hide()
            return
        self.hint.setText(formats.moment(kept.info.taken_at))
        self._pill.show_state(proof_word(kept), proof_tone(kept))
        self.steps.set_steps(proof_steps(kept))
        self._show_rows(kept)
        self._show_words(kept)
        self._path.setText(kept.info.path)
        self._path.show()

    def _show_rows(self, kept: KeptBackup) -> None:
        noted = kept.noted
        if noted is None:
            text = self.tr("Nobody noted how many rows there were when it was taken.")
        else:
            text = self.tr("When it was taken: {rows}.").format(rows=rows_words(noted))
            if kept.parent:
                text = self.tr("An increment of {parent}.").format(parent=kept.parent) + " " + text
            if not noted.is_exact:
                text += " " + self.tr("Others were at work meanwhile.")
        self._rows.setText(text)
        self._rows.show()

    def _show_words(self, kept: KeptBackup) -> None:
        setback = kept.setback
        text = kept.note if setback is None else setback.message
        self.words.setText(text)
        self.words.setVisible(bool(text))
        set_look(self.words, tone=str(Tone.WARN if setback is None else Tone.BAD))
