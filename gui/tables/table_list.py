"""The list of tables beside the grid."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QLineEdit, QListWidget, QListWidgetItem, QWidget

from engine.types import TableInfo
from gui.theme import Space, icon
from gui.widgets import column, formats, label, row

SEARCHED_FROM = 8
"""With fewer tables than this there is nothing to search."""


class TableList(QFrame):
    """Names and row counts; typing narrows the list."""

    table_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.setMinimumWidth(170)
        self._title = label(self.tr("Tables"), "strong")
        self._count = label("", "caption")
        self._search = QLineEdit()
        self._search.setProperty("kind", "search")
        self._search.setPlaceholderText(self.tr("Find a table"))
        self._search.setAccessibleName(self.tr("Find a table"))
        self._search.textChanged.connect(self._narrow)
        self._list = QListWidget()
        self._list.setProperty("flat", "true")
        self._list.setAccessibleName(self.tr("Tables"))
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.currentItemChanged.connect(self._choose)
        self.setLayout(
            column(row(self._title, None, self._count), self._search, self._list, margin=Space.M, gap=Space.S)
        )

    def show_tables(self, tables: list[TableInfo]) -> None:
        """Show these tables; the chosen one stays chosen where it still exists."""
        kept = self.chosen()
        with QSignalBlocker(self._list):
            self._list.clear()
            for table in sorted(tables, key=lambda table: table.name.casefold()):
                self._list.addItem(self._item(table))
        self._count.setText(formats.count(len(tables)))
        self._search.setVisible(len(tables) >= SEARCHED_FROM)
        self._narrow(self._search.text())
        if not self.choose(kept) and self._list.count():
            self._list.setCurrentRow(0)

    def _item(self, table: TableInfo) -> QListWidgetItem:
        item = QListWidgetItem(icon("tables"), table.name)
        item.setData(Qt.ItemDataRole.UserRole, table.name)
        # No wider than the list, whatever the name: it is shortened there, and whole in the tool tip.
        item.setSizeHint(QSize(1, self._list.fontMetrics().height() + Space.M))
        rows = formats.rows(table.rows)
        columns = ", ".join(column.name for column in table.columns)
        item.setToolTip(f"{table.name} · {rows}\n{columns}")
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{table.name}, {rows}")
        return item

    def chosen(self) -> str:
        item = self._list.currentItem()
        return "" if item is None else str(item.data(Qt.ItemDataRole.UserRole))

    def choose(self, name: str) -> bool:
        """Choose a table by name without saying so; False where there is none."""
        for line in range(self._list.count()):
            if self._list.item(line).data(Qt.ItemDataRole.UserRole) == name:
                with QSignalBlocker(self._list):
                    self._list.setCurrentRow(line)
                return True
        return False

    def focus_list(self) -> None:
        self._list.setFocus()

    def _choose(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.table_chosen.emit(str(item.data(Qt.ItemDataRole.UserRole)))

    def _narrow(self, text: str) -> None:
        for line in range(self._list.count()):
            item = self._list.item(line)
            item.setHidden(text.casefold() not in item.text().casefold())
