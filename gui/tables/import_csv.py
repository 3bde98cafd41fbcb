"""The part of the import dialog for a file with one table: settings, columns, first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from gui.tables.csv_preview import ENCODINGS, SEPARATORS, CsvPreview, read_preview
from gui.tasks import EngineSession
from gui.theme import Space
from gui.widgets import column, label, row

if TYPE_CHECKING:
    from engine.data.importing import ColumnPlan, ImportPlan

TYPES = ("text", "integer", "real", "blob", "any")
NAME_LINE, TYPE_LINE, KEY_LINE, FIRST_ROW = range(4)


class CsvImportForm(QWidget):
    """What was guessed, to be looked at and changed; the first rows show what it means."""

    plan_changed = Signal()

    def __init__(self, plan: ImportPlan, session: EngineSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plan = plan
        self._session = session
        self._asked = 0
        self._table = plan.tables[0]
        self._shape = tuple(info.name for info in self._table.columns)
        # What was said of the columns under other settings, for when those come back.
        self._known: dict[tuple[str, ...], tuple[list[ColumnPlan], list[str]]] = {}
        self._target = QLineEdit(self._table.target)
        self._target.setAccessibleName(self.tr("Name of the new table"))
        self._target.textEdited.connect(self._take_target)
        self._separator = self._choices([f"{words}  {sign.strip()}" for sign, words in SEPARATORS.items()])
        self._encoding = self._choices(list(ENCODINGS))
        self._header = QCheckBox(self.tr("The first line names the columns"))
        self._keyless = label(
            self.tr(
                "No column is part of the key: rows stay in the order they come, and cannot be filtered by a "
                "value."
            ),
            "caption",
            wrap=True,
        )
        self._note = label("", "caption", wrap=True)
        self._grid = QTableWidget()
        self._grid.setAccessibleName(self.tr("Columns and first rows"))
        self._grid.setWordWrap(False)
        self._grid.horizontalHeader().hide()
        self._grid.itemChanged.connect(self._take_name)
        self._show_settings()
        self._lay_out()
        if plan.kind == "csv":
            self._preview()
        else:
            self._show_grid([])

    def _choices(self, names: list[str]) -> QComboBox:
        made = QComboBox()
        made.addItems(names)
        made.setMinimumWidth(130)
        return made

    def _lay_out(self) -> None:
        first = row(label(self.tr("Table"), "caption"), self._target, gap=Space.S)
        is_csv = self._plan.kind == "csv"
        if is_csv:
            for title, widget in (
                (self.tr("Separator"), self._separator),
                (self.tr("Encoding"), self._encoding),
            ):
                widget.setAccessibleName(title)
                first.addWidget(label(title, "caption"))
                first.addWidget(widget)
            first.addWidget(self._header)
        first.addStretch(1)
        words = self.tr(
            "Guessed from the beginning of the file. Change what is wrong: names and types of columns, and "
            "which of them make the key."
        )
        layout = column(first, label(words, "muted", wrap=True), gap=Space.M)
        layout.addWidget(self._grid, 1)
        layout.addWidget(self._keyless)
        layout.addWidget(self._note)
        self.setLayout(layout)
        self.plan_changed.connect(self._show_keyless)
        self._show_keyless()

    def _show_keyless(self) -> None:
        """Say what a table without a key cannot do, before it is made."""
        self._keyless.setVisible(not self._table.primary_key)

    def _show_settings(self) -> None:
        plan = self._plan
        signs = list(SEPARATORS)
        if plan.delimiter in signs:
            self._separator.setCurrentIndex(signs.index(plan.delimiter))
        else:
            self._separator.addItem(plan.delimiter)
            self._separator.setCurrentIndex(self._separator.count() - 1)
        if self._encoding.findText(plan.encoding) < 0:
            self._encoding.addItem(plan.encoding)
        self._encoding.setCurrentText(plan.encoding)
        self._header.setChecked(plan.header)
        self._separator.currentIndexChanged.connect(self._take_settings)
        self._encoding.currentIndexChanged.connect(self._take_settings)
        self._header.toggled.connect(self._take_settings)

    def _take_settings(self) -> None:
        place = self._separator.currentIndex()
        signs = list(SEPARATORS)
        self._plan.delimiter = signs[place] if place < len(signs) else self._separator.currentText()
        self._plan.encoding = self._encoding.currentText()
        self._plan.header = self._header.isChecked()
        self._preview()

    def _preview(self) -> None:
        """Split the beginning of the file again, elsewhere; the newest question wins."""
        self._asked += 1
        asked, plan = self._asked, self._plan
        settings = (plan.path, plan.delimiter, plan.quote, plan.encoding, plan.header)
        answer = self._session.run(lambda _database: read_preview(*settings), self, channel="files")
        answer.done(lambda preview: self._take_preview(preview) if asked == self._asked else None)
        answer.failed(lambda error: self._note.setText(str(error)))

    def _take_preview(self, preview: CsvPreview) -> None:
        from engine.data.importing import ColumnPlan

        table, shape = self._table, preview.names
        if shape != self._shape:
            self._known[self._shape] = (list(table.columns), list(table.primary_key))
            same_width = len(shape) == len(table.columns)
            guessed = [column.type for column in table.columns] if same_width else ["text"] * len(shape)
            fresh = [ColumnPlan(name, kind) for name, kind in zip(shape, guessed, strict=True)]
            columns, key = self._known.get(shape, (fresh, []))
            table.columns[:], table.primary_key[:] = columns, key
            is_new = shape not in self._known and not same_width
            self._note.setText(
                self.tr("These settings give other columns; their types are text until you say.")
                if is_new
                else ""
            )
            self._shape = shape
        self._show_grid([list(line) for line in preview.rows])
        self.plan_changed.emit()

    def _show_grid(self, rows: list[list[str]]) -> None:
        columns = self._table.columns
        with QSignalBlocker(self._grid):
            self._grid.clear()
            self._grid.setColumnCount(len(columns))
            self._grid.setRowCount(FIRST_ROW + len(rows))
            names = [self.tr("name"), self.tr("type"), self.tr("key")]
            names += [str(n + 1) for n in range(len(rows))]
            self._grid.setVerticalHeaderLabels(names)
            for place, info in enumerate(columns):
                self._grid.setItem(NAME_LINE, place, QTableWidgetItem(info.name))
                self._grid.setCellWidget(TYPE_LINE, place, self._type_choice(place, info.type))
                self._grid.setCellWidget(KEY_LINE, place, self._key_choice(place, info.name))
            for line, values in enumerate(rows):
                for place, text in enumerate(values[: len(columns)]):
                    item = QTableWidgetItem(text[:200])
                    item.setFlags(Qt.ItemFlag.ItemIsEnabled)
                    self._grid.setItem(FIRST_ROW + line, place, item)
        self._grid.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for place in range(len(columns)):
            self._grid.setColumnWidth(place, 150)
        self._grid.verticalHeader().setDefaultSectionSize(34)

    def _type_choice(self, place: int, chosen: str) -> QComboBox:
        made = QComboBox()
        made.addItems(TYPES)
        made.setCurrentText(chosen)
        made.setAccessibleName(self.tr("Type of column {n}").format(n=place + 1))
        made.currentTextChanged.connect(lambda text: self._take_type(place, text))
        return made

    def _key_choice(self, place: int, name: str) -> QCheckBox:
        made = QCheckBox(self.tr("part of the key"))
        made.setChecked(name in self._table.primary_key)
        made.toggled.connect(lambda wanted: self._take_key(place, wanted))
        return made

    def _take_target(self, text: str) -> None:
        self._table.target = text.strip()
        self.plan_changed.emit()

    def _take_name(self, item: QTableWidgetItem) -> None:
        if item.row() != NAME_LINE:
            return
        info = self._table.columns[item.column()]
        key = self._table.primary_key
        key[:] = [item.text().strip() if name == info.name else name for name in key]
        info.name = item.text().strip()
        self.plan_changed.emit()

    def _take_type(self, place: int, text: str) -> None:
        self._table.columns[place].type = text
        self.plan_changed.emit()

    def _take_key(self, place: int, wanted: bool) -> None:
        name = self._table.columns[place].name
        key = self._table.primary_key
        if wanted and name not in key:
            key.append(name)
        elif not wanted and name in key:
            key.remove(name)
        self.plan_changed.emit()
