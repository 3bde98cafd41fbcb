"""The loss ledger of a recovery as a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

from engine.files import write_atomically
from engine.recovery.ledger import ledger
from engine.recovery.report import RecoveryReport


def ask_export(over: QWidget, database: Path, chosen: Callable[[Path], object]) -> None:
    """Ask where to; `chosen` gets the file."""
    dialog = QFileDialog(over, over.tr("Export the loss ledger"), str(database.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.selectFile(f"{database.stem} recovery.txt")
    dialog.fileSelected.connect(lambda text: chosen(Path(text)))
    dialog.open()


def write_ledger(report: RecoveryReport, database: Path, target: Path) -> None:
    """Write it; for a worker. Raises `OSError`."""
    write_atomically(target, ledger(report, database, time.time()), private=False)
