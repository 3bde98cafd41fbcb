"""A short list of values as a Qt model: transactions, locks, backups, findings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gui.theme import IconName, Tone, icon, tone_color

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()

RecordRole = Qt.ItemDataRole.UserRole + 1
"""The value that a line stands for."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its title and what it shows of a record."""

    title: str
    text: Callable[[Any], str]
    is_number: bool = False
    tone: Callable[[Any], Tone | None] | None = None
    icon_name: Callable[[Any], IconName] | None = None
    tip: Callable[[Any], str] | None = None


class RecordModel(QAbstractTableModel):
    """Shows at most `limit` records; the rest is counted in `hidden`.

    `show` is cheap where the same records come again with other figures: selection and scroll
    position stay. `key` tells records apart.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        key: Callable[[Any], Hashable],
        limit: int = 200,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._fields = tuple(fields)
        self._key = key
        self._limit = limit
        self._records: list[Any] = []
        self.hidden = 0

    def show(self, records: Sequence[Any]) -> None:
        """Show these records in this order."""
        shown = list(records[: self._limit])
        self.hidden = len(records) - len(shown)
        if [self._key(r) for r in shown] == [self._key(r) for r in self._records]:
            if shown and shown != self._records:
                self._records = shown
                self.dataChanged.emit(self.index(0, 0), self.index(len(shown) - 1, len(self._fields) - 1))
            return
        self.layoutAboutToBeChanged.emit()
        before = self._records
        places = {self._key(record): line for line, record in enumerate(shown)}
        old = self.persistentIndexList()
        self._records = shown
        for index in old:
            line = places.get(self._key(before[index.row()]))
            moved = _NOWHERE if line is None else self.index(line, index.column())
            self.changePersistentIndex(index, moved)
        self.layoutChanged.emit()

    def record(self, line: int) -> Any | None:
        return self._records[line] if 0 <= line < len(self._records) else None

    def line_of(self, key: Hashable) -> int | None:
        """Where the record with this key stands."""
        return next((line for line, record in enumerate(self._records) if self._key(record) == key), None)

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._records)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._fields)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation is Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self._fields[section].title
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._side(self._fields[section])
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        field, record = self._fields[index.column()], self._records[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return field.text(record)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return self._side(field)
        if role == RecordRole:
            return record
        if role == Qt.ItemDataRole.ForegroundRole and field.tone is not None:
            tone = field.tone(record)
            return None if tone is None else QColor(tone_color(tone))
        if role == Qt.ItemDataRole.DecorationRole and field.icon_name is not None:
            tone = field.tone(record) if field.tone is not None else None
            return icon(field.icon_name(record), tone if tone is not None else "text_muted")
        if role == Qt.ItemDataRole.ToolTipRole:
            return field.tip(record) if field.tip is not None else field.text(record)
        return None

    def _side(self, field: Field) -> int:
        side = Qt.AlignmentFlag.AlignRight if field.is_number else Qt.AlignmentFlag.AlignLeft
        return int(side | Qt.AlignmentFlag.AlignVCenter)
