"""The bar above the grid that asks for rows by a key or an index."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QFrame, QLineEdit, QWidget

from engine.types import TableInfo
from gui.models.cells import InvalidValue
from gui.models.filtering import Filter, Operator, access_paths, operators, read_filter
from gui.theme import Space
from gui.widgets import button, label, row, set_look


class FilterBar(QFrame):
    """Column, operator, value. Only columns that a key or an index begins with are offered."""

    filter_changed = Signal(object)
    """A `Filter`, or None for all rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table: TableInfo | None = None
        self._applied: Filter | None = None
        self._column = QComboBox()
        self._column.setAccessibleName(self.tr("Filter by column"))
        self._column.setMinimumWidth(150)
        self._column.currentIndexChanged.connect(self._offer_operators)
        self._operator = QComboBox()
        self._operator.setAccessibleName(self.tr("Condition"))
        self._operator.setMinimumWidth(110)
        self._operator.currentIndexChanged.connect(self._show_second)
        self._low = self._edit(self.tr("value"), self.tr("Value to look for"))
        self._and = label(self.tr("and"), "muted")
        self._high = self._edit(self.tr("value"), self.tr("Upper value"))
        self._apply = button(self.tr("Filter"), self.apply, "", "filter")
        self._clear = button(self.tr("Show all rows"), self.clear, "quiet")
        self._hint = label("", "caption")
        self.setLayout(
            row(
                self._column,
                self._operator,
                self._low,
                self._and,
                self._high,
                self._apply,
                self._clear,
                self._hint,
                None,
                gap=Space.S,
            )
        )
        self._show_second()
        self._clear.hide()

    def _edit(self, placeholder: str, name: str) -> QLineEdit:
        made = QLineEdit()
        made.setPlaceholderText(placeholder)
        made.setAccessibleName(name)
        made.setFixedWidth(160)
        made.setClearButtonEnabled(True)
        made.returnPressed.connect(self.apply)
        made.textEdited.connect(lambda: self._complain(""))
        return made

    def show_table(self, table: TableInfo) -> None:
        """Offer the columns of another table; no filter is in force then."""
        self._table = table
        self._applied = None
        self._clear.hide()
        paths = access_paths(table)
        with QSignalBlocker(self._column):
            self._column.clear()
            for column in table.columns:
                if column.name in paths:
                    self._column.addItem(column.name)
        possible = self._column.count() > 0
        for widget in (self._column, self._operator, self._low, self._apply):
            widget.setVisible(possible)
        self._low.clear()
        self._high.clear()
        self._offer_operators()
        if not possible:
            self._say(self.tr("This table has no key and no index to filter by."))

    def focus_value(self) -> None:
        """Put the cursor where the value is typed."""
        self._low.setFocus()
        self._low.selectAll()

    def ask(self, column: str, operator: Operator, low: str, high: str = "") -> None:
        """Fill in a condition and apply it."""
        self._column.setCurrentText(column)
        self._operator.setCurrentText(operator.value)
        self._low.setText(low)
        self._high.setText(high)
        self.apply()

    def apply(self) -> None:
        """Read what was typed and ask for those rows."""
        if self._table is None or not self._column.count():
            return
        if not self._low.text():
            self.clear()
            return
        operator = Operator(self._operator.currentText())
        column = self._column.currentText()
        try:
            wanted = read_filter(self._table, column, operator, self._low.text(), self._high.text())
        except InvalidValue as error:
            self._complain(str(error))
            return
        self._complain("")
        self._applied = wanted
        self._clear.show()
        path = access_paths(self._table)[column]
        self._say(
            self.tr("by index {index}").format(index=path.index) if path.index else self.tr("by primary key")
        )
        self.filter_changed.emit(wanted)

    def clear(self) -> None:
        """Ask for all rows."""
        self._low.clear()
        self._high.clear()
        self._complain("")
        self._clear.hide()
        if self._applied is not None:
            self._applied = None
            self.filter_changed.emit(None)

    def _offer_operators(self) -> None:
        if self._table is None or not self._column.count():
            return
        name = self._column.currentText()
        kind = next(column.type for column in self._table.columns if column.name == name)
        with QSignalBlocker(self._operator):
            self._operator.clear()
            self._operator.addItems([operator.value for operator in operators(kind)])
        self._show_second()
        self._say("")

    def _show_second(self) -> None:
        is_range = self._operator.isVisibleTo(self) and self._operator.currentText() == Operator.BETWEEN.value
        self._and.setVisible(is_range)
        self._high.setVisible(is_range)

    def _complain(self, text: str) -> None:
        set_look(self._low, invalid="true" if text else "false")
        set_look(self._hint, tone="bad" if text else "")
        self._hint.setText(text)

    def _say(self, text: str) -> None:
        set_look(self._hint, tone="")
        self._hint.setText(text)
