"""A recovery that failed or was stopped: what is lost, what was taken back, and why it happened."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from engine.errors import HoldfastError
from engine.recovery.report import RecoveryReport
from gui.recovery.words import cause_chain, data_words, is_decided, rollback_words, step
from gui.theme import Space, Tone
from gui.widgets import Card, Stepper, column, label, row
from gui.widgets.banner import Banner
from gui.widgets.basics import clear


class Failure(QWidget):
    """Stands below the error's card, which has the code, the answers and the button."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.banner = Banner()
        self._why = Card(self.tr("Why"))
        self._chain = column(gap=Space.S)
        self._causes: list[str] = []
        self._why.add(self._chain)
        self._back = Card(self.tr("Taken back"))
        self.back_words = label("", wrap=True)
        self._back.add(self.back_words)
        self.stepper = Stepper()
        stages = Card(self.tr("How far it came"))
        stages.add(self.stepper, None)
        left = column(self._back, self._why, None, gap=Space.M)
        lower = row(gap=Space.M)
        lower.addLayout(left, 2)
        lower.addWidget(stages, 3)
        whole = column(self.banner, gap=Space.M)
        whole.addLayout(lower, 1)
        self.setLayout(whole)

    def show_failure(self, error: HoldfastError, report: RecoveryReport) -> None:
        """Show how a rehearsal or a recovery has failed."""
        tone, title, words = data_words(error)
        self.banner.say(tone, title, words)
        clear(self._chain)
        # The error itself stands in its card; this is what lies behind it.
        causes = self._causes = cause_chain(error)[1:]
        for place, text in enumerate(causes):
            if place:
                self._chain.addWidget(label(self.tr("because"), "caption"))
            self._chain.addWidget(label(text, wrap=True))
        self._why.setVisible(bool(causes))
        self._show_stages(error, report)

    def show_rolled_back(self, report: RecoveryReport) -> None:
        """It was stopped, or what was prepared was dropped, because a person wanted so."""
        if is_decided(report):
            title = self.tr("Stopped while it was being put in place")
            words = self.tr("Your data is not lost: all is recovered, and the next opening does the rest.")
        else:
            title = self.tr("Stopped: nothing was changed")
            words = self.tr("The database still needs recovery; it can be begun again at any time.")
        self.banner.say(Tone.GOOD, title, words)
        self._why.hide()
        self._show_stages(None, report)

    def chain(self) -> list[str]:
        """The causes that are shown, the nearest first."""
        return list(self._causes)

    def _show_stages(self, error: HoldfastError | None, report: RecoveryReport) -> None:
        self.back_words.setText(rollback_words(error, report))
        self.stepper.set_steps([step(stage) for stage in report.stages])
