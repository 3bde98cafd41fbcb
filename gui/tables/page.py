"""The page of tables: choose one, look, search, edit, bring in, take out."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QSplitter, QStackedWidget

from engine.types import TableInfo
from gui.actions import Actions
from gui.page import Page, Shell
from gui.tables.export_dialog import ExportDialog
from gui.tables.import_dialog import ImportDialog
from gui.tables.table_list import TableList
from gui.tables.workspace import TableWorkspace
from gui.tasks import EngineSession
from gui.theme import Space
from gui.widgets import EmptyState, button, formats, tool_button


class TablesPage(Page):
    """Browse and edit the tables of the open database."""

    page_id = "tables"
    icon_name = "tables"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Tables"), "")
        self.header.set_subtitle(self.tr("Nothing that you edit is written until you commit"))
        self._tables: dict[str, TableInfo] = {}
        self._wanted = ""
        self.errors = self.make_errors(self.refresh)
        self.list = TableList()
        self.workspace = TableWorkspace()
        empty = EmptyState(
            "tables",
            self.tr("No tables yet"),
            self.tr("Import a SQLite database, a CSV file or JSON lines. The file itself is never touched."),
            button(self.tr("Import data…"), self.import_data, "primary", "import"),
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self._split())
        self.body.addWidget(self.errors)
        self.body.addWidget(self._stack, 1)
        self.header.add_action(tool_button("column", self.tr("Show the whole value (F4)"), self.show_value))
        self.header.add_action(tool_button("refresh", self.tr("Read the tables again (F5)"), self.refresh))
        self.header.add_action(button(self.tr("Import…"), self.import_data, "", "import"))
        self._export = button(self.tr("Export…"), self.export_data, "", "export")
        self.header.add_action(self._export)
        self.list.table_chosen.connect(self._show)
        self.workspace.failed.connect(
            lambda error: self.errors.show_error(error, self.tr("read or write a table"))
        )
        self.workspace.written.connect(self._after_write)
        shell.source_chosen.connect(self.import_file)

    def _split(self) -> QSplitter:
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.list)
        split.addWidget(self.workspace)
        split.setStretchFactor(1, 1)
        split.setSizes([200, 900])
        split.setProperty("gap", "true")
        split.setHandleWidth(Space.M)
        split.setChildrenCollapsible(False)
        return split

    def add_actions(self, actions: Actions) -> None:
        work = self.workspace
        for action_id, words, handler, keys, drawing in (
            ("tables.import", self.tr("Import data…"), self.import_data, "Ctrl+I", "import"),
            ("tables.export", self.tr("Export data…"), self.export_data, "Ctrl+E", "export"),
            ("tables.refresh", self.tr("Read the tables again"), self.refresh, "F5", "refresh"),
            ("tables.find", self.tr("Filter rows"), self.find_rows, "Ctrl+F", "filter"),
            ("tables.add_row", self.tr("Add a row"), work.add_row, "Ctrl+Shift+N", "plus"),
            (
                "tables.delete_rows",
                self.tr("Delete the selected rows"),
                work.delete_rows,
                "Ctrl+Del",
                "trash",
            ),
            ("tables.review", self.tr("Review staged edits"), work.review, "Ctrl+Shift+R", "search"),
            ("tables.commit", self.tr("Commit staged edits"), work.commit, "Ctrl+S", "save"),
            ("tables.discard", self.tr("Discard staged edits"), work.discard, "Ctrl+Shift+Z", "undo"),
            ("tables.value", self.tr("Show the whole value"), self.show_value, "F4", "column"),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self.workspace.attach(session)
        session.changed.connect(self._hear_change)
        self.refresh()

    def detach(self) -> None:
        self.workspace.detach()
        self._tables.clear()
        self.list.show_tables([])
        self.errors.clear()
        self._stack.setCurrentIndex(0)
        super().detach()

    def refresh(self) -> None:
        """Read which tables there are, and the rows in view."""
        if self.session is None:
            return
        answer = self.session.run(lambda database: database.tables.list(), self, channel="tables")
        answer.done(self._show_tables)
        answer.failed(lambda error: self.errors.show_error(error, self.tr("list the tables")))

    def show_table(self, name: str) -> None:
        """Show a table as soon as it is known."""
        self._wanted = name
        if name in self._tables:
            self.list.choose(name)
            self._show(name)

    def staged(self) -> int:
        """How many edits wait to be committed."""
        return self.workspace.staged

    def unsaved(self) -> str:
        staged = self.staged()
        return self.tr("{n} staged edits have not been committed.").format(n=staged) if staged else ""

    def _show_tables(self, tables: list[TableInfo]) -> None:
        self._tables = {table.name: table for table in tables}
        self.workspace.forget(set(self._tables))
        self._stack.setCurrentIndex(1 if tables else 0)
        self._export.setEnabled(bool(tables))
        # Qt's stubs leave out that None takes the proxy away.
        self.setFocusProxy(self.workspace.grid if tables else None)  # type: ignore[arg-type]
        self.list.blockSignals(True)
        self.list.show_tables(tables)
        if self._wanted:
            self.list.choose(self._wanted)
        self.list.blockSignals(False)
        if self.list.chosen():
            self._show(self.list.chosen())

    def _show(self, name: str) -> None:
        self._wanted = name
        table = self._tables.get(name)
        if table is None:
            return
        key = ", ".join(table.primary_key) or self.tr("none; rows are kept in the order they came")
        self.header.set_subtitle(
            self.tr("{name} · columns: {columns} · indexes: {indexes} · key: {key}").format(
                name=name,
                columns=formats.count(len(table.columns)),
                indexes=formats.count(len(table.indexes)),
                key=key,
            )
        )
        self.workspace.show_table(table)

    def _hear_change(self, what: str) -> None:
        if what == "tables" or what in self._tables:
            self.refresh()

    def _after_write(self, name: str, _written: object) -> None:
        if self.session is not None:
            self.session.changed.emit(name)

    def import_data(self) -> None:
        """Ask which file to bring in, and show what it holds."""
        if self.session is None:
            return
        dialog = QFileDialog(self, self.tr("Import data"), str(self.shell.preferences.folder))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(
            [
                self.tr("Data (*.sqlite *.sqlite3 *.db *.db3 *.csv *.tsv *.txt *.jsonl *.ndjson)"),
                self.tr("All files (*)"),
            ]
        )
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Look at it"))
        dialog.fileSelected.connect(self._import_chosen)
        dialog.open()

    def _import_chosen(self, text: str) -> None:
        # Remembered here: what is imported otherwise, as the sample, is in no folder of the person's.
        self.shell.preferences.folder = Path(text).parent
        self.import_file(Path(text))

    def import_file(self, path: Path) -> ImportDialog | None:
        """Show how a file would be imported; nothing is written before the person agrees."""
        if self.session is None:
            return None
        dialog = ImportDialog(self.shell, self.session, path, self)
        dialog.imported.connect(self._show_imported)
        dialog.open()
        return dialog

    def _show_imported(self, names: list[str]) -> None:
        self.shell.show_page(self.page_id)
        if names:
            self.show_table(names[0])
        self.workspace.grid.setFocus()
        self.refresh()

    def export_data(self) -> None:
        """Ask for a file and a form, then write the tables there."""
        if self.session is not None and self._tables:
            tables = sorted(self._tables.values(), key=lambda table: table.name.casefold())
            ExportDialog(self.shell, self.session, tables, self.list.chosen(), self).open()

    def find_rows(self) -> None:
        """Put the cursor where a filter is typed."""
        self.shell.show_page(self.page_id)
        self.workspace.filter_bar.focus_value()

    def show_value(self) -> None:
        """Show the pane with the whole value of the chosen cell."""
        self.workspace.show_values(self.workspace.value_pane.isHidden())
