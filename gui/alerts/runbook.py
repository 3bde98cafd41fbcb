"""A runbook as a text to follow."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QTextBrowser, QWidget

from engine.catalogue import runbook
from gui.theme import Space
from gui.widgets import button, column, row


class RunbookDialog(QDialog):
    """Shows the runbook of this name; it stands beside the window, so that its steps can be followed."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        title, _, steps = runbook(name).removeprefix("# ").partition("\n")
        self.setWindowTitle(self.tr("Runbook: {title}").format(title=title))
        self.text = QTextBrowser()
        self.text.setAccessibleName(title)
        # Ours, from the resources: the one text here that is markup.
        self.text.setMarkdown(f"## {title}\n{steps}")
        close = button(self.tr("Close"), self.close, "primary")
        whole = column(gap=Space.M, margin=Space.L)
        whole.addWidget(self.text, 1)
        whole.addLayout(row(None, close))
        self.setLayout(whole)
        self.resize(680, 520)
