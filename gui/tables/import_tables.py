"""The part of the import dialog for a file with many tables: which of them, under which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from gui.theme import icon
from gui.widgets import button, column, formats, label, row

if TYPE_CHECKING:
    from engine.data.importing import ImportPlan, TablePlan

SOURCE, TARGET, ROWS, COLUMNS, INDEXES = range(5)
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class TablesImportForm(QWidget):
    """Tick what is wanted; type another name where one is taken."""

    plan_changed = Signal()

    def __init__(self, plan: ImportPlan, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plan = plan
        self._tree = QTreeWidget()
        self._tree.setAccessibleName(self.tr("Tables of the file"))
        self._tree.setHeaderLabels(
            [
                self.tr("Table"),
                self.tr("New name"),
                self.tr("Rows"),
                self.tr("Columns"),
                self.tr("Indexes"),
            ]
        )
        self._items = [self._add(table) for table in plan.tables]
        for place in (ROWS, COLUMNS, INDEXES):
            self._tree.headerItem().setTextAlignment(place, _RIGHT)
        header = self._tree.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(False)
        for place, width in enumerate((260, 220, 100, 90, 90)):
            header.resizeSection(place, width)
        header.setSectionResizeMode(TARGET, QHeaderView.ResizeMode.Stretch)
        self._tree.itemChanged.connect(self._take)
        self._tree.itemDoubleClicked.connect(self._edit)
        self._count = label("", "caption")
        everything = button(self.tr("All"), lambda: self._tick(True), "quiet")
        nothing = button(self.tr("None"), lambda: self._tick(False), "quiet")
        layout = column(row(self._count, None, everything, nothing))
        layout.addWidget(self._tree, 1)
        if plan.without:
            words = self.tr("Not carried over: {what}").format(what=", ".join(plan.without))
            layout.addWidget(label(words, "caption", wrap=True))
        self.setLayout(layout)
        self._say_count()

    def _add(self, table: TablePlan) -> QTreeWidgetItem:
        rows = "" if table.rows is None else formats.count(table.rows)
        item = QTreeWidgetItem(
            [table.source, table.target, rows, str(len(table.columns)), str(len(table.indexes))]
        )
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(SOURCE, Qt.CheckState.Checked if table.include else Qt.CheckState.Unchecked)
        for place in (ROWS, COLUMNS, INDEXES):
            item.setTextAlignment(place, _RIGHT)
        self._tree.addTopLevelItem(item)
        item.setToolTip(SOURCE, ", ".join(f"{c.name} ({c.type})" for c in table.columns))
        for words in table.without:
            note = QTreeWidgetItem([self.tr("not carried over: {what}").format(what=words)])
            note.setIcon(0, icon("info", "text_muted"))
            item.addChild(note)
            note.setFirstColumnSpanned(True)
        return item

    def _edit(self, item: QTreeWidgetItem, place: int) -> None:
        if item.parent() is None and place == TARGET:
            self._tree.editItem(item, place)

    def _take(self, item: QTreeWidgetItem, _place: int) -> None:
        line = self._tree.indexOfTopLevelItem(item)
        if line < 0:
            return
        table = self._plan.tables[line]
        table.include = item.checkState(SOURCE) is Qt.CheckState.Checked
        table.target = item.text(TARGET).strip()
        self._say_count()
        self.plan_changed.emit()

    def _tick(self, wanted: bool) -> None:
        state = Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked
        for item in self._items:
            item.setCheckState(SOURCE, state)

    def _say_count(self) -> None:
        chosen = self._plan.chosen()
        rows = sum(table.rows or 0 for table in chosen)
        self._count.setText(
            self.tr("{chosen} of {all} tables, {rows}. Double-click a new name to change it.").format(
                chosen=len(chosen), all=len(self._plan.tables), rows=formats.rows(rows)
            )
        )
