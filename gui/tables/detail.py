"""The pane beside the grid: one value in full, and the place to edit what no cell can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QTextCursor, QTextOption
from PySide6.QtWidgets import QComboBox, QFrame, QPlainTextEdit, QWidget

from engine.types import ColumnInfo, Isolation
from gui.models import cells
from gui.models.row_cache import Row
from gui.tasks import EngineSession
from gui.tasks.turns import Turns
from gui.theme import Space, Tone
from gui.widgets import Pill, button, column, formats, label, row, tool_button

SHOWN_TEXT = 2 * 1024 * 1024
"""Longer texts are shown up to here; writing all of a larger one would stop the window."""
LONGEST_LINE = 96 * 1024
"""Of a text with a longer line only so much is shown: a line is laid out in one go."""
_AT_ONCE = 64 * 1024
"""Characters that are laid out in one turn of the event loop: some 10 ms."""
_LONG_WORD = re.compile(r"\S{1024}")
"""Where to break such words well takes time that grows with the square of their length: minutes for one of
2 MiB. They are broken anywhere."""


def read_value(database: Any, table: str, key: tuple[Any, ...], place: int) -> Any:
    """One value in full, in a short read of its own; `LookupError` where the row has gone."""
    with database.transaction(Isolation.READ_COMMITTED, read_only=True) as txn:
        found = txn.table(table).get(key)
        if found is None:
            raise LookupError(table)
        return found[place]


class ValuePane(QFrame):
    """Shows the chosen cell; staging goes back to the model through `value_staged`."""

    value_staged = Signal(object)
    """A new value for the chosen cell; None is NULL."""
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.setMinimumWidth(240)
        self._value: Any = None
        self._column: ColumnInfo | None = None
        self._wanted = 0
        self._turns = Turns(self)
        self._name = label("", "strong")
        self._kind = Pill()
        self._note = label("", "caption", wrap=True)
        self._text = QPlainTextEdit()
        self._text.setProperty("kind", "mono")
        self._text.setAccessibleName(self.tr("Value of the chosen cell"))
        self._text.textChanged.connect(self._offer)
        self._form = QComboBox()
        self._form.setAccessibleName(self.tr("How the value is shown"))
        self._form.currentIndexChanged.connect(self._show_form)
        self._stage = button(self.tr("Stage this value"), self._stage_text, "primary")
        self._null = button(self.tr("Set to NULL"), lambda: self.value_staged.emit(None))
        close = tool_button("close", self.tr("Close the value pane"), self.closed.emit)
        head = row(self._name, self._kind, None, close)
        foot = row(self._null, None, self._stage)
        self.setLayout(column(head, self._form, self._text, self._note, foot, margin=Space.M, gap=Space.S))
        self.clear()

    def clear(self) -> None:
        """Show that no cell is chosen."""
        self._wanted += 1
        self._turns.drop()
        self._column = None
        self._name.setText(self.tr("Value"))
        self._kind.hide()
        self._note.setText(self.tr("Choose a cell to see its whole value here."))
        for widget in (self._text, self._form, self._stage, self._null):
            widget.hide()

    def show_cell(
        self, session: EngineSession, table: str, info: ColumnInfo, place: int, stored: Row | None, value: Any
    ) -> None:
        """Show a value, and fetch it in full where the grid holds only its beginning."""
        self._wanted += 1
        self._column = info
        self._name.setText(info.name)
        for widget in (self._text, self._null):
            widget.show()
        self._null.setEnabled(not info.not_null)
        self._show_value(value)
        if stored is None or not cells.is_cut(value):
            return
        self._note.setText(self.tr("Reading the whole value…"))
        self._text.setReadOnly(True)
        wanted, key = self._wanted, stored.key
        answer = session.run(lambda database: read_value(database, table, key, place), self, channel="values")
        answer.done(lambda whole: self._show_value(whole) if wanted == self._wanted else None)
        answer.failed(lambda error: self._say_failed(error) if wanted == self._wanted else None)

    def _say_failed(self, error: BaseException) -> None:
        if isinstance(error, LookupError):
            self._note.setText(self.tr("This row was deleted in the meantime."))
        else:
            self._note.setText(str(error))

    def _show_value(self, value: Any) -> None:
        self._value = value
        kind = {type(None): "NULL", bytes: "blob", str: "text", int: "integer", float: "real"}[type(value)]
        self._kind.show_state(kind, Tone.NEUTRAL if value is not None else Tone.WARN)
        self._kind.show()
        with QSignalBlocker(self._form):
            self._form.clear()
            self._form.addItems(self._forms(value))
        self._form.setVisible(self._form.count() > 1)
        self._show_form()

    def _forms(self, value: Any) -> list[str]:
        if isinstance(value, bytes):
            return [self.tr("Bytes"), self.tr("As text")]
        if isinstance(value, str) and value[:1] in "{[" and _as_json(value) is not None:
            return [self.tr("Text"), self.tr("JSON, indented")]
        return [self.tr("Text")]

    def _show_form(self) -> None:
        second = self._form.currentIndex() == 1
        value = self._value
        if isinstance(value, bytes):
            text = value[:_AT_ONCE].decode("utf-8", "replace") if second else cells.hex_dump(value)
        elif second:
            text = json.dumps(_as_json(value), indent=2, ensure_ascii=False)
        else:
            text = cells.full_text(value)
        whole = not isinstance(value, bytes) and not second and len(text) == _room(text)
        with QSignalBlocker(self._text):
            # Before its lines are broken in another way: the old text would be laid out once more.
            self._text.clear()
        wrap = QPlainTextEdit.LineWrapMode
        is_dump = isinstance(value, bytes) and not second
        self._text.setLineWrapMode(wrap.NoWrap if is_dump else wrap.WidgetWidth)
        self._fill(text[: _room(text)], whole)
        self._stage.hide()
        self._note.setText(self._size_note(value))

    def _fill(self, text: str, is_editable: bool) -> None:
        """Show a text, a piece a turn; what is not all there yet cannot be edited."""
        mode = QTextOption.WrapMode
        is_long = _LONG_WORD.search(text) is not None
        self._text.setWordWrapMode(mode.WrapAnywhere if is_long else mode.WrapAtWordBoundaryOrAnywhere)
        self._turns.drop()
        pieces = list(_pieces(text))
        with QSignalBlocker(self._text):
            self._text.setPlainText(pieces[0])
        for piece in pieces[1:]:
            self._turns.add(partial(self._append, piece))
        self._text.setReadOnly(len(pieces) > 1 or not is_editable)
        if len(pieces) > 1:
            self._turns.add(partial(self._has_filled, is_editable))

    def _append(self, piece: str) -> None:
        end = QTextCursor(self._text.document())
        end.movePosition(QTextCursor.MoveOperation.End)
        with QSignalBlocker(self._text):
            end.insertText(piece)

    def _has_filled(self, is_editable: bool) -> None:
        # There is nothing to undo before somebody has typed.
        self._text.document().clearUndoRedoStacks()
        self._text.setReadOnly(not is_editable)

    def _size_note(self, value: Any) -> str:
        if isinstance(value, bytes):
            return self.tr("{size}, shown as bytes; blobs are changed by importing.").format(
                size=formats.size(len(value))
            )
        if not isinstance(value, str):
            return ""
        count, room = formats.count(len(value)), _room(value)
        if room < len(value):
            words = self.tr("The first {shown} of {count} characters.")
            return words.format(shown=formats.count(room), count=count)
        return self.tr("{count} characters").format(count=count)

    def _offer(self) -> None:
        """Offer to stage what was typed, and say so where it does not fit the column."""
        if self._column is None or self._text.isReadOnly():
            return
        try:
            value = cells.parse(self._text.toPlainText(), self._column.type)
        except cells.InvalidValue as error:
            self._note.setText(str(error))
            self._stage.setEnabled(False)
        else:
            self._stage.setEnabled(value != self._value)
            self._note.setText(self._size_note(value))
        self._stage.show()

    def _stage_text(self) -> None:
        if self._column is None:
            return
        try:
            value = cells.parse(self._text.toPlainText(), self._column.type)
        except cells.InvalidValue as error:
            self._note.setText(str(error))
            return
        self._value = value
        self._stage.hide()
        self.value_staged.emit(value)

    def focus_text(self) -> None:
        """Put the cursor into the value."""
        self._text.setFocus(Qt.FocusReason.OtherFocusReason)


def _room(text: str) -> int:
    """How many of its characters are shown."""
    shown = text[:SHOWN_TEXT]
    # One step for a text that ends within it, and none longer than the line: this may be asked often.
    begin = 0
    while len(shown) - begin > LONGEST_LINE:
        end = shown.rfind("\n", begin, begin + LONGEST_LINE + 1)
        if end < 0:
            return begin + LONGEST_LINE
        begin = end + 1
    return len(shown)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that are laid out in one turn: whole lines, as a line is laid out as a whole."""
    begin = 0
    while len(text) - begin > _AT_ONCE:
        end = text.find("\n", begin + _AT_ONCE // 2)
        if end < 0:
            break
        yield text[begin : end + 1]
        begin = end + 1
    yield text[begin:]


def _as_json(text: str) -> Any:
    if len(text) > LONGEST_LINE:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
