"""The grid that shows a `TableModel`, and how its cells are painted."""

from __future__ import annotations

from PySide6.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QGuiApplication, QKeySequence, QPainter, QResizeEvent, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from gui.models import cells
from gui.models.filtering import access_paths
from gui.models.table_model import CellState, StateRole, TableModel, ValueRole
from gui.theme import Tone, colors, tone_color

ROW_HEIGHT = 30
WIDEST_COLUMN = 320
COPIED_ROWS = 5_000
"""More rows than this are exported, not copied, and not deleted by hand."""

Index = QModelIndex | QPersistentModelIndex

_STATE_TONES = {CellState.CHANGED: Tone.WARN, CellState.NEW: Tone.GOOD, CellState.DELETED: Tone.BAD}


class CellDelegate(QStyledItemDelegate):
    """Paints a cell by its state: NULL, changed, new, deleted, not here yet."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: Index) -> None:
        super().initStyleOption(option, index)
        now = colors()
        state = index.data(StateRole)
        if state == CellState.DELETED:
            option.font.setStrikeOut(True)
            self._color(option, now.text_faint)
        elif index.data(ValueRole) is None and state != CellState.LOADING:
            option.font.setItalic(True)
            self._color(option, now.text_faint)
        elif isinstance(index.data(ValueRole), bytes):
            self._color(option, now.text_muted)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        state = index.data(StateRole)
        if state != CellState.LOADING:
            # Under the style sheet's own painting, which leaves the ground of an item alone.
            self._paint_ground(painter, option, state)
            super().paint(painter, option, index)
            return
        # A quiet bar where the text will stand.
        width = option.rect.width() * (0.35 + 0.08 * ((index.row() * 7 + index.column() * 3) % 5))
        bar = QRectF(option.rect.left() + 10, option.rect.center().y() - 4, max(16.0, width - 20), 8)
        painter.save()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colors().border))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.drawRoundedRect(bar, 4, 4)
        painter.restore()

    def _paint_ground(self, painter: QPainter, option: QStyleOptionViewItem, state: int) -> None:
        tone = _STATE_TONES.get(state)
        if tone is None:
            return
        painter.fillRect(option.rect, tone_color(tone, soft=True))
        painter.fillRect(option.rect.left(), option.rect.top(), 3, option.rect.height(), tone_color(tone))

    def _color(self, option: QStyleOptionViewItem, color: str) -> None:
        option.palette.setColor(option.palette.ColorRole.Text, QColor(color))
        option.palette.setColor(option.palette.ColorRole.HighlightedText, QColor(color))


class TableGrid(QTableView):
    """A table view that tells its model what is in view, sorts only by keys, and copies cells."""

    cell_chosen = Signal(int, int)
    """Row and column of the current cell."""
    sort_wanted = Signal(str, bool)
    """By which column, and whether descending."""
    long_value_wanted = Signal(int, int)
    """A cell was opened whose value is edited in the detail pane."""

    copied = Signal(int, bool)
    """How many rows were copied, and whether that was all of the selection."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("flat", "true")
        self.setItemDelegate(CellDelegate(self))
        self.setWordWrap(False)
        self.setCornerButtonEnabled(False)
        # Tab leaves the grid, so that the keyboard reaches what is around it.
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
            | QAbstractItemView.EditTrigger.AnyKeyPressed
        )
        self.setAccessibleName(self.tr("Rows of the table"))
        self._sort: tuple[str, bool] | None = None
        self._set_up_headers()
        self.verticalScrollBar().valueChanged.connect(self._tell_view)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_selection)

    def _set_up_headers(self) -> None:
        down = self.verticalHeader()
        down.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        down.setDefaultSectionSize(ROW_HEIGHT)
        down.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        across = self.horizontalHeader()
        across.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        across.setHighlightSections(False)
        across.setSectionsClickable(True)
        across.setMinimumSectionSize(56)
        across.sectionClicked.connect(self._sort_by)

    def show_model(self, model: TableModel) -> None:
        """Show another model; the caller keeps the one before, if it wants it."""
        self.setModel(model)
        # A header that knows of the selection asks every cell of a column whether it is selected:
        # seconds, where all rows of a large table are. Ours shows no selection.
        self.horizontalHeader().setSelectionModel(QItemSelectionModel(model, self.horizontalHeader()))
        self._sort = None
        self.horizontalHeader().setSortIndicatorShown(False)
        self.selectionModel().currentChanged.connect(self._tell_cell)
        self.doubleClicked.connect(self._open_long, Qt.ConnectionType.UniqueConnection)
        model.rowsInserted.connect(self._tell_view)
        model.modelReset.connect(self._tell_view)
        self._fit_columns(model)
        self._tell_view()

    def table_model(self) -> TableModel | None:
        model = self.model()
        return model if isinstance(model, TableModel) else None

    def _fit_columns(self, model: TableModel) -> None:
        """Widths by the kind of column; the person's own hand wins afterwards."""
        metrics = self.horizontalHeader().fontMetrics()
        widths = {"integer": 96, "real": 110, "blob": 200, "text": 190, "any": 150, "null": 80}
        for place, column in enumerate(model.table.columns):
            name = metrics.horizontalAdvance(column.name) + 44
            self.setColumnWidth(place, min(WIDEST_COLUMN, max(name, widths.get(column.type, 150))))

    def _tell_view(self) -> None:
        model = self.table_model()
        if model is None:
            return
        height = self.viewport().height()
        first = max(0, self.rowAt(0))
        last = self.rowAt(height - 1)
        # Where the rows end above the bottom (or have not come yet), a full view is asked for.
        model.show_rows(first, last if last >= 0 else first + height // ROW_HEIGHT)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._tell_view()

    def _tell_cell(self, current: QModelIndex) -> None:
        if current.isValid():
            self.cell_chosen.emit(current.row(), current.column())

    def _open_long(self, index: QModelIndex) -> None:
        if cells.is_cut(index.data(ValueRole)):
            self.long_value_wanted.emit(index.row(), index.column())

    def _sort_by(self, section: int) -> None:
        model = self.table_model()
        if model is None:
            return
        column = model.table.columns[section].name
        if column not in access_paths(model.table):
            self._show_sort()
            return
        descending = self._sort is not None and self._sort[0] == column and not self._sort[1]
        self._sort = (column, descending)
        self._show_sort()
        self.sort_wanted.emit(column, descending)

    def show_order(self, column: str | None, descending: bool) -> None:
        """Mark the column that orders the rows."""
        self._sort = None if column is None else (column, descending)
        self._show_sort()

    def _show_sort(self) -> None:
        across, model = self.horizontalHeader(), self.table_model()
        across.setSortIndicatorShown(self._sort is not None)
        if self._sort is None or model is None:
            return
        names = [column.name for column in model.table.columns]
        order = Qt.SortOrder.DescendingOrder if self._sort[1] else Qt.SortOrder.AscendingOrder
        across.setSortIndicator(names.index(self._sort[0]), order)

    def selected_rows(self) -> list[int]:
        """The lines with a selected cell, in order; none where there are too many to work on."""
        parts = list(self.selectionModel().selection())
        if sum(part.height() for part in parts) > COPIED_ROWS:
            return []
        return sorted({row for part in parts for row in range(part.top(), part.bottom() + 1)})

    def choose_cell(self, row: int, column: int) -> None:
        """Make a cell the current one and bring it into view."""
        model = self.model()
        index = model.index(row, column)
        flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
        self.selectionModel().select(QItemSelection(index, index), flag)
        self.setCurrentIndex(index)
        self.scrollTo(index)

    def copy_selection(self) -> None:
        """Put the selected cells on the clipboard, as lines of tab-separated text.

        Takes the first `COPIED_ROWS` of those that were read; `copied` tells how many.
        """
        model = self.table_model()
        if model is None:
            return
        lines: list[str] = []
        wanted = 0
        # Ranges, not indexes: of a million selected rows there would be millions of those.
        for part in sorted(self.selectionModel().selection(), key=lambda part: (part.top(), part.left())):
            wanted += part.height()
            last = min(part.bottom(), part.top() + COPIED_ROWS - len(lines) - 1)
            for row in range(part.top(), last + 1):
                values = model.line(row)
                if values is not None:
                    cut = values[part.left() : part.right() + 1]
                    lines.append("\t".join("" if value is None else cells.edit_text(value) for value in cut))
        QGuiApplication.clipboard().setText("\n".join(lines))
        self.copied.emit(len(lines), len(lines) == wanted)
