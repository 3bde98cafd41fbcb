"""The command that does the same as a wizard, to be read and copied."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QWidget

from gui.theme import Space
from gui.widgets.basics import ElidedLabel, label, row, tool_button


class CommandLine(QFrame):
    """One line; a long command is shortened in the middle, told in full as a tool tip, copied in full."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._command = ElidedLabel("", "mono")
        copy = tool_button("copy", self.tr("Copy the command"), self.copy)
        line = row(label(self.tr("The same from a command line:"), "caption"), gap=Space.S)
        line.addWidget(self._command, 1)
        line.addWidget(copy)
        self.setLayout(line)

    def show_command(self, *words: str | Path) -> None:
        """Show `holdfast` with these words; paths, and what a shell would take apart, are quoted."""
        text = " ".join(["holdfast", *(_quoted(word) for word in words)])
        self._command.setText(text)
        self._command.setAccessibleName(text)

    def text(self) -> str:
        return self._command.text()

    def copy(self) -> None:
        """Put the command on the clipboard."""
        QGuiApplication.clipboard().setText(self.text())


def _quoted(word: str | Path) -> str:
    # Double quotes hold on the shells of Windows and Linux alike.
    plain = isinstance(word, str) and word and all(c.isalnum() or c in "-_=." for c in word)
    return word if plain and isinstance(word, str) else f'"{word}"'
