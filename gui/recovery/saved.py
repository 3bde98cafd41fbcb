"""What a salvage has put into a new database, tree by tree, and what it could not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.theme import Space, Tone
from gui.widgets import Card, column, formats, label, row
from gui.widgets.banner import Banner
from gui.widgets.basics import clear

if TYPE_CHECKING:
    from engine.recovery.fallbacks import SalvageReport


class Saved(QWidget):
    """Shows a `SalvageReport`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.report: SalvageReport | None = None
        self.banner = Banner()
        self._model = RecordModel(
            (
                Field(self.tr("Name"), lambda tree: tree.name),
                Field(self.tr("Kind"), lambda t: self.tr("table") if t.is_table else self.tr("tree")),
                Field(self.tr("Records"), lambda tree: formats.count(tree.records), True),
                Field(
                    self.tr("Missing stretches"),
                    lambda tree: formats.count(tree.gaps),
                    True,
                    tone=lambda tree: Tone.WARN if tree.gaps else None,
                ),
            ),
            lambda tree: tree.name,
            limit=1000,
            parent=self,
        )
        saved = Card(self.tr("Saved"))
        saved.body.addWidget(RecordView(self._model, self.tr("Saved"), (180, 80, 110)), 1)
        self._lost = Card(self.tr("Loss ledger"))
        self._losses = column(gap=Space.S)
        self._lost.add(self._losses, None)
        lower = row(gap=Space.M)
        lower.addWidget(self._lost, 2)
        lower.addWidget(saved, 3)
        whole = column(self.banner, gap=Space.M)
        whole.addLayout(lower, 1)
        self.setLayout(whole)

    def show_report(self, report: SalvageReport) -> None:
        """Fill in what a salvage has done."""
        self.report = report
        records = formats.count(sum(tree.records for tree in report.trees))
        words = self.tr("{n} records are in {name}. The damaged database is as it was.").format(
            n=records, name=report.target.name
        )
        if report.is_complete:
            self.banner.say(Tone.GOOD, self.tr("Everything could be read and saved"), words)
        else:
            self.banner.say(Tone.WARN, self.tr("What can be read is saved"), words)
        self._model.show(report.trees)
        clear(self._losses)
        for loss in report.losses:
            self._losses.addWidget(label(loss, tone=Tone.WARN, wrap=True))
        if not report.losses:
            self._losses.addWidget(
                label(self.tr("Nothing is known to be missing."), tone=Tone.GOOD, wrap=True)
            )
