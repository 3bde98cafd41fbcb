"""The newest entries of the log, when asked for. Never stored values."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from gui.page import Shell
from gui.tasks import EngineSession
from gui.widgets import Card, button, formats

_SHOWN = 200
_TAIL_BYTES = 64 * 1024
_NOWHERE = QModelIndex()

Index = QModelIndex | QPersistentModelIndex


class EntriesModel(QAbstractTableModel):
    """Log entries, newest first."""

    LSN, TXN, OPERATION, TREE, SIZE = range(5)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._entries: list[dict[str, Any]] = []
        tr = self.tr
        self._heads = (tr("LSN"), tr("Transaction"), tr("Operation"), tr("Tree"), tr("Size"))

    def show_entries(self, entries: list[dict[str, Any]]) -> None:
        self.beginResetModel()
        self._entries = entries
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._entries)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._heads)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self._heads[section]
        return self._side(section) if role == Qt.ItemDataRole.TextAlignmentRole else None

    def _side(self, place: int) -> Qt.AlignmentFlag:
        is_figure = place in (self.LSN, self.TXN, self.SIZE)
        side = Qt.AlignmentFlag.AlignRight if is_figure else Qt.AlignmentFlag.AlignLeft
        return side | Qt.AlignmentFlag.AlignVCenter

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        entry, place = self._entries[index.row()], index.column()
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._side(place)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return (
            formats.count(entry["lsn"]),
            str(entry["txn"] or ""),
            _in_words(str(entry["op"])),
            str(entry["tree"] if entry["tree"] is not None else ""),
            formats.size(entry["bytes"]),
        )[place]


_WIDTHS = {
    EntriesModel.LSN: 100,
    EntriesModel.TXN: 96,
    EntriesModel.OPERATION: 138,
    EntriesModel.SIZE: 64,
}


class EntriesCard(Card):
    """The end of the log as a list."""

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Newest entries"), parent=parent)
        self._shell = shell
        self._session: EngineSession | None = None
        self.model = EntriesModel(self)
        self._view = QTableView()
        self._view.setModel(self.model)
        self._view.setProperty("flat", True)
        self._view.setShowGrid(False)
        self._view.setAlternatingRowColors(True)
        self._view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._view.verticalHeader().hide()
        self._view.verticalHeader().setDefaultSectionSize(26)
        self._view.setWordWrap(False)
        self._view.setTabKeyNavigation(False)
        # Not as wide as what is in them: that asks for every cell of every line, each time it is laid out.
        header = self._view.horizontalHeader()
        for place, width in _WIDTHS.items():
            self._view.setColumnWidth(place, width)
        header.setSectionResizeMode(EntriesModel.TREE, QHeaderView.ResizeMode.Stretch)
        self._view.setAccessibleName(self.tr("Newest entries of the log"))
        self.add(self._view)
        again = button(self.tr("Read again"), lambda: self.refresh(self._session), "quiet", "refresh")
        self.head.addWidget(again)

    def refresh(self, session: EngineSession | None) -> None:
        """Read the end of the log again."""
        self._session = session
        if session is None:
            return
        answer = session.run(_tail, self, channel="log")
        answer.done(self._show)
        answer.failed(lambda error: self._shell.show_error(error, self.tr("read the log")))

    def _show(self, entries: list[dict[str, Any]]) -> None:
        self.model.show_entries(entries)
        self.hint.setText(self.tr("the last {n}, newest first").format(n=len(entries)))


def _in_words(operation: str) -> str:
    """ "CheckpointEnd" as "Checkpoint end"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", operation)
    return spaced[:1].upper() + spaced[1:].lower()


def _tail(database: Any) -> list[dict[str, Any]]:
    """The last entries, newest first. Reading starts some way before the end of the log."""
    log = database.status().log
    start = max(log.truncation_lsn, log.last_lsn - _TAIL_BYTES)
    entries = database.store.read_log(start, 20 * _SHOWN)
    return list(reversed(entries[-_SHOWN:]))
