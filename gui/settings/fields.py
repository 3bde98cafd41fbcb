"""One setting as a line: its name, an editor for its kind, what it does, what is wrong with it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget

from engine.settings import Kind, Problem, Setting
from gui.theme import Space, Tone
from gui.widgets import column, label, row, set_look


class SettingLine(QWidget):
    """Edits one setting as text, a choice or a tick; knows whether what stands there is allowed."""

    edited = Signal()

    def __init__(self, name: str, setting: Setting, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self._setting = setting
        self._editor = self._make_editor()
        self._editor.setAccessibleName(name)
        self._editor.setAccessibleDescription(setting.help)
        self._editor.setFixedWidth(200)
        self._problem = label("", "caption", Tone.BAD, wrap=True)
        self._problem.hide()
        words = column(
            label(name.replace("_", " ").capitalize()), label(setting.help, "caption", wrap=True), gap=0
        )
        line = row(gap=Space.L)
        line.addLayout(words, 1)
        line.addWidget(self._editor)
        self.setLayout(column(line, self._problem, gap=Space.XS))

    def show_value(self, value: Any) -> None:
        """Show a value in the engine's units as people write it."""
        self._editor.blockSignals(True)
        shown = self._setting.show(value)
        if isinstance(self._editor, QCheckBox):
            self._editor.setChecked(bool(value))
        elif isinstance(self._editor, QComboBox):
            self._editor.setCurrentText(str(shown))
        elif isinstance(self._editor, QLineEdit):
            self._editor.setText(", ".join(shown) if isinstance(shown, list) else str(shown))
        self._editor.blockSignals(False)
        self._check()

    def value(self) -> Any | Problem:
        """What stands there, in the engine's units; a `Problem` where that is not allowed."""
        if isinstance(self._editor, QCheckBox):
            return self._editor.isChecked()
        if isinstance(self._editor, QComboBox):
            return self._setting.read(self.name, self._editor.currentText())
        assert isinstance(self._editor, QLineEdit)
        text: Any = self._editor.text().strip()
        if self._setting.kind is Kind.COUNT and text.lstrip("-").isdigit():
            text = int(text)
        elif self._setting.kind is Kind.WORDS:
            text = [word.strip() for word in text.split(",") if word.strip()]
        return self._setting.read(self.name, text)

    def _make_editor(self) -> QWidget:
        if self._setting.kind is Kind.FLAG:
            tick = QCheckBox(self.tr("on"))
            tick.toggled.connect(lambda _on: self._has_edited())
            return tick
        if self._setting.kind is Kind.CHOICE:
            choice = QComboBox()
            choice.addItems(list(self._setting.choices))
            choice.currentTextChanged.connect(lambda _text: self._has_edited())
            return choice
        text = QLineEdit()
        text.textEdited.connect(lambda _text: self._has_edited())
        return text

    def _has_edited(self) -> None:
        self._check()
        self.edited.emit()

    def _check(self) -> None:
        value = self.value()
        wrong = isinstance(value, Problem)
        self._problem.setText(f"{value.issue}. {value.fix}" if isinstance(value, Problem) else "")
        self._problem.setVisible(wrong)
        if isinstance(self._editor, QLineEdit):
            set_look(self._editor, invalid="true" if wrong else "")
