"""The recovery that goes on behind an open database: how far it is, until it is over."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QProgressBar, QWidget

from engine.recovery.standing import share_of_step, standing_words
from engine.types import RecoveryStanding
from gui.theme import Space, Tone
from gui.widgets.basics import Pill, column, label, row, set_look

_STEPS = ("redo", "undo", "checkpoint", "log", "check")


class RecoveryBar(QFrame):
    """Hidden where nothing of a recovery is left; where it found damage, it stays and says so."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = label(self.tr("In use while it is recovered"), "strong")
        self._step = Pill("", Tone.WARN)
        self._words = label("", "muted", wrap=True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName(self.tr("Recovery behind the open database"))
        set_look(self, surface="sunken")
        head = row(self._title, self._step, None, gap=Space.S)
        self.setLayout(column(head, self._words, self._bar, margin=Space.M, gap=Space.XS))
        self.hide()

    def show_standing(self, standing: RecoveryStanding | None) -> None:
        """Show one sample; None for a database that was not opened before its recovery was through."""
        is_over = standing is None or (standing.stage == "done" and not standing.problems)
        self.setVisible(not is_over)
        if standing is None or is_over:
            return
        text = standing_words(standing)
        self._words.setText(text[:1].upper() + text[1:] + ".")
        self._step.show_state(*self._state(standing))
        share = share_of_step(standing)
        self._bar.setRange(0, 0 if share is None else 1000)
        self._bar.setValue(round(1000 * (share or 0.0)))
        self._bar.setVisible(standing.stage in _STEPS)

    def words(self) -> str:
        return self._words.text()

    def state(self) -> str:
        return self._step.text()

    def _state(self, standing: RecoveryStanding) -> tuple[str, Tone]:
        names = {
            "redo": self.tr("recovering pages"),
            "undo": self.tr("rolling back"),
            "checkpoint": self.tr("writing a checkpoint"),
            "log": self.tr("validating the log"),
            "check": self.tr("checking"),
        }
        if standing.stage == "stuck":
            return self.tr("pages cannot be recovered"), Tone.BAD
        if standing.stage == "done":
            return self.tr("damage was found: see Integrity"), Tone.BAD
        step = _STEPS.index(standing.stage) + 1
        words = self.tr("step {step} of {steps}: {name}")
        return words.format(step=step, steps=len(_STEPS), name=names[standing.stage]), Tone.WARN
