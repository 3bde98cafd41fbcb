"""The bars below the grid: what to do with staged edits, where there are any; how many rows."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QWidget

from gui.models.staged import Kind, StagedEdits
from gui.theme import Space
from gui.widgets import button, column, formats, label, row


class EditBar(QFrame):
    """Row count, Add and Delete; above them, while edits wait: which, Discard, Review and Commit."""

    count_wanted = Signal()
    add_wanted = Signal()
    delete_wanted = Signal()
    review_wanted = Signal()
    commit_wanted = Signal()
    discard_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._count = label("", "caption")
        self._count_button = button(self.tr("Count"), self.count_wanted.emit, "quiet")
        self._count_button.setToolTip(self.tr("Read all keys that the filter lets through, and count them"))
        self._count_button.hide()
        self._add = button(self.tr("Add row"), self.add_wanted.emit, "quiet", "plus")
        self._delete = button(self.tr("Delete row"), self.delete_wanted.emit, "quiet", "trash")
        self._staged = label("", "strong")
        self._discard = button(self.tr("Discard"), self.discard_wanted.emit)
        self._review = button(self.tr("Review"), self.review_wanted.emit)
        self._commit = button("", self.commit_wanted.emit, "primary", "save")
        self._waiting = QFrame()
        self._waiting.setProperty("surface", "warn")
        sides = (Space.M, Space.S, Space.S, Space.S)
        self._waiting.setLayout(
            row(self._staged, None, self._discard, self._review, self._commit, margin=sides)
        )
        steady = row(self._count, self._count_button, None, self._add, self._delete)
        self.setLayout(column(self._waiting, steady, gap=Space.XS))
        self._writing = False
        self._read_only = False
        self.show_edits(None)

    def show_count(self, rows: int, exact: bool, bounded: bool) -> None:
        """Say how many rows there are; of a filtered view, how many were met so far."""
        if exact:
            text = formats.rows(rows)
        else:
            text = self.tr("at least {rows}").format(rows=formats.rows(rows)) if rows else self.tr("reading…")
        self._count.setText(text)
        self._count_button.setVisible(bounded and not exact and rows > 0)

    def show_edits(self, edits: StagedEdits | None) -> None:
        """Show how many edits wait, and of which kind."""
        total = 0 if edits is None else len(edits)
        self._waiting.setVisible(total > 0)
        if edits is None or not total:
            return
        counts = edits.counts()
        words = {
            Kind.INSERT: self.tr("{n} new"),
            Kind.UPDATE: self.tr("{n} changed"),
            Kind.DELETE: self.tr("{n} deleted"),
        }
        parts = [words[kind].format(n=n) for kind, n in counts.items() if n]
        self._staged.setText(self.tr("Not written yet: {parts}").format(parts=", ".join(parts)))
        self._staged.setAccessibleName(self.tr("Staged edits: {parts}").format(parts=", ".join(parts)))
        self._commit.setText(
            self.tr("Commit {n} edits").format(n=total) if total != 1 else self.tr("Commit 1 edit")
        )

    def show_writing(self, writing: bool) -> None:
        """While a commit is on its way nothing else may be asked of the edits."""
        self._writing = writing
        for widget in (self._discard, self._review, self._commit, self._add, self._delete):
            widget.setEnabled(not writing and not self._read_only)

    def set_read_only(self, read_only: bool) -> None:
        self._read_only = read_only
        self.show_writing(self._writing)
