"""A window that shows the tables of an open snapshot, for reading only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QDialog, QSplitter, QStackedWidget, QWidget

from engine.types import TableInfo
from gui.page import Shell
from gui.tables.table_list import TableList
from gui.tables.workspace import TableWorkspace
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.theme import Space
from gui.widgets import EmptyState, Pill, column, label, row


class SnapshotWindow(QDialog):
    """Takes over an open snapshot, a `Database`, and closes it with itself."""

    def __init__(self, shell: Shell, database: Any, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("{name} – snapshot, read-only").format(name=name))
        self.setWindowFlag(Qt.WindowType.WindowMaximizeButtonHint)
        self.resize(1080, 680)
        # It lives on after the window until the snapshot is closed.
        self.session = EngineSession(database, Path(database.path), shell)
        self.session.closed.connect(self.session.deleteLater)
        self.errors = ErrorSlot(lambda _action: False)
        self.list = TableList()
        self.workspace = TableWorkspace()
        self.workspace.attach(self.session)
        self.workspace.edit_bar.hide()
        self.workspace.grid.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.workspace.failed.connect(lambda error: self._show_error(error))
        self.list.table_chosen.connect(self._choose)
        self._tables: dict[str, TableInfo] = {}
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.list)
        split.addWidget(self.workspace)
        split.setStretchFactor(1, 1)
        split.setSizes([200, 860])
        split.setProperty("gap", "true")
        split.setHandleWidth(Space.M)
        empty = EmptyState(
            "tables", self.tr("No table in it"), self.tr("At this moment the database held no table.")
        )
        self.stack = QStackedWidget()
        self.stack.addWidget(empty)
        self.stack.addWidget(split)
        head = row(label(name, "title"), Pill(self.tr("read-only")), None, gap=Space.M)
        whole = column(head, self.errors, margin=Space.XL, gap=Space.M)
        whole.addWidget(self.stack, 1)
        self.setLayout(whole)
        shell.theme.dress(self)
        answer = self.session.run(lambda db: db.tables.list(), self, channel="tables")
        answer.done(self._show_tables).failed(self._show_error)

    def _show_tables(self, tables: list[TableInfo]) -> None:
        self._tables = {table.name: table for table in tables}
        self.stack.setCurrentIndex(1 if tables else 0)
        self.list.show_tables(tables)
        if self.list.chosen():
            self._choose(self.list.chosen())

    def _choose(self, name: str) -> None:
        if name in self._tables:
            self.workspace.show_table(self._tables[name])

    def _show_error(self, error: BaseException) -> None:
        self.errors.show_error(error, self.tr("read the snapshot"))

    def reject(self) -> None:
        # Escape and the window's own button come here too: the snapshot is let go of.
        if not self.session.is_closing:
            self.workspace.detach()
            self.session.close()
        super().reject()
