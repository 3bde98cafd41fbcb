"""One table at work: filter, grid, value pane, and the edits that wait."""

from __future__ import annotations

import threading
from typing import Any

import shiboken6
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QSplitter, QWidget

from engine.types import TableInfo
from gui.models import paging
from gui.models.cells import is_cut
from gui.models.filtering import Filter, access_paths, query_for
from gui.models.staged import EditConflict, Written, write
from gui.models.table_model import TableModel, ValueRole
from gui.tables.detail import ValuePane
from gui.tables.edit_bar import EditBar
from gui.tables.filter_bar import FilterBar
from gui.tables.grid import TableGrid
from gui.tables.preview import PreviewDialog
from gui.tasks import EngineSession
from gui.theme import Space, Tone
from gui.widgets import ConfirmBar, column, formats, label, set_look


class TableWorkspace(QFrame):
    """Shows and edits the rows of one table at a time."""

    failed = Signal(object)
    """Something could not be done; carries the error."""
    written = Signal(str, object)
    """The table's name and what was `Written`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session: EngineSession | None = None
        self._models: dict[str, TableModel] = {}
        self._model: TableModel | None = None
        self._filters: dict[str, Filter | None] = {}
        self._counting = threading.Event()
        self.filter_bar = FilterBar()
        self.grid = TableGrid()
        self.value_pane = ValuePane()
        # The grid has the room until a cell is chosen that holds more than it can show.
        self.value_pane.hide()
        self._opens_pane = True
        self.edit_bar = EditBar()
        self.confirm = ConfirmBar()
        self._notice = label("", "caption", wrap=True)
        self._notice.hide()
        self._split = QSplitter(Qt.Orientation.Horizontal)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        frame = QFrame()
        frame.setProperty("surface", "card")
        frame.setLayout(column(self.grid, margin=1, gap=0))
        self._split.addWidget(frame)
        self._split.addWidget(self.value_pane)
        self._split.setStretchFactor(0, 1)
        self._split.setSizes([760, 280])
        self._split.setProperty("gap", "true")
        self._split.setHandleWidth(Space.M)
        self._split.setChildrenCollapsible(False)
        whole = column(self.filter_bar, self._split, self.confirm, self._notice, self.edit_bar, gap=Space.S)
        whole.setStretchFactor(self._split, 1)
        self.setLayout(whole)

    def _connect(self) -> None:
        self.filter_bar.filter_changed.connect(self._filter)
        self.grid.sort_wanted.connect(self._sort)
        self.grid.cell_chosen.connect(self._show_value)
        self.grid.copied.connect(self._say_copied)
        self.grid.long_value_wanted.connect(lambda *_: self.show_values(True))
        self.value_pane.value_staged.connect(self._stage_value)
        self.value_pane.closed.connect(lambda: self.show_values(False))
        bar = self.edit_bar
        bar.add_wanted.connect(self.add_row)
        bar.delete_wanted.connect(self.delete_rows)
        bar.review_wanted.connect(self.review)
        bar.commit_wanted.connect(self.commit)
        bar.discard_wanted.connect(self.discard)
        bar.count_wanted.connect(self.count)
        self.confirm.confirmed.connect(self._discard_now)

    @property
    def model(self) -> TableModel | None:
        return self._model

    @property
    def staged(self) -> int:
        """How many edits wait, in all tables."""
        return sum(len(model.edits) for model in self._models.values())

    def attach(self, session: EngineSession) -> None:
        self._session = session

    def detach(self) -> None:
        """Let go of the database; edits that were not written are gone."""
        self._counting.set()
        for model in self._models.values():
            model.close()
            model.deleteLater()
        self._models.clear()
        self._filters.clear()
        self._model = None
        self.grid.setModel(None)
        self.value_pane.clear()
        self._session = None

    def forget(self, names: set[str]) -> None:
        """Drop the models of tables that no longer exist."""
        for name in set(self._models) - names:
            model = self._models.pop(name)
            if model is self._model:
                self._model = None
                self.grid.setModel(None)
            model.close()
            model.deleteLater()

    def show_table(self, table: TableInfo) -> None:
        """Show a table; one that was shown before keeps its edits, filter and place in the list."""
        if self._session is None:
            return
        model = self._models.get(table.name)
        if model is None:
            model = self._models[table.name] = self._make_model(table)
        else:
            model.set_table(table)
        if model is self._model:
            model.refresh()
            return
        self._model = model
        self.grid.show_model(model)
        self.filter_bar.show_table(table)
        self.grid.show_order(*self._order(model))
        self.value_pane.clear()
        self._notice.hide()
        self.edit_bar.show_edits(model.edits)
        self.edit_bar.show_count(0, False, False)
        if model.query.is_bounded:
            # The bar shows no filter for a table that one comes back to; neither do the rows.
            self._filter(None)
        else:
            model.refresh()

    def _make_model(self, table: TableInfo) -> TableModel:
        assert self._session is not None
        model = TableModel(self._session, table, self)
        model.count_changed.connect(lambda rows, exact: self._show_count(model, rows, exact))
        model.edits_changed.connect(lambda _: self._show_edits(model))
        model.edit_refused.connect(lambda words: self._say(words, Tone.BAD))
        model.failed.connect(self.failed)
        model.modelReset.connect(lambda: self._clear_value(model))
        return model

    def _clear_value(self, model: TableModel) -> None:
        if model is self._model:
            self.value_pane.clear()

    def _order(self, model: TableModel) -> tuple[str | None, bool]:
        index = model.query.index
        for name, path in access_paths(model.table).items():
            if path.index == index:
                return name, model.query.reverse
        return None, False

    def _show_count(self, model: TableModel, rows: int, exact: bool) -> None:
        if model is self._model:
            self.edit_bar.show_count(rows, exact, model.query.is_bounded)

    def _show_edits(self, model: TableModel) -> None:
        if model is self._model:
            self._notice.hide()
            self.edit_bar.show_edits(model.edits)

    def _say(self, words: str, tone: Tone = Tone.GOOD) -> None:
        self._notice.setText(words)
        set_look(self._notice, tone=str(tone))
        self._notice.show()

    def _say_copied(self, rows: int, is_all: bool) -> None:
        if is_all:
            self._say(self.tr("Copied {rows}.").format(rows=formats.rows(rows)), Tone.NEUTRAL)
        else:
            words = self.tr("Copied the first {rows} that were read. Export takes all of them.")
            self._say(words.format(rows=formats.rows(rows)), Tone.WARN)

    def _filter(self, wanted: Filter | None) -> None:
        model = self._model
        if model is None:
            return
        self._counting.set()
        self._filters[model.table.name] = wanted
        self._notice.hide()
        model.set_query(query_for(model.table, condition=wanted))
        self.grid.show_order(*self._order(model))

    def _sort(self, name: str, descending: bool) -> None:
        model = self._model
        if model is None:
            return
        wanted = self._filters.get(model.table.name)
        model.set_query(query_for(model.table, name, descending, wanted))
        self.grid.show_order(*self._order(model))

    def refresh(self) -> None:
        """Read the rows again."""
        if self._model is not None:
            self._model.refresh()

    def count(self) -> None:
        """Count the rows that the filter lets through."""
        model, session = self._model, self._session
        if model is None or session is None:
            return
        self._counting.set()
        stop = self._counting = threading.Event()
        query = model.query
        answer = session.run(lambda db: paging.count(db, query, stop.is_set), self, channel="count")
        answer.done(lambda rows: model.take_count(query, rows))
        answer.failed(self._say_failed)

    def _say_failed(self, error: BaseException) -> None:
        if not isinstance(error, paging.FetchCancelled):
            self.failed.emit(error)

    def show_values(self, shown: bool) -> None:
        """Show or hide the value pane; it is not opened for long values once it was closed."""
        self._opens_pane = False
        self.value_pane.setVisible(shown)
        if shown:
            index = self.grid.currentIndex()
            if index.isValid():
                self._show_value(index.row(), index.column())
            self.value_pane.focus_text()

    def _show_value(self, row: int, place: int) -> None:
        model, session = self._model, self._session
        if model is None or session is None:
            return
        value = model.index(row, place).data(ValueRole)
        stored = model.row_at(row)
        # A staged value is here in full, however long it is.
        fetched = stored if stored is not None and is_cut(stored.values[place]) else None
        if fetched is not None and model.edits.is_changed(fetched, place):
            fetched = None
        info = model.table.columns[place]
        if self._opens_pane and _is_long(value):
            self.value_pane.show()
        if self.value_pane.isHidden():
            return
        self.value_pane.show_cell(session, model.table.name, info, place, fetched, value)

    def _stage_value(self, value: Any) -> None:
        index = self.grid.currentIndex()
        if self._model is not None and index.isValid():
            self._model.stage_value(index.row(), index.column(), value)

    def add_row(self) -> None:
        """Begin a new row and put the cursor into it."""
        if self._model is not None:
            self.grid.choose_cell(self._model.add_row(), 0)
            self.grid.setFocus()

    def delete_rows(self) -> None:
        """Stage the deletion of the selected rows, or withdraw it."""
        if self._model is None:
            return
        rows = self.grid.selected_rows()
        if not rows or not self._model.are_here(rows):
            self._say(self.tr("Nothing was staged: select rows that are in view or near it."), Tone.BAD)
            return
        self._model.toggle_deleted(rows)

    def review(self) -> None:
        """Show what would be written."""
        if self._model is not None and len(self._model.edits):
            dialog = PreviewDialog(self._model.edits, self)
            dialog.write_wanted.connect(self.commit)
            dialog.open()

    def discard(self) -> None:
        """Ask, then drop the staged edits of this table."""
        if self._model is not None and len(self._model.edits):
            n = len(self._model.edits)
            self.confirm.ask(
                self.tr("Discard {n} staged edits? The table stays as it is.").format(n=n),
                self.tr("Discard {n} edits").format(n=n),
                self.tr("Keep them"),
                Tone.BAD,
            )

    def _discard_now(self) -> None:
        if self._model is not None:
            self._model.discard_edits()
            self._notice.hide()

    def commit(self) -> None:
        """Write the staged edits of this table in one transaction."""
        model, session = self._model, self._session
        if model is None or session is None or not len(model.edits):
            return
        if model.edits.incomplete():
            self.review()
            return
        changes, table = list(model.edits.changes()), model.table
        self.edit_bar.show_writing(True)
        answer = session.run(lambda database: write(database, table, changes), self, channel="edits")
        answer.done(lambda written: self._say_written(model, written))
        answer.failed(self._say_not_written)
        answer.finally_(lambda: self.edit_bar.show_writing(False))

    def _say_written(self, model: TableModel, written: Written) -> None:
        # The table may have been left, and its model with it, before the answer came.
        if shiboken6.isValid(model):
            model.discard_edits()
            model.refresh()
        done = (
            (written.inserted, self.tr("{n} new")),
            (written.updated, self.tr("{n} changed")),
            (written.deleted, self.tr("{n} deleted")),
        )
        parts = ", ".join(words.format(n=formats.count(n)) for n, words in done if n)
        lsn = formats.count(written.commit_lsn)
        self._say(self.tr("Written: {parts}. Commit at LSN {lsn}.").format(parts=parts, lsn=lsn))
        self.written.emit(model.table.name, written)

    def _say_not_written(self, error: BaseException) -> None:
        if isinstance(error, EditConflict):
            self._say(
                self.tr(
                    "Nothing was written: since you saw them, {changed} of your rows were changed and {gone} "
                    "deleted by someone else. Discard these edits, or read again and edit again."
                ).format(changed=error.changed, gone=error.gone),
                Tone.BAD,
            )
            return
        self.failed.emit(error)


def _is_long(value: Any) -> bool:
    """Whether a cell of the grid does not show all of this value."""
    return is_cut(value) or isinstance(value, bytes) or (isinstance(value, str) and "\n" in value)
