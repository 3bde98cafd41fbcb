"""The first part of the guide: what was found, and what a recovery would do."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from engine.recovery.report import RecoveryPlan
from engine.types import Indicator
from gui.models.record_view import RecordView
from gui.models.records import RecordModel
from gui.recovery.losers import loser_fields
from gui.recovery.words import end_text, reassurance
from gui.theme import Space, Tone, pixmap
from gui.widgets import Card, StatTile, column, formats, label, row, set_look
from gui.widgets.basics import clear


class Evidence(QWidget):
    """Indicators at the left; at the right the plan, as soon as the log was read."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._found = Card(self.tr("What was found"))
        self._list = column(gap=Space.M)
        self._found.add(self._list, None)
        self._planned = Card(self.tr("What will be done"))
        self._indicators: tuple[Indicator, ...] = ()
        self._words = label("", wrap=True)
        self._log = StatTile(self.tr("Log to read"))
        self._records = StatTile(self.tr("Log records"))
        self._kept = StatTile(self.tr("Committed, applied again"))
        self._undone = StatTile(self.tr("Unfinished, undone"))
        self._tiles = (self._log, self._records, self._kept, self._undone)
        self._losers = RecordModel(loser_fields(self), lambda loser: loser["txn"], parent=self)
        self._loser_view = RecordView(self._losers, self.tr("Unfinished transactions"), (170, 170, 120))
        self._end = label("", "caption", wrap=True)
        self._planned.add(
            self._words,
            row(self._log, self._records, gap=Space.M),
            row(self._kept, self._undone, gap=Space.M),
            self._end,
        )
        self._planned.body.addWidget(self._loser_view, 1)
        self._planned.body.addStretch()
        line = row(gap=Space.M)
        line.addWidget(self._found, 2)
        line.addWidget(self._planned, 3)
        self.setLayout(line)
        self._found.hide()
        self.show_reading()

    def show_indicators(self, indicators: Sequence[Indicator]) -> None:
        """List the signs, each by name."""
        if tuple(indicators) == self._indicators:
            return
        self._indicators = tuple(indicators)
        self._found.setVisible(bool(indicators))
        clear(self._list)
        for indicator in indicators:
            self._list.addWidget(self._sign(indicator))

    def _sign(self, indicator: Indicator) -> QWidget:
        made = QWidget()
        picture = QLabel()
        picture.setPixmap(pixmap("warning", 18, Tone.WARN, self.devicePixelRatioF()))
        picture.setAlignment(Qt.AlignmentFlag.AlignTop)
        words = column(label(indicator.title, "strong"), label(indicator.detail, "muted", wrap=True), gap=2)
        line = row(picture, gap=Space.M)
        line.addLayout(words, 1)
        made.setLayout(line)
        return made

    def show_reading(self) -> None:
        """The log is being read; the plan comes later."""
        self._planned.title.setText(self.tr("What will be done"))
        self._words.setText(
            self.tr("Reading the log to see what has to be done. Nothing is changed by this.")
        )
        set_look(self._words, role="muted")
        for tile in self._tiles:
            tile.show_value("–", "")
            tile.show()
        self._loser_view.hide()
        self._end.hide()

    def show_unplanned(self, words: str) -> None:
        """The log could not be read to its end beforehand; `words` say what that means for the data."""
        self._planned.title.setText(self.tr("What this means"))
        self._words.setText(words)
        set_look(self._words, role="strong")
        for tile in self._tiles:
            tile.hide()

    def show_plan(self, plan: RecoveryPlan) -> None:
        """Show the figures of the plan and the unfinished transactions by name."""
        self._words.setText(reassurance(plan))
        set_look(self._words, role="strong")
        self._log.show_value(
            formats.size(plan.bytes),
            self.tr("in one segment")
            if plan.segments == 1
            else self.tr("in {n} segments").format(n=formats.count(plan.segments)),
        )
        self._records.show_value(
            formats.count(plan.records),
            self.tr("touching {n} pages").format(n=formats.count(plan.dirty_pages)),
        )
        self._kept.show_value(formats.count(plan.committed), self.tr("transactions after the checkpoint"))
        losers = len(plan.losers)
        self._undone.show_value(
            formats.count(losers),
            self.tr("transaction") if losers == 1 else self.tr("transactions"),
            Tone.WARN if losers else Tone.GOOD,
        )
        self._losers.show(list(plan.losers))
        self._loser_view.setVisible(bool(losers))
        self._end.setText(
            self.tr(
                "From LSN {start} (checkpoint at {checkpoint}) to LSN {end}, where the log ends: {reason}."
            ).format(
                start=formats.count(plan.start_lsn),
                checkpoint=formats.count(plan.checkpoint_lsn),
                end=formats.count(plan.end_lsn),
                reason=end_text(plan.end_reason),
            )
        )
        self._end.show()
