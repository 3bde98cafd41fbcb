"""The last part of the guide: what was done, what was checked, and what was lost, if anything."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from engine.recovery.report import RecoveryReport
from engine.types import Outcome
from gui.recovery.words import outcome_text, step
from gui.theme import Space, Tone
from gui.widgets import Card, StatTile, Stepper, column, formats, label, row
from gui.widgets.banner import Banner
from gui.widgets.basics import clear

_CONSISTENCY = 9


class Proof(QWidget):
    """Shows a recovery that has ended well."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._banner = Banner()
        self._redo = StatTile(self.tr("Applied again"))
        self._undo = StatTile(self.tr("Undone"))
        self._checked = StatTile(self.tr("Checked afterwards"))
        self._time = StatTile(self.tr("Time"))
        self._ledger = Card(self.tr("Loss ledger"))
        self._losses = column(gap=Space.S)
        self._ledger.add(self._losses, None)
        self._stepper = Stepper()
        stages = Card(self.tr("Twelve stages"))
        stages.add(self._stepper, None)
        tiles = row(self._redo, self._undo, self._checked, self._time, gap=Space.M)
        lower = row(gap=Space.M)
        lower.addWidget(self._ledger, 2)
        lower.addWidget(stages, 3)
        whole = column(self._banner, tiles, gap=Space.M)
        whole.addLayout(lower, 1)
        self.setLayout(whole)

    def show_report(self, report: RecoveryReport) -> None:
        """Fill in the figures of a recovery."""
        warned = report.outcome is Outcome.WARNINGS
        title = self.tr("Recovered, with warnings") if warned else self.tr("Recovered: your data is complete")
        words = "\n".join([outcome_text(report), *report.warnings])
        self._banner.say(Tone.WARN if warned else Tone.GOOD, title, words)
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
            self.tr("pages, {n} records, all well").format(n=formats.count(check.get("records", 0))),
            Tone.GOOD,
        )
        seconds = float(redo.get("seconds") or 0)
        speed = formats.rate(float(redo.get("bytes", 0)) / seconds, "bytes") if seconds > 0 else ""
        self._time.show_value(
            formats.duration(report.seconds), self.tr("redo at {speed}").format(speed=speed) if speed else ""
        )
        self._stepper.set_steps([step(stage) for stage in report.stages])
        self._show_losses(report)

    def _show_losses(self, report: RecoveryReport) -> None:
        clear(self._losses)
        if not report.lost:
            self._losses.addWidget(
                label(self.tr("Nothing that was committed was lost."), tone=Tone.GOOD, wrap=True)
            )
        for loss in report.lost:
            self._losses.addWidget(label(f"{loss.get('what', '')}: {loss.get('detail', '')}", wrap=True))
        losers = report.analysis.get("losers") or ()
        for loser in list(losers)[:20]:
            words = self.tr("Transaction {txn} had not been committed: {n} changes undone.")
            text = words.format(txn=loser.get("txn"), n=formats.count(loser.get("changes", 0)))
            self._losses.addWidget(label(text, "muted", wrap=True))
        if len(losers) > 20:
            text = self.tr("and {n} more").format(n=formats.count(len(losers) - 20))
            self._losses.addWidget(label(text, "muted", wrap=True))
