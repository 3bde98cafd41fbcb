"""Which Holdfast this is, and what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import PySide6
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QLabel, QWidget

from gui.theme import Space, pixmap
from gui.widgets import button, column, label, row


class AboutDialog(QDialog):
    """Names the versions that a report of a fault needs; they can be copied."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("About Holdfast"))
        mark = QLabel()
        mark.setPixmap(pixmap("holdfast", 56, "text", self.devicePixelRatioF()))
        self._facts = label("\n".join(f"{name} {value}" for name, value in facts()), "mono")
        line = self.tr("A desktop database manager that owns its storage engine.")
        head = row(mark, gap=Space.L)
        head.addLayout(column(label("Holdfast", "title"), label(line, "muted"), gap=2), 1)
        copy = button(self.tr("Copy versions"), self._copy, "", "copy")
        close = button(self.tr("Close"), self.close, "primary")
        close.setDefault(True)
        self.setLayout(
            column(
                head,
                self._facts,
                label(self.tr("MIT licence. Qt is used under the LGPL."), "caption"),
                row(None, copy, close),
                margin=Space.XL,
                gap=Space.L,
            )
        )

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._facts.text())


def facts() -> list[tuple[str, str]]:
    """Names and versions."""
    try:
        ours = version("holdfast")
    except PackageNotFoundError:
        ours = "from source"
    return [
        ("Holdfast", ours),
        ("Python", platform.python_version()),
        ("Qt", PySide6.__version__),
        ("System", platform.platform()),
    ]
