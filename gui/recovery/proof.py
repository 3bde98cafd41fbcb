"""The last part of the guide: what was done, what was checked, and what was lost, if anything."""

from __future__ import annotations

from enum import Enum, auto

from PySide6.QtWidgets import QWidget

from engine.recovery.ledger import checks, losses
from engine.recovery.report import RecoveryReport
from engine.types import Outcome
from gui.recovery.words import measured_words, outcome_text, rehearsal_text, step
from gui.theme import Space, Tone
from gui.widgets import Card, StatTile, Stepper, button, column, formats, label, row
from gui.widgets.banner import Banner
from gui.widgets.basics import clear

_CONSISTENCY = 9
_SHOWN_LOSERS = 20


class ProofOf(Enum):
    """What it is that the proof is of."""

    RECOVERED = auto()
    REHEARSED = auto()
    PREPARED = auto()
    """Recovered beside the database, not yet in its place."""
    SHOWN = auto()
    """Open, read-only, from a copy."""
    RESTORED = auto()
    """A backup in a new database, rolled forward."""


class Proof(QWidget):
    """Shows a recovery that has ended well; `export` is the button that saves the ledger."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.report: RecoveryReport | None = None
        self._banner = Banner()
        self._redo = StatTile(self.tr("Applied again"))
        self._undo = StatTile(self.tr("Undone"))
        self._checked = StatTile(self.tr("Checked afterwards"))
        self._time = StatTile(self.tr("Time"))
        self._ledger = Card(self.tr("Loss ledger"))
        self._losses = column(gap=Space.S)
        self.export = button(self.tr("Export…"), None, "quiet", "export")
        self._ledger.head.addWidget(self.export)
        self._ledger.add(self._losses)
        self._proved = Card(self.tr("Checks passed"))
        self._checks = column(gap=Space.S)
        self._proved.add(self._checks)
        self.stepper = Stepper()
        stages = Card(self.tr("Twelve stages"))
        self._measured = label("", "caption", wrap=True)
        stages.add(self.stepper, self._measured, None)
        tiles = row(self._redo, self._undo, self._checked, self._time, gap=Space.M)
        left = column(self._ledger, self._proved, None, gap=Space.M)
        lower = row(gap=Space.M)
        lower.addLayout(left, 2)
        lower.addWidget(stages, 3)
        whole = column(self._banner, tiles, gap=Space.M)
        whole.addLayout(lower, 1)
        self.setLayout(whole)

    def show_report(self, report: RecoveryReport, of: ProofOf = ProofOf.RECOVERED) -> None:
        """Fill in the figures of a recovery."""
        self.report = report
        self._say(report, of)
        redo, undo = report.redo, report.undo
        self._redo.show_value(
            formats.count(redo.get("applied", 0)),
            self.tr("changes on {n} pages").format(n=formats.count(redo.get("pages", 0))),
        )
        self._undo.show_value(
            formats.count(undo.get("transactions", 0)),
            self.tr("unfinished, {n} changes").format(n=formats.count(undo.get("records", 0))),
        )
        check = report.stages[_CONSISTENCY - 1].metrics
        self._checked.show_value(
            formats.count(check.get("pages", 0)),
            self.tr("pages, {n} records").format(n=formats.count(check.get("records", 0))),
            Tone.GOOD,
        )
        seconds = float(redo.get("seconds") or 0)
        speed = formats.rate(float(redo.get("bytes", 0)) / seconds, "bytes") if seconds > 0 else ""
        took = report.seconds or sum(stage.seconds for stage in report.stages)
        self._time.show_value(
            formats.duration(took), self.tr("redo at {speed}").format(speed=speed) if speed else ""
        )
        self.stepper.set_steps([step(stage) for stage in report.stages])
        self._measured.setText(measured_words(report))
        self._show_losses(report)

    def title(self) -> str:
        return self._banner.title()

    def _say(self, report: RecoveryReport, of: ProofOf) -> None:
        warned = report.outcome is Outcome.WARNINGS
        lost = bool(report.lost)
        if of is ProofOf.REHEARSED:
            title = (
                self.tr("Rehearsed: it works, and loses what is listed")
                if lost
                else self.tr("Rehearsed: it works, and loses nothing")
            )
            words = rehearsal_text(report)
        elif of is ProofOf.PREPARED:
            title = self.tr("Recovered beside the database; nothing is in its place yet")
            words = self.tr("Put it in place, or roll it back: every byte is then as it was.")
        elif of is ProofOf.RESTORED:
            title = self.tr("Restored into a new database, and rolled forward")
            words = self.tr("{did} The damaged database is as it was.").format(did=outcome_text(report))
        elif of is ProofOf.SHOWN:
            title = self.tr("Open read-only, from a copy")
            words = self.tr(
                "What can be recovered is shown; the database itself is as it was, and still needs recovery."
            )
        else:
            whole = self.tr("Recovered: your data is complete")
            title = self.tr("Recovered; what is listed was lost") if lost else whole
            if warned and not lost:
                title = self.tr("Recovered, with warnings")
            words = outcome_text(report)
        tone = Tone.WARN if warned or lost else Tone.GOOD
        self._banner.say(tone, title, "\n".join([words, *report.warnings]))

    def _show_losses(self, report: RecoveryReport) -> None:
        clear(self._losses)
        found = losses(report)
        if not found:
            self._losses.addWidget(
                label(self.tr("Nothing that was committed was lost."), tone=Tone.GOOD, wrap=True)
            )
        for loss in found:
            self._losses.addWidget(label(loss, tone=Tone.WARN, wrap=True))
        losers = report.analysis.get("losers") or ()
        for loser in list(losers)[:_SHOWN_LOSERS]:
            words = self.tr("Transaction {txn} had not been committed: {n} changes undone.")
            text = words.format(txn=loser.get("txn"), n=formats.count(loser.get("changes", 0)))
            self._losses.addWidget(label(text, "muted", wrap=True))
        if len(losers) > _SHOWN_LOSERS:
            text = self.tr("and {n} more").format(n=formats.count(len(losers) - _SHOWN_LOSERS))
            self._losses.addWidget(label(text, "muted", wrap=True))
        clear(self._checks)
        for check in checks(report):
            self._checks.addWidget(label(check, "muted", wrap=True))
