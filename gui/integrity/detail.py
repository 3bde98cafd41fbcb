"""One finding in words: where it is, what it touches, what it means, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from engine.errors import by_code
from engine.integrity.findings import Finding, Priority
from gui.integrity.words import (
    PRIORITY_TONES,
    checker_words,
    extent_words,
    keys_words,
    priority_words,
    rows_words,
)
from gui.theme import Space, Tone
from gui.widgets import ConfirmBar, ElidedLabel, Pill, button, column, formats, label, row
from gui.widgets.facts import Facts

if TYPE_CHECKING:
    from engine.integrity.extent import Extent

_LEAST_LINE = 120
"""Pixels."""


class FindingDetail(QFrame):
    """Shows the chosen finding. Its buttons ask; the page does."""

    repair_wanted = Signal(object)
    """The `Finding` to repair."""
    extent_wanted = Signal(object)
    """The `Finding` whose rows and keys are to be told."""
    close_wanted = Signal(object)
    """The `Finding` to close by hand."""
    salvage_wanted = Signal()
    """What can be read is to be saved into a new database."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sunken")
        self.finding: Finding | None = None
        self._title = ElidedLabel("", "section", where=Qt.TextElideMode.ElideRight)
        self._title.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self._priority = Pill()
        self._means = label("", "muted", wrap=True)
        self._facts = self._make_facts()
        for line in self._facts.lines.values():
            # A name without a space in it cannot be wrapped; the page is no wider for it.
            line.setMinimumWidth(_LEAST_LINE)
        self.repair = button(self.tr("Repair…"), self._ask_repair, "primary", "recovery")
        self.extent = button(self.tr("Count the rows"), self._ask_extent, "", "search")
        self.salvage = button(self.tr("Save what can be read…"), self.salvage_wanted.emit, "", "export")
        self.salvage.setToolTip(
            self.tr("Into a new database, where no repair helps; this one stays as it is")
        )
        self._close = button(self.tr("Close by hand"), self._question, "quiet")
        self._confirm = ConfirmBar()
        self._confirm.confirmed.connect(self._agree)
        whole = column(
            row(self._title, self._priority, None, self._close),
            self._means,
            self._facts,
            row(self.repair, self.extent, None),
            row(self.salvage, None),
            self._confirm,
            gap=Space.S,
            margin=(Space.M, Space.M, Space.M, Space.M),
        )
        self.setLayout(whole)
        self.hide()

    def _make_facts(self) -> Facts:
        return Facts(
            {
                "found": self.tr("What was found"),
                "rows": self.tr("Rows out of reach"),
                "keys": self.tr("Keys"),
                "when": self.tr("Found"),
                "outcome": self.tr("Closed"),
            }
        )

    def show_finding(self, finding: Finding | None) -> None:
        """Show a finding; None for none."""
        if finding is None or self.finding is None or finding.id != self.finding.id:
            self._tell("keys", "")
            self._confirm.hide()
        self.finding = finding
        self.setVisible(finding is not None)
        if finding is None:
            return
        where = finding.where
        self._title.setText(where[:1].upper() + where[1:])
        self._priority.show_state(
            f"{finding.priority} · {priority_words(finding.priority)}", PRIORITY_TONES[finding.priority]
        )
        kind = by_code().get(finding.code)
        self._means.setText("" if kind is None else kind().answers.how_serious)
        self._means.setVisible(kind is not None)
        self._tell("found", f"{finding.summary} ({finding.code})")
        self._tell("rows", rows_words(finding) if finding.tree and not finding.is_index else "")
        when = self.tr("{first} by {who}").format(
            first=formats.moment(finding.first_seen), who=checker_words(finding.checker)
        )
        if finding.last_seen - finding.first_seen > 1:
            when += self.tr(", last seen {last}").format(last=formats.moment(finding.last_seen))
        self._tell("when", when)
        closed = finding.closed_at
        self._tell("outcome", "" if closed is None else f"{formats.moment(closed)}: {finding.outcome}")
        self.repair.setVisible(finding.is_open)
        self._close.setVisible(finding.is_open)
        # An index is made again from its table, and what lies nowhere holds no records.
        self.salvage.setVisible(finding.is_open and finding.priority in (Priority.P0, Priority.P1))
        has_rows = finding.tree not in (None, "catalogue") and not finding.is_index
        self.extent.setVisible(finding.is_open and has_rows)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        # Wrapped text is as high as its width makes it, which a column of widgets does not ask.
        self._fit()
        super().resizeEvent(event)

    def _fit(self) -> None:
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))

    def show_extent(self, finding: Finding, extent: Extent | None) -> None:
        """Show which rows a finding keeps from being read."""
        if self.finding is None or finding.id != self.finding.id:
            return
        if extent is None:
            self._tell("keys", self.tr("cannot be told"))
            return
        self._tell("rows", extent_words(extent))
        self._tell("keys", keys_words(extent))
        self._fit()

    @property
    def wants_keys(self) -> bool:
        """Whether the keys that the shown finding keeps out of reach are still to be told."""
        finding = self.finding
        is_told = bool(self._facts.lines["keys"].text())
        return finding is not None and finding.is_open and finding.page is not None and not is_told

    def _tell(self, name: str, words: str) -> None:
        self._facts.lines[name].setText(words)
        for widget in (self._facts.titles[name], self._facts.lines[name]):
            widget.setVisible(bool(words))

    def _ask_repair(self) -> None:
        if self.finding is not None:
            self.repair_wanted.emit(self.finding)

    def _ask_extent(self) -> None:
        if self.finding is not None:
            self.extent_wanted.emit(self.finding)

    def _question(self) -> None:
        self._confirm.ask(
            self.tr("Nothing is repaired by closing it. A check that meets it again opens it anew."),
            self.tr("Close this finding"),
            self.tr("Keep it open"),
            Tone.WARN,
        )
        self._fit()

    def _agree(self) -> None:
        if self.finding is not None:
            self.close_wanted.emit(self.finding)
