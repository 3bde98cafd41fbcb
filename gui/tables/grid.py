"""The grid that shows a `TableModel`, and how its cells are painted."""

from __future__ import annotations

from PySide6.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QItemSelectionRange,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QFont, QGuiApplication, QKeySequence, QPainter, QResizeEvent, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from gui.models import cells
from gui.models.filtering import access_paths
from gui.models.table_model import CellState, TableModel, ValueRole
from gui.theme import Colors, Tone, colors, tone_color

ROW_HEIGHT = 30
WIDEST_COLUMN = 320
_FITTED_ROWS = 40
COPIED_ROWS = 2_000
"""More rows than this are exported, not copied, and not deleted by hand."""

Index = QModelIndex | QPersistentModelIndex

_STATE_TONES = {CellState.CHANGED: Tone.WARN, CellState.NEW: Tone.GOOD, CellState.DELETED: Tone.BAD}


class _Paints:
    """The colours and fonts of one theme, made once and not for every cell."""

    def __init__(self, now: Colors, font: QFont) -> None:
        self.now = now
        self.text, self.faint = QColor(now.text), QColor(now.text_faint)
        self.muted, self.bar = QColor(now.text_muted), QColor(now.border)
        self.selection, self.accent = QColor(now.selection), QColor(now.accent)
        self.grounds = {state: tone_color(tone, soft=True) for state, tone in _STATE_TONES.items()}
        self.edges = {state: tone_color(tone) for state, tone in _STATE_TONES.items()}
        self.plain, self.null, self.struck = QFont(font), QFont(font), QFont(font)
        self.null.setItalic(True)
        self.struck.setStrikeOut(True)


class CellDelegate(QStyledItemDelegate):
    """Paints a cell by its state: NULL, changed, new, deleted, not here yet.

    Paints everything itself: the style's own way asks the model eight times for each cell, which
    at a full screen of cells is a pause that can be seen.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._paints: _Paints | None = None

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        if not isinstance(model, TableModel):
            return
        paints, box = self._paints, option.rect
        if paints is None or paints.now is not colors():
            paints = self._paints = _Paints(colors(), option.font)
        row, place = index.row(), index.column()
        state, value = model.cell(row, place)
        if state == CellState.LOADING:
            self._paint_loading(painter, box, paints, row, place)
            return
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(box, paints.selection)
        elif state != CellState.STORED:
            painter.fillRect(box, paints.grounds[state])
        if state != CellState.STORED:
            painter.fillRect(box.left(), box.top(), 3, box.height(), paints.edges[state])
        self._paint_text(painter, option, box, paints, state, value, model.side(place))
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(paints.accent)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box.adjusted(0, 0, -1, -1))

    def _paint_text(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        box: QRect,
        paints: _Paints,
        state: int,
        value: object,
        side: int,
    ) -> None:
        color, font = paints.text, paints.plain
        if state == CellState.DELETED:
            color, font = paints.faint, paints.struck
        elif value is None:
            color, font = paints.faint, paints.null
        elif isinstance(value, bytes):
            color = paints.muted
        painter.setFont(font)
        painter.setPen(color)
        inner = box.adjusted(10, 0, -10, 0)
        text = option.fontMetrics.elidedText(cells.display(value), Qt.TextElideMode.ElideRight, inner.width())
        painter.drawText(inner, side, text)

    def _paint_loading(self, painter: QPainter, box: QRect, paints: _Paints, row: int, place: int) -> None:
        # A quiet bar where the text will stand.
        width = box.width() * (0.35 + 0.08 * ((row * 7 + place * 3) % 5))
        bar = QRectF(box.left() + 10, box.center().y() - 4, max(16.0, width - 20), 8)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(paints.bar)
        painter.drawRoundedRect(bar, 4, 4)


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
        self._is_fitted = False
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
        self._is_fitted = False
        model.dataChanged.connect(self._fit_to_rows)
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

    def _fit_to_rows(self) -> None:
        """Once, when the first rows are here: no column is narrower than what they hold, within reason."""
        model = self.table_model()
        if model is None or self.sender() is not model or self._is_fitted or model.row_at(0) is None:
            return
        self._is_fitted = True
        metrics = self.fontMetrics()
        lines = [line for row in range(_FITTED_ROWS) if (line := model.line(row)) is not None]
        for place in range(len(model.table.columns)):
            widest = max(metrics.horizontalAdvance(cells.display(line[place])) for line in lines) + 26
            if widest > self.columnWidth(place):
                self.setColumnWidth(place, min(WIDEST_COLUMN, widest))

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
        parts = self._selected_parts()
        if sum(part.height() for part in parts) > COPIED_ROWS:
            return []
        return sorted({row for part in parts for row in range(part.top(), part.bottom() + 1)})

    def _selected_parts(self) -> list[QItemSelectionRange]:
        selection = self.selectionModel().selection()
        return [selection.at(place) for place in range(selection.size())]

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
        for part in sorted(self._selected_parts(), key=lambda part: (part.top(), part.left())):
            wanted += part.height()
            last = min(part.bottom(), part.top() + COPIED_ROWS - len(lines) - 1)
            for row in range(part.top(), last + 1):
                values = model.line(row)
                if values is not None:
                    cut = values[part.left() : part.right() + 1]
                    lines.append("\t".join("" if value is None else cells.edit_text(value) for value in cut))
        QGuiApplication.clipboard().setText("\n".join(lines))
        self.copied.emit(len(lines), len(lines) == wanted)
