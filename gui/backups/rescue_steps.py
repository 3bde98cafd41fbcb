"""The parts of the rescue guide: choosing rows and tables, the preview, the proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QItemSelection, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QCheckBox, QComboBox, QSplitter, QWidget

from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel, RecordRole
from gui.theme import Space, Tone
from gui.widgets import button, column, formats, label, row
from gui.widgets.banner import Banner

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.past import DifferencePage, RowDifference, TableDifference
    from engine.backups.rescue import Rescued, RescuedTable

_MOST_ROWS = 5000
_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was chosen of one table: rows by the bytes of their keys, or all of it."""

    name: str
    keys: tuple[bytes, ...] | None
    total: int
    into: str = ""
    """The name of a new table that it goes to; empty for its own."""


class ChooseStep(QWidget):
    """Tables with what differs in them, the rows of one then and now, and what is chosen so far."""

    rows_wanted = Signal(str, object, bool)
    """The rows of this table, from this position on (None for the first): all as they were, or those that
    differ."""
    changed = Signal()
    """Something else is chosen."""

    def __init__(self, moment: str, parent: QWidget | None = None) -> None:
        """`moment` is in the name of a table that comes back beside its own."""
        super().__init__(parent)
        self.chosen: dict[str, Wanted] = {}
        self._moment = moment
        self._columns: tuple[str, ...] = ()
        self._after: bytes | None = None
        self.tables = RecordModel(_table_fields(), lambda t: t.name, limit=2000, parent=self)
        self.table_view = RecordView(self.tables, self.tr("Tables then and now"), (100, 74, 74, 54, 54, 48))
        self.table_view.fit_numbers()
        self.table_view.record_chosen.connect(self._show_table)
        self.rows = RecordModel(self._row_fields(), lambda r: r.key_bytes, limit=_MOST_ROWS, parent=self)
        self.row_view = RecordView(self.rows, self.tr("Rows that differ"), (84, 110, 180))
        self.row_view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.row_view.selectionModel().selectionChanged.connect(self._has_selected)
        self._title = label("", "strong")
        self._hint = label("", "caption", wrap=True)
        self.take_rows = button("", self._take_rows, "", "plus")
        self.take_table = button(self.tr("Choose the whole table"), self._take_table, "", "tables")
        self.more = button(self.tr("More rows"), self._ask_more, "quiet")
        self._basket = label("", "", wrap=True)
        self.clear = button(self.tr("Choose anew"), self._clear, "quiet", "close")
        self.all_rows = QCheckBox(self.tr("All rows as they were"))
        self.all_rows.toggled.connect(lambda _on: self._show_table(self.current()))
        self._build()

    def _build(self) -> None:
        left, right = QWidget(), QWidget()
        tables = column(label(self.tr("What differs"), "strong"), gap=Space.S, margin=(0, 0, Space.M, 0))
        tables.addWidget(self.table_view, 1)
        left.setLayout(tables)
        rows = column(
            row(self._title, None, self.more, self.all_rows),
            self._hint,
            gap=Space.S,
            margin=(Space.M, 0, 0, 0),
        )
        rows.addWidget(self.row_view, 1)
        rows.addLayout(row(self.take_rows, self.take_table, None))
        right.setLayout(rows)
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(left)
        split.addWidget(right)
        split.setSizes([440, 560])
        split.setChildrenCollapsible(False)
        whole = column(gap=Space.S)
        whole.addWidget(split, 1)
        basket = row(gap=Space.M)
        basket.addWidget(self._basket, 1)
        basket.addWidget(self.clear)
        whole.addLayout(basket)
        self.setLayout(whole)
        self._show_basket()

    def _row_fields(self) -> tuple[Field, ...]:
        return (
            Field(self.tr("Since then"), _kind_word, tone=_kind_tone),
            Field(self.tr("Key"), lambda r: _cells(r.key)),
            Field(self.tr("Then"), lambda r: self._side(r, r.then, r.now), tip=lambda r: _cells(r.then)),
            Field(self.tr("Now"), lambda r: self._side(r, r.now, r.then), tip=lambda r: _cells(r.now)),
        )

    def _side(self, found: RowDifference, own: Any, other: Any) -> str:
        """A row on one side; of a changed one the cells that differ, with the names of their columns."""
        if (
            own is None
            or other is None
            or own == other
            or len(own) != len(other)
            or len(own) != len(self._columns)
        ):
            return _cells(own)
        pairs = zip(self._columns, own, other, strict=True)
        return ", ".join(f"{name}: {_cell(one)}" for name, one, two in pairs if one != two)

    def show_tables(self, found: Sequence[TableDifference]) -> None:
        """Show what differs, table by table; the first that does is looked at."""
        lines = sorted(found, key=lambda table: table.is_same)
        self.tables.show(lines)
        if lines:
            self.table_view.choose_line(0)

    def current(self) -> TableDifference | None:
        found: TableDifference | None = self.table_view.current()
        return found

    def show_rows(
        self, name: str, columns: tuple[str, ...], page: DifferencePage, is_first: bool, is_all: bool
    ) -> None:
        """Show a page of rows, if this table is still looked at."""
        table = self.current()
        if table is None or table.name != name or is_all != self.all_rows.isChecked():
            return
        self._columns, self._after = columns, page.after
        before = [] if is_first else [self.rows.record(line) for line in range(self.rows.rowCount())]
        shown = [*before, *page.rows]
        self.rows.show(shown)
        self.more.setVisible(page.after is not None and len(shown) < _MOST_ROWS)
        self._hint.setText(self._row_words(table, len(shown)))
        self._has_selected()

    def _row_words(self, table: TableDifference, shown: int) -> str:
        if table.problem:
            return self.tr("Its columns are other ones now: it can come back beside the one there is.")
        is_all = self.all_rows.isChecked()
        if table.is_same and not is_all:
            return self.tr("Every row is as it was.")
        total = (table.then or 0) if is_all else table.added + table.changed + table.removed
        if shown < total:
            words = self.tr("{n} of {total} rows.") if is_all else self.tr("{n} of {total} rows that differ.")
            return words.format(n=formats.count(shown), total=formats.count(total))
        return self.tr("Select rows, or take the whole table.")

    def _show_table(self, table: TableDifference | None) -> None:
        self.rows.show([])
        self.more.hide()
        self._after = None
        self._has_selected()
        self._title.setText("" if table is None else table.name)
        self._hint.setText("")
        self.take_table.setEnabled(table is not None and table.then is not None)
        if table is None:
            return
        if table.problem or (table.is_same and not self.all_rows.isChecked()):
            self._hint.setText(self._row_words(table, 0))
            return
        self._hint.setText(self.tr("Reading…"))
        self.rows_wanted.emit(table.name, None, self.all_rows.isChecked())

    def _ask_more(self) -> None:
        table = self.current()
        if table is not None and self._after is not None:
            self.rows_wanted.emit(table.name, self._after, self.all_rows.isChecked())

    def selected(self) -> list[RowDifference]:
        return [index.data(RecordRole) for index in self.row_view.selectionModel().selectedRows()]

    def _has_selected(self, _new: QItemSelection | None = None, _old: QItemSelection | None = None) -> None:
        count = len(self.row_view.selectionModel().selectedRows())
        words = self.tr("Choose this row") if count == 1 else self.tr("Choose {rows}")
        self.take_rows.setText(words.format(rows=formats.rows(count)))
        table = self.current()
        self.take_rows.setEnabled(count > 0 and table is not None and table.then is not None)

    def _take_rows(self) -> None:
        table = self.current()
        rows = self.selected()
        if table is not None and rows:
            keys = tuple(found.key_bytes for found in rows)
            self._take(Wanted(table.name, keys, len(keys)))

    def _take_table(self) -> None:
        table = self.current()
        if table is not None:
            beside = self.tr("{name} of {moment}").format(name=table.name, moment=self._moment)
            self._take(Wanted(table.name, None, table.then or 0, beside if table.problem else ""))

    def _take(self, wanted: Wanted) -> None:
        self.chosen[wanted.name] = wanted
        self._show_basket()

    def _clear(self) -> None:
        self.chosen.clear()
        self._show_basket()

    def _show_basket(self) -> None:
        parts = [self._wanted_words(wanted) for wanted in self.chosen.values()]
        words = self.tr("Chosen: ") + "; ".join(parts) if parts else self.tr("Nothing is chosen yet.")
        self._basket.setText(words)
        self.clear.setVisible(bool(parts))
        self.changed.emit()

    def _wanted_words(self, wanted: Wanted) -> str:
        if wanted.keys is not None:
            return f"{wanted.name}: {formats.rows(wanted.total)}"
        words = self.tr("{name}: the whole table").format(name=wanted.name)
        return f"{words} → {wanted.into}" if wanted.into else words


class PreviewStep(QWidget):
    """What would be written, for each way of treating rows that are there and differ."""

    changed = Signal(str)
    """Another way is chosen: missing, overwrite, exact."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.ways = QComboBox()
        self.ways.setAccessibleName(self.tr("Rows that are there and differ"))
        for value, words in (
            ("missing", self.tr("Leave them: put back only rows that are gone")),
            ("overwrite", self.tr("Overwrite them with what they were")),
            ("exact", self.tr("Overwrite them, and remove rows that were added since")),
        ):
            self.ways.addItem(words, value)
        self.ways.currentIndexChanged.connect(lambda _place: self.changed.emit(self.way()))
        fields = (
            Field(self.tr("Table"), lambda t: t.name + (tr(" (made anew)") if t.is_new else "")),
            Field(self.tr("Put back"), lambda t: formats.count(t.put_back), True),
            Field(
                self.tr("Overwritten"),
                lambda t: formats.count(t.overwritten),
                True,
                tone=lambda t: Tone.WARN if t.overwritten else None,
            ),
            Field(
                self.tr("Removed"),
                lambda t: formats.count(t.removed),
                True,
                tone=lambda t: Tone.BAD if t.removed else None,
            ),
            Field(self.tr("Left as they are"), lambda t: formats.count(t.kept), True),
        )
        self.model = RecordModel(fields, lambda t: t.name, limit=2000, parent=self)
        self._list = RecordView(self.model, self.tr("What would be written"), (260, 100, 110, 100))
        self._words = label("", wrap=True)
        way = row(label(self.tr("Rows that are there and differ"), "caption"), gap=Space.M)
        way.addWidget(self.ways, 1)
        whole = column(gap=Space.M)
        whole.addLayout(way)
        whole.addWidget(self._list, 1)
        whole.addWidget(self._words)
        self.setLayout(whole)

    def way(self) -> str:
        return str(self.ways.currentData())

    def show_counts(self, tables: Sequence[RescuedTable]) -> None:
        """Show what would be done."""
        self.model.show(tables)
        kept = sum(table.kept for table in tables)
        words = self.tr(
            "All of it is one transaction: it is committed whole, or nothing is changed. This moment gets a "
            "name first, so that you can come back to it."
        )
        if not any(table.total or table.is_new for table in tables):
            words = self.tr("Nothing would be written this way: choose another one above, or other rows.")
        elif kept:
            stay = self.tr("1 row that differs stays as it is now.")
            if kept > 1:
                stay = self.tr("{rows} that differ stay as they are now.").format(rows=formats.rows(kept))
            words = f"{stay} {words}"
        self._words.setText(words)


class DoneStep(QWidget):
    """What was done, and how to go back on it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.banner = Banner()
        self._undo = label("", wrap=True)
        self.setLayout(column(self.banner, self._undo, None, gap=Space.M))

    def show_done(self, done: Rescued) -> None:
        """Show the proof."""
        parts = []
        for table in done.tables:
            counts = (
                (self.tr("{n} put back"), table.put_back),
                (self.tr("{n} overwritten"), table.overwritten),
                (self.tr("{n} removed"), table.removed),
            )
            figures = ", ".join(words.format(n=formats.count(n)) for words, n in counts if n)
            parts.append(f"{table.name}: {figures or self.tr('nothing to do')}")
        self.banner.say(
            Tone.GOOD, self.tr("Rescued {rows}").format(rows=formats.rows(done.total)), "; ".join(parts)
        )
        self._undo.setText(
            self.tr(
                "Committed in one transaction, at log position {lsn}. To go back on it, choose the moment "
                "“{name}” on the time line and rescue from there what you want back."
            ).format(lsn=formats.count(done.lsn), name=done.before.name)
        )


def _table_fields() -> tuple[Field, ...]:
    def rows(count: int | None) -> str:
        return "–" if count is None else formats.count(count)

    return (
        Field(tr("Table"), lambda t: t.name, tip=lambda t: t.problem or t.name),
        Field(tr("Then"), lambda t: rows(t.then), True),
        Field(tr("Now"), lambda t: rows(t.now), True),
        Field(tr("Gone"), lambda t: formats.count(t.removed), True, tone=_tone_of("removed", Tone.BAD)),
        Field(tr("Other"), lambda t: formats.count(t.changed), True, tone=_tone_of("changed", Tone.WARN)),
        Field(tr("New"), lambda t: formats.count(t.added), True, tone=_tone_of("added", Tone.GOOD)),
    )


def _tone_of(kind: str, tone: Tone) -> Any:
    return lambda table: tone if getattr(table, kind) else None


def _kind_word(found: RowDifference) -> str:
    words = {"added": tr("new"), "removed": tr("gone"), "changed": tr("changed"), "same": tr("the same")}
    return words[found.kind]


def _kind_tone(found: RowDifference) -> Tone:
    tones = {"added": Tone.GOOD, "removed": Tone.BAD, "changed": Tone.WARN}
    return tones.get(found.kind, Tone.NEUTRAL)


def _cells(values: tuple[Any, ...] | None) -> str:
    return "–" if values is None else " · ".join(_cell(value) for value in values)


def _cell(value: Any) -> str:
    if value is None:
        return tr("empty")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)
