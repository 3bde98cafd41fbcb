"""Bringing data in: what the file holds, how it would be read, then one all-or-nothing import."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QStackedWidget, QWidget

from engine.errors import Cancelled
from gui.page import Shell
from gui.tables.import_csv import CsvImportForm
from gui.tables.import_tables import TablesImportForm
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone, icon
from gui.widgets import CommandLine, EmptyState, button, column, formats, label, row, set_look

if TYPE_CHECKING:
    from engine.data.importing import ImportPlan, ImportResult


class ImportDialog(QDialog):
    """Shows the plan of an import, lets it be changed, and carries it out as a job.

    Closing the dialog does not stop a running import; it goes on in the jobs panel.
    """

    imported = Signal(list)
    """The names of the new tables."""

    def __init__(
        self, shell: Shell, session: EngineSession, path: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Import {name}").format(name=path.name))
        self.resize(880, 620)
        self._shell = shell
        self._session = session
        self._path = path
        self.plan: ImportPlan | None = None
        self._form: CsvImportForm | TablesImportForm | None = None
        self._subtitle = label("", "muted", wrap=True)
        self.errors = ErrorSlot()
        self._stack = QStackedWidget()
        self._stack.addWidget(
            EmptyState("file", self.tr("Looking at the file"), self.tr("It is only read, never changed."))
        )
        self._bar = JobBar()
        self._issues = label("", tone=Tone.BAD, wrap=True)
        self._cancel = button(self.tr("Close"), self.close)
        self.go = button(self.tr("Import"), self.start, "primary", "import")
        self.go.setEnabled(False)
        self.go.setDefault(True)
        self._command = CommandLine()
        self._command.hide()
        foot = row(self._issues, self._cancel, self.go)
        foot.setStretchFactor(self._issues, 1)
        title = label(self.tr("Import {name}").format(name=path.name), "title")
        whole = column(title, self._subtitle, self.errors, margin=Space.XL, gap=Space.M)
        whole.addWidget(self._stack, 1)
        whole.addWidget(self._bar)
        whole.addWidget(self._command)
        whole.addLayout(foot)
        self.setLayout(whole)
        self._look()

    def _look(self) -> None:
        path = self._path
        answer = self._session.run(lambda _database: _plan(path), self, channel="files")
        answer.done(lambda found: self._show_plan(*found)).failed(self._show_error)

    def _show_plan(self, plan: ImportPlan, size_bytes: int) -> None:
        self.plan = plan
        form: CsvImportForm | TablesImportForm
        form = TablesImportForm(plan) if plan.kind == "sqlite" else CsvImportForm(plan, self._session)
        form.plan_changed.connect(self._show_state)
        self._form = form
        self._stack.addWidget(form)
        self._stack.setCurrentWidget(form)
        kind = {"sqlite": "SQLite", "csv": "CSV", "jsonl": "JSON lines"}[plan.kind]
        self._subtitle.setText(
            self.tr("{kind} · {size} · {path}").format(
                kind=kind, size=formats.size(size_bytes), path=self._path.parent
            )
        )
        self._show_state()
        self.go.setFocus()

    def _show_state(self) -> None:
        """Say what keeps the plan from being carried out, or what the button will do."""
        plan = self.plan
        if plan is None:
            return
        issues = plan.issues()
        more = f" (+{len(issues) - 2})" if len(issues) > 2 else ""
        self._issues.setText("; ".join(issues[:2]) + more)
        self.go.setEnabled(not issues and self._bar.job is None)
        self._show_command(plan)
        chosen = plan.chosen()
        if len(chosen) == 1:
            self.go.setText(self.tr("Import into “{table}”").format(table=chosen[0].target))
        else:
            self.go.setText(self.tr("Import {n} tables").format(n=len(chosen)))

    def _show_command(self, plan: ImportPlan) -> None:
        """The verb takes a whole SQLite database or one table of it, under the names that they have."""
        words = import_words(plan)
        self._command.setVisible(words is not None)
        if words is not None:
            self._command.show_command("import", self._session.path, self._path, *words)

    def start(self) -> None:
        """Carry the plan out."""
        plan = self.plan
        if plan is None or self._bar.job is not None:
            return
        self.errors.clear()
        self.go.setEnabled(False)
        answer = self._session.run(lambda db: db.tables.import_task(plan), self, channel="files")
        answer.done(self._follow).failed(self._show_error)

    def _follow(self, task: Any) -> None:
        job = self._shell.jobs.start(task, self)
        self._bar.follow(job)
        if self._form is not None:
            self._form.setEnabled(False)
        self._cancel.setText(self.tr("Go on in the background"))
        # Heard even when the dialog has gone: the tables are new all the same.
        job.ended.connect(partial(_tell_changed, self._session))
        job.answer.done(self._has_imported).failed(self._has_failed)

    def _has_imported(self, result: ImportResult) -> None:
        rate = formats.rate(result.rows / result.seconds, "rows") if result.seconds > 0 else ""
        self._issues.setText(
            (
                self.tr("Imported {rows} into one table, {rate}.")
                if len(result.tables) == 1
                else self.tr("Imported {rows} into {tables} tables, {rate}.")
            ).format(rows=formats.rows(result.rows), tables=len(result.tables), rate=rate)
        )
        set_look(self._issues, tone="good")
        names = [name for name, _rows in result.tables]
        self._cancel.hide()
        self.go.clicked.disconnect()
        self.go.setText(self.tr("Show the data"))
        self.go.setIcon(icon("tables", "on_accent"))
        self.go.clicked.connect(lambda: self._show_data(names))
        self.go.setEnabled(True)
        self.go.setFocus()

    def _show_data(self, names: list[str]) -> None:
        self.imported.emit(names)
        self.accept()

    def _has_failed(self, error: BaseException) -> None:
        self._bar.job = None
        self._cancel.setText(self.tr("Close"))
        if self._form is not None:
            self._form.setEnabled(True)
        if not isinstance(error, Cancelled):
            self._bar.hide()
            self._show_error(error)
        self._show_state()

    def _show_error(self, error: BaseException) -> None:
        self.errors.show_error(error, self.tr("import {name}").format(name=self._path.name))
        self._show_state()


def import_words(plan: ImportPlan) -> list[str] | None:
    """The options that say this plan on a command line; None where it has none for it."""
    chosen = plan.chosen()
    if plan.kind != "sqlite":
        table = chosen[0]
        words = ["--table", table.target]
        if plan.kind == "csv":
            separator = "tab" if plan.delimiter == "\t" else plan.delimiter
            words += ["--delimiter", separator, "--encoding", plan.encoding]
            words += ["--header", "yes" if plan.header else "no"]
        return words + (["--key", ",".join(table.primary_key)] if table.primary_key else [])
    if any(table.target != table.source for table in chosen):
        return None
    if len(chosen) == len(plan.tables):
        return []
    return ["--table", chosen[0].source] if len(chosen) == 1 else None


def _plan(path: Path) -> tuple[ImportPlan, int]:
    """How the file would be imported, and its size."""
    # Imported here: the kernel is loaded on the worker.
    from engine.data.importing import plan_import

    return plan_import(path), path.stat().st_size


def _tell_changed(session: EngineSession, _progress: object) -> None:
    if shiboken6.isValid(session):
        session.changed.emit("tables")
