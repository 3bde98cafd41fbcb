"""The dialog for a database that cannot be opened, and whose mirror can take its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QRadioButton, QVBoxLayout, QWidget

from engine.errors import Cancelled
from gui.mirrors.words import loss_words
from gui.page import Shell
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space
from gui.widgets import CommandLine, FittedDialog, button, column, label, row

if TYPE_CHECKING:
    from engine.mirrors.register import Heir


class TakeoverDialog(FittedDialog):
    """Says why the database cannot be opened, what each mirror of it would lose, and lets one take over."""

    def __init__(
        self, shell: Shell, path: Path, error: BaseException, heirs: Sequence[Heir], parent: QWidget | None
    ) -> None:
        super().__init__(680, 320, parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("{name} cannot be opened").format(name=path.stem))
        self._shell = shell
        self._path = path
        self.errors = ErrorSlot()
        self.errors.show_error(error, self.tr("open {name}").format(name=path.name))
        self.bar = JobBar()
        self.choices = [(self._choice(heir), heir) for heir in heirs]
        self.cut = QCheckBox(self.tr("Lose what lies beyond the damage in its log"))
        self.cut.toggled.connect(lambda _on: self._show_chosen())
        self.loss = label("", "muted", wrap=True)
        self.command = CommandLine()
        self.go = button(self.tr("Let it take over"), self.take_over, "primary", "arrow-right")
        self.go.setDefault(True)
        self.close_button = button(self.tr("Close"), self.close)
        self.setLayout(self._layout())
        able = next((choice for choice, heir in self.choices if heir.is_able), None)
        if able is not None:
            able.setChecked(True)
            able.setFocus()
        self._show_chosen()

    def _choice(self, heir: Heir) -> QRadioButton:
        choice = QRadioButton(str(heir.path))
        choice.setEnabled(heir.is_able)
        choice.toggled.connect(lambda _on: self._show_chosen())
        return choice

    def _layout(self) -> QVBoxLayout:
        words = self.tr(
            "These directories follow it commit by commit. What one of them may lack is said below, "
            "before anything is changed. The database itself, where it can still be reached, is left as it "
            "is and never opened as the primary again: it can become the mirror, and take its place back."
        )
        title = self.windowTitle()
        whole = column(label(title, "title"), self.errors, label(words, "muted", wrap=True))
        for choice, heir in self.choices:
            whole.addWidget(choice)
            if heir.reason:
                whole.addWidget(label(heir.reason, "caption", wrap=True))
        for part in (self.loss, self.cut, self.bar, self.command):
            whole.addWidget(part)
        whole.addLayout(row(None, self.close_button, self.go))
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        return whole

    def chosen(self) -> Heir | None:
        """The directory that is to take the place."""
        return next((heir for choice, heir in self.choices if choice.isChecked()), None)

    def _show_chosen(self) -> None:
        if not hasattr(self, "go"):
            return
        heir = self.chosen()
        seen = None if heir is None else heir.outlook
        is_broken = seen is not None and bool(seen.broken)
        self.cut.setVisible(is_broken)
        self.go.setEnabled(heir is not None and (not is_broken or self.cut.isChecked()))
        self.command.setVisible(heir is not None)
        if heir is None:
            self.loss.setText(self.tr("None of them can take over: restore a backup instead."))
        elif heir.has_taken_over:
            self.loss.setText(self.tr("It has taken over already: nothing is left to do but open it."))
            self.go.setText(self.tr("Open it"))
            self.command.show_command("info", heir.path)
        elif seen is not None:
            self.loss.setText(loss_words(seen))
            self.go.setText(self.tr("Let it take over"))
            more = ["--accept-cut"] if is_broken else []
            self.command.show_command("mirror", self._path, "fail-over", heir.path, *more)

    def take_over(self) -> None:
        """Let the chosen directory take the place, and open it."""
        heir = self.chosen()
        if heir is None:
            return
        if heir.has_taken_over:
            self._open(heir.path)
            return
        # Imported here: the kernel is loaded by now, and was not when the window was drawn.
        from engine.mirrors.failover import fail_over_task

        self.errors.clear()
        self.go.setEnabled(False)
        task = fail_over_task(heir.path, self._path, accept_cut=self.cut.isChecked())
        job = self._shell.jobs.start(task, self)
        self.bar.follow(job)
        job.answer.done(self._has_taken_over).failed(self._has_failed)

    def _has_taken_over(self, done: Any) -> None:
        self._shell.tell(self.tr("{name} has taken over").format(name=done.path.name))
        self._open(done.path)

    def _open(self, path: Path) -> None:
        self.close()
        self._shell.open(path)

    def _has_failed(self, error: BaseException) -> None:
        self.bar.hide()
        self._show_chosen()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.windowTitle())
