"""The last line of the guide: the command that does the same, and what can be done now."""

from __future__ import annotations

from PySide6.QtWidgets import QCheckBox, QFrame, QWidget

from gui.theme import Space
from gui.widgets import CommandLine, button, column, row


class Foot(QFrame):
    """Every button of the guide; a step shows those that make sense there."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.command = CommandLine()
        self.stop_before = QCheckBox(self.tr("Ask before it is put in place"))
        self.stop_before.setToolTip(
            self.tr(
                "Stops when all is recovered and checked beside the database, to install it or roll it back"
            )
        )
        self.later = button(self.tr("Not now"))
        self.past = button(self.tr("Earlier recoveries"), None, "", "clock")
        self.roll_back = button(self.tr("Roll back"), None, "", "undo")
        self.ways = button(self.tr("Other ways…"))
        self.ways_first = button(self.tr("Show the ways out…"), None, "primary")
        self.look_again = button(self.tr("Look again"), None, "", "refresh")
        self.rehearse = button(self.tr("Rehearse first"), None, "", "play")
        self.copy_first = button(self.tr("Copy the files first…"), None, "", "backups")
        self.copy_first.setToolTip(
            self.tr("An emergency backup of what can be read, before anything is tried on the database")
        )
        self.use_default = button("", None, "", "settings")
        self.again = button("", None, "primary", "refresh")
        self.start = button(self.tr("Recover"), None, "primary", "recovery")
        self.install = button(self.tr("Put it in place"), None, "primary", "recovery")
        self.open = button(self.tr("Show the data"), None, "primary", "open")
        self._choices: tuple[QWidget, ...] = (
            self.stop_before,
            self.later,
            self.past,
            self.roll_back,
            self.ways,
            self.look_again,
            self.copy_first,
            self.ways_first,
            self.rehearse,
            self.use_default,
            self.again,
            self.start,
            self.install,
            self.open,
        )
        line = row(None, gap=Space.S)
        for choice in self._choices:
            line.addWidget(choice)
        self.setLayout(column(self.command, line, gap=Space.S))

    def show_only(self, *shown: QWidget) -> None:
        """Show these, hide the others."""
        for choice in self._choices:
            choice.setVisible(choice in shown)

    def shown(self) -> list[QWidget]:
        """What can be done now."""
        return [choice for choice in self._choices if not choice.isHidden()]
