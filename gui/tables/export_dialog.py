"""Taking data out: which tables, in which form, to which file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from engine.errors import Cancelled, DatabaseExists
from engine.types import TableInfo
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import CommandLine, ConfirmBar, button, column, formats, label, row, set_look

_FORMS = (("sqlite", ".sqlite"), ("csv", ".csv"), ("jsonl", ".jsonl"))


class ExportDialog(QDialog):
    """Writes tables to a file as a job. An existing file is replaced only after a question."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        tables: list[TableInfo],
        chosen: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Export data"))
        self.resize(620, 560)
        self._shell = shell
        self._session = session
        self._chosen = chosen
        self._all = [table.name for table in tables]
        self.errors = ErrorSlot()
        self.confirm = ConfirmBar()
        self._form = QComboBox()
        self._form.setAccessibleName(self.tr("Form of the file"))
        self._form.addItems([self.tr("SQLite database"), self.tr("CSV"), self.tr("JSON lines")])
        self._hint = label("", "caption", wrap=True)
        self._list = self._tables(tables)
        self._path = QLineEdit()
        self._path.setAccessibleName(self.tr("File to write"))
        self._path.textChanged.connect(self._show_state)
        self._bar = JobBar()
        self._said = label("", wrap=True)
        self._close = button(self.tr("Close"), self.close)
        self.go = button(self.tr("Export"), self.start, "primary", "export")
        self.go.setDefault(True)
        self._command = CommandLine()
        self._form.currentIndexChanged.connect(self._take_form)
        self.confirm.confirmed.connect(lambda: self._write(replace=True))
        self._lay_out()
        self._path.setText(str(shell.preferences.folder / f"{chosen or session.name}.sqlite"))
        self._take_form()

    def _tables(self, tables: list[TableInfo]) -> QListWidget:
        made = QListWidget()
        made.setAccessibleName(self.tr("Tables to export"))
        for table in tables:
            item = QListWidgetItem(f"{table.name}  ·  {formats.rows(table.rows)}")
            item.setData(Qt.ItemDataRole.UserRole, table.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
            made.addItem(item)
        made.itemChanged.connect(self._show_state)
        return made

    def _lay_out(self) -> None:
        form = row(label(self.tr("Form"), "caption"), self._form, self._hint, gap=Space.M)
        form.setStretchFactor(self._hint, 1)
        browse = button(self.tr("Choose…"), self._browse)
        target = row(label(self.tr("File"), "caption"), self._path, browse, gap=Space.M)
        foot = row(self._said, self._close, self.go)
        foot.setStretchFactor(self._said, 1)
        title = label(self.tr("Export data"), "title")
        whole = column(title, self.errors, form, margin=Space.XL, gap=Space.M)
        whole.addWidget(self._list, 1)
        for part in (target, self.confirm, self._bar, self._command, foot):
            whole.addWidget(part) if isinstance(part, QWidget) else whole.addLayout(part)
        self.setLayout(whole)

    def names(self) -> list[str]:
        """The tables that are ticked."""
        items = (self._list.item(line) for line in range(self._list.count()))
        return [
            str(item.data(Qt.ItemDataRole.UserRole))
            for item in items
            if item.checkState() is Qt.CheckState.Checked
        ]

    def show_target(self, path: Path, form: str) -> None:
        """Set the file and its form ("sqlite", "csv" or "jsonl")."""
        self._form.setCurrentIndex([name for name, _ in _FORMS].index(form))
        self._path.setText(str(path))

    def _take_form(self) -> None:
        kind, ending = _FORMS[self._form.currentIndex()]
        single = kind != "sqlite"
        self._hint.setText(
            self.tr("one table in a file")
            if single
            else self.tr("all tables with keys and indexes in one file")
        )
        if single:
            wanted = self._chosen or (self.names() or [""])[0]
            for line in range(self._list.count()):
                item = self._list.item(line)
                is_wanted = item.data(Qt.ItemDataRole.UserRole) == wanted
                item.setCheckState(Qt.CheckState.Checked if is_wanted else Qt.CheckState.Unchecked)
        if self._path.text():
            self._path.setText(str(Path(self._path.text()).with_suffix(ending)))
        self._show_state()

    def _show_state(self) -> None:
        names = self.names()
        kind = _FORMS[self._form.currentIndex()][0]
        problem = ""
        if not names:
            problem = self.tr("Choose a table.")
        elif kind != "sqlite" and len(names) > 1:
            problem = self.tr("This form holds one table; choose only one.")
        elif not self._path.text().strip():
            problem = self.tr("Choose a file.")
        self._said.setText(problem)
        set_look(self._said, tone="bad" if problem else "")
        self._show_command(names, kind)
        self.go.setEnabled(not problem and (self._bar.job is None or self._bar.job.is_over))
        self.go.setText(
            self.tr("Export “{name}”").format(name=names[0])
            if len(names) == 1
            else self.tr("Export {n} tables").format(n=len(names))
        )

    def _show_command(self, names: list[str], kind: str) -> None:
        path = Path(self._path.text().strip())
        words = [word for name in names for word in ("--table", name)] if len(names) < len(self._all) else []
        words += [] if path.suffix == dict(_FORMS)[kind] else ["--kind", kind]
        self._command.show_command("export", self._session.path, path, *words)

    def _browse(self) -> None:
        dialog = QFileDialog(self, self.tr("File to write"), str(Path(self._path.text()).parent))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Export here"))
        dialog.fileSelected.connect(self._path.setText)
        dialog.open()

    def start(self) -> None:
        """Write the file."""
        self._write(replace=False)

    def _write(self, replace: bool) -> None:
        path, names = Path(self._path.text()), self.names()
        kind = _FORMS[self._form.currentIndex()][0]
        self.errors.clear()
        self.go.setEnabled(False)
        answer = self._session.run(
            lambda db: db.tables.export_task(path, names, kind, replace=replace), self, channel="files"
        )
        answer.done(lambda task: self._follow(task, path)).failed(self._has_failed)

    def _follow(self, task: Any, path: Path) -> None:
        self._shell.preferences.folder = path.parent
        job = self._shell.jobs.start(task, self)
        self._bar.follow(job)
        self._close.setText(self.tr("Go on in the background"))
        job.answer.done(self._has_written).failed(self._has_failed)

    def _has_written(self, result: Any) -> None:
        self._close.setText(self.tr("Close"))
        self._show_state()
        self._said.setText(
            self.tr("Wrote {rows} to {name} in {time}.").format(
                rows=formats.rows(result.rows),
                name=result.path.name,
                time=formats.duration(result.seconds),
            )
        )
        set_look(self._said, tone="good")

    def _has_failed(self, error: BaseException) -> None:
        self._close.setText(self.tr("Close"))
        self._show_state()
        self.go.setEnabled(True)
        if isinstance(error, DatabaseExists):
            name = Path(self._path.text()).name
            self.confirm.ask(
                self.tr("{name} exists. It stays as it is until the new file is complete.").format(name=name),
                self.tr("Replace {name}").format(name=name),
                self.tr("Keep it"),
                Tone.BAD,
            )
        elif not isinstance(error, Cancelled):
            self._bar.hide()
            self.errors.show_error(error, self.tr("export data"))
