"""A table of any size as a Qt model: pages come by key when the view looks at them.

The model asks for what `show_rows` says is in view, one short read at a time; a read that the
view has moved away from is stopped. Cells that are not here yet are empty and say so by
`StateRole`. New rows that are staged stand above the stored ones.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    QTimer,
    Signal,
)

from engine.types import TableInfo
from gui.models import cells, paging
from gui.models.row_cache import PAGE_ROWS, Fetched, FetchPlan, Row, RowCache, TableQuery
from gui.models.staged import StagedEdits
from gui.tasks import EngineSession
from gui.theme import icon

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()

ValueRole = Qt.ItemDataRole.UserRole + 1
"""The value itself, as the grid holds it."""
StateRole = Qt.ItemDataRole.UserRole + 2
"""A `CellState`."""


class CellState:
    """What a delegate has to know of a cell beyond its text."""

    STORED = 0
    LOADING = 1
    CHANGED = 2
    NEW = 3
    DELETED = 4


class TableModel(QAbstractTableModel):
    """One table under one query, with the edits that are staged for it."""

    count_changed = Signal(object, bool)
    """How many rows there are (or how many were met so far), and whether that is all."""
    edits_changed = Signal(int)
    """How many edits wait."""
    edit_refused = Signal(str)
    """What was typed does not fit; in words."""
    failed = Signal(object)
    """A read failed with this error."""
    loading_changed = Signal(bool)

    def __init__(self, session: EngineSession, table: TableInfo, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.table = table
        self.query = TableQuery(table.name)
        self.edits = StagedEdits(table)
        self._cache = RowCache()
        self._sides = [_side(column.type) for column in table.columns]
        self._shown_rows = 0
        self._view = (0, PAGE_ROWS - 1)
        self._fetching: FetchPlan | None = None
        self._stop = threading.Event()
        self._generation = 0
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._fetch_next)

    def set_query(self, query: TableQuery) -> None:
        """Show other rows, or the same in another order; staged edits stay."""
        self.query = query
        self.refresh()

    def set_table(self, table: TableInfo) -> None:
        """Take over a newer description of the same table."""
        self.table = table
        self.edits.table = table
        self._sides = [_side(column.type) for column in table.columns]

    def refresh(self) -> None:
        """Read again what is in view."""
        self._abandon_fetch()
        self.beginResetModel()
        self._cache.clear()
        self._shown_rows = 0
        self.endResetModel()
        self.count_changed.emit(0, False)
        self._soon.start()

    def close(self) -> None:
        """Ask for nothing more; answers on their way are dropped."""
        self._abandon_fetch()
        self._soon.stop()

    def show_rows(self, first: int, last: int) -> None:
        """Say which rows are in view; they, and then their neighbours, are fetched."""
        above = self.edits.inserts
        self._view = (max(0, first - above), max(0, last - above))
        if self._fetching is not None and not self._serves_view(self._fetching):
            self._stop.set()
        self._soon.start()

    def take_count(self, query: TableQuery, rows: int) -> None:
        """Take over the number of rows of a bounded query, as it was counted."""
        if query is self.query:
            self._cache.store(Fetched(total=rows))
            self._follow_count()

    @property
    def is_complete(self) -> bool:
        """Whether the number of rows is known."""
        return self._cache.total is not None

    def row_at(self, row: int) -> Row | None:
        """The stored row in a line of the view, if it is here; None for a new row too."""
        return self._cache.row(row - self.edits.inserts) if row >= self.edits.inserts else None

    def _view_pages(self) -> range:
        return range(self._view[0] // PAGE_ROWS, self._view[1] // PAGE_ROWS + 1)

    def _serves_view(self, plan: FetchPlan) -> bool:
        pages = self._view_pages()
        return plan.first < pages.stop + 1 and plan.first + plan.wanted > pages.start - 1

    def _fetch_next(self) -> None:
        if self._fetching is not None:
            return
        pages = self._view_pages()
        missing = self._cache.missing(pages)
        if not missing:
            missing = self._cache.missing((pages.stop, pages.start - 1))
        if not missing:
            return
        wanted = 2 if missing[0] + 1 in missing else 1
        plan = self._cache.plan(missing[0], wanted)
        query, stop = self.query, threading.Event()
        self._fetching, self._stop = plan, stop
        generation = self._generation
        self.loading_changed.emit(True)
        answer = self._session.run(
            lambda database: paging.fetch(database, query, plan, stop.is_set), self, channel="tables"
        )
        answer.done(lambda fetched: self._take(generation, fetched))
        answer.failed(lambda error: self._complain(generation, error))

    def _abandon_fetch(self) -> None:
        self._generation += 1
        self._stop.set()
        self._fetching = None

    def _take(self, generation: int, fetched: Fetched) -> None:
        if generation != self._generation:
            return
        self._fetching = None
        self._cache.store(fetched)
        self._follow_count()
        above = self.edits.inserts
        for page in fetched.pages:
            first = above + page * PAGE_ROWS
            last = min(self.rowCount() - 1, first + PAGE_ROWS - 1)
            if last >= first:
                self.dataChanged.emit(self.index(first, 0), self.index(last, self.columnCount() - 1))
        self.loading_changed.emit(False)
        self._soon.start()

    def _complain(self, generation: int, error: BaseException) -> None:
        if generation != self._generation:
            return
        self._fetching = None
        self.loading_changed.emit(False)
        if isinstance(error, paging.FetchCancelled):
            self._soon.start()
        else:
            self.failed.emit(error)

    def _follow_count(self) -> None:
        """Have the view offer as many rows as the cache now knows of."""
        above, wanted = self.edits.inserts, self._cache.row_count
        if self._cache.total is None and not self._cache.reached:
            wanted = 0
        if wanted > self._shown_rows:
            self.beginInsertRows(_NOWHERE, above + self._shown_rows, above + wanted - 1)
            self._shown_rows = wanted
            self.endInsertRows()
        elif wanted < self._shown_rows:
            self.beginRemoveRows(_NOWHERE, above + wanted, above + self._shown_rows - 1)
            self._shown_rows = wanted
            self.endRemoveRows()
        self.count_changed.emit(self._cache.reached, self.is_complete)

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else self.edits.inserts + self._shown_rows

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.table.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation is Qt.Orientation.Vertical:
            if role != Qt.ItemDataRole.DisplayRole:
                return None
            above = self.edits.inserts
            return self.tr("new") if section < above else f"{section - above + 1:,}"
        column = self.table.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.name
        if role == Qt.ItemDataRole.DecorationRole:
            return icon("key", "accent") if column.primary_key else None
        if role == Qt.ItemDataRole.ToolTipRole:
            parts = [column.declared or column.type]
            parts += [self.tr("primary key")] if column.primary_key else []
            parts += [self.tr("must not be empty")] if column.not_null else []
            return f"{column.name}: {', '.join(parts)}"
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        if role == StateRole:
            return self._state(index.row(), index.column())
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._sides[index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, ValueRole):
            known, value = self._value(index.row(), index.column())
            if not known:
                return None
            if role == ValueRole:
                return value
            return cells.display(value) if role == Qt.ItemDataRole.DisplayRole else cells.edit_text(value)
        return None

    def side(self, column: int) -> int:
        """The alignment of a column: figures stand at the right."""
        return self._sides[column]

    def cell(self, row: int, column: int) -> tuple[int, Any]:
        """State and value of a cell in one question; for the painter, who has hundreds."""
        above = self.edits.inserts
        if row < above:
            return CellState.NEW, self.edits.insert_value(row, column)
        stored = self._cache.row(row - above)
        if stored is None:
            return CellState.LOADING, None
        if not len(self.edits):
            return CellState.STORED, stored.values[column]
        return self._state(row, column), self.edits.value(stored, column)

    def _value(self, row: int, column: int) -> tuple[bool, Any]:
        if row < self.edits.inserts:
            return True, self.edits.insert_value(row, column)
        stored = self.row_at(row)
        return (False, None) if stored is None else (True, self.edits.value(stored, column))

    def line(self, row: int) -> tuple[Any, ...] | None:
        """All values of a line with what is staged for it; None where it was not read."""
        places = range(len(self.table.columns))
        if row < self.edits.inserts:
            return tuple(self.edits.insert_value(row, place) for place in places)
        stored = self.row_at(row)
        return None if stored is None else tuple(self.edits.value(stored, place) for place in places)

    def _state(self, row: int, column: int) -> int:
        if row < self.edits.inserts:
            return CellState.NEW
        stored = self.row_at(row)
        if stored is None:
            return CellState.LOADING
        if self.edits.is_deleted(stored.key):
            return CellState.DELETED
        return CellState.CHANGED if self.edits.is_changed(stored, column) else CellState.STORED

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        if not index.isValid() or self._state(index.row(), index.column()) == CellState.LOADING:
            return flags
        known, value = self._value(index.row(), index.column())
        # What is here only in part, or is not text, is edited in the detail pane.
        if known and not cells.is_cut(value):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Stage what was typed. An empty cell that was NULL stays NULL."""
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        known, now = self._value(index.row(), index.column())
        if not known or (now is None and value == ""):
            return False
        column = self.table.columns[index.column()]
        if value == "" and column.type not in ("text", "any", "blob"):
            value = None
        else:
            try:
                value = cells.parse(str(value), column.type)
            except cells.InvalidValue as error:
                self.edit_refused.emit(str(error))
                return False
        return self.stage_value(index.row(), index.column(), value)

    def stage_value(self, row: int, column: int, value: Any) -> bool:
        """Stage a value of a cell as it is; None is NULL."""
        if value is None and self.table.columns[column].not_null:
            self.edit_refused.emit(self.tr("This column must not be empty."))
            return False
        if row < self.edits.inserts:
            self.edits.set_insert(row, column, value)
        else:
            stored = self.row_at(row)
            if stored is None:
                return False
            self.edits.set_value(stored, column, value)
        self._say_edited([row])
        return True

    def add_row(self) -> int:
        """Begin a new row above the stored ones; returns its line."""
        place = self.edits.inserts
        self.beginInsertRows(_NOWHERE, place, place)
        self.edits.add_row()
        self.endInsertRows()
        self._say_edited([])
        return place

    def are_here(self, rows: Sequence[int]) -> bool:
        """Whether all these lines were read, so that what is done to them is done to all."""
        return all(row < self.edits.inserts or self.row_at(row) is not None for row in rows)

    def toggle_deleted(self, rows: Sequence[int]) -> None:
        """Stage the deletion of these lines, or withdraw it where all of them are staged."""
        new = sorted((row for row in rows if row < self.edits.inserts), reverse=True)
        stored = [found for row in rows if (found := self.row_at(row)) is not None]
        lines = [row for row in rows if row >= self.edits.inserts]
        withdraw = bool(stored) and all(self.edits.is_deleted(row.key) for row in stored)
        for row in stored:
            self.edits.mark_deleted(row, not withdraw)
        for place in new:
            self.beginRemoveRows(_NOWHERE, place, place)
            self.edits.drop_insert(place)
            self.endRemoveRows()
        self._say_edited([line - len(new) for line in lines])

    def discard_edits(self) -> None:
        """Drop everything that is staged."""
        self.beginResetModel()
        self.edits.clear()
        self.endResetModel()
        self._say_edited([])
        self._soon.start()

    def _say_edited(self, rows: Sequence[int]) -> None:
        for row in rows:
            self.dataChanged.emit(self.index(row, 0), self.index(row, self.columnCount() - 1))
        self.edits_changed.emit(len(self.edits))


def _side(column_type: str) -> int:
    is_number = column_type in ("integer", "real")
    side = Qt.AlignmentFlag.AlignRight if is_number else Qt.AlignmentFlag.AlignLeft
    return int(side | Qt.AlignmentFlag.AlignVCenter)
