"""A plain list with columns: how every short list of the interface looks."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from gui.models.records import RecordModel, RecordRole

_LAST = 64
"""The least width of the last column, which takes what the others leave."""

_LEAST_NUMBER = 46


class RecordView(QTableView):
    """Shows a `RecordModel`; whole lines are chosen."""

    record_chosen = Signal(object)
    """The record of the current line; None where no line is current."""

    def __init__(self, model: RecordModel, name: str, widths: tuple[int, ...], parent: QWidget | None = None):
        super().__init__(parent)
        self.setModel(model)
        self.setAccessibleName(name)
        self.setProperty("flat", "true")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(30)
        across = self.horizontalHeader()
        across.setHighlightSections(False)
        self.setColumnWidth(model.columnCount() - 1, _LAST)
        for place, width in enumerate(widths):
            self.setColumnWidth(place, width)
        across.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        across.setStretchLastSection(True)
        self.selectionModel().currentChanged.connect(self._tell)

    def fit_numbers(self) -> None:
        """Columns of numbers are as wide as what is in view of them; the first takes what they leave."""
        across = self.horizontalHeader()
        # Only lines in view are measured.
        across.setResizeContentsPrecision(0)
        across.setStretchLastSection(False)
        across.setMinimumSectionSize(_LEAST_NUMBER)
        for place in range(1, self.model().columnCount()):
            across.setSectionResizeMode(place, QHeaderView.ResizeMode.ResizeToContents)
        across.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def current(self) -> Any | None:
        """The record of the current line."""
        index = self.currentIndex()
        return index.data(RecordRole) if index.isValid() else None

    def choose_line(self, line: int | None) -> None:
        """Make a line the current one; None lets go of it."""
        if line is None:
            self.clearSelection()
            self.setCurrentIndex(QModelIndex())
            return
        index = self.model().index(line, 0)
        if index != self.currentIndex():
            self.selectRow(line)
            self.scrollTo(index, QAbstractItemView.ScrollHint.EnsureVisible)

    def _tell(self, current: QModelIndex) -> None:
        self.record_chosen.emit(current.data(RecordRole) if current.isValid() else None)

    def focus_list(self) -> None:
        self.setFocus(Qt.FocusReason.OtherFocusReason)
