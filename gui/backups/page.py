"""The page of backups: what there is, how old, whether it was proved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QFileDialog, QStackedWidget, QWidget

from engine.errors import Cancelled
from engine.types import BackupInfo
from gui.actions import Actions
from gui.backups.dialogs import BackupDialog, RestoreDialog
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import (
    Card,
    ElidedLabel,
    EmptyState,
    StatTile,
    button,
    column,
    formats,
    label,
    row,
    tool_button,
)

OLD_S = 3 * 86400.0
"""No verified backup for this long is worth a warning."""


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)


def backup_fields() -> tuple[Field, ...]:
    """What is shown of a `BackupInfo`."""
    return (
        Field(tr("Taken"), lambda b: formats.moment(b.taken_at), icon_name=lambda _b: "backups"),
        Field(tr("Age"), lambda b: formats.ago(b.taken_at)),
        Field(tr("Size"), lambda b: formats.size(b.bytes), True),
        Field(tr("Pages"), lambda b: formats.count(b.pages), True),
        Field(
            tr("Proof"),
            lambda b: tr("not verified") if b.verified_at is None else tr("checksummed"),
            tone=lambda b: Tone.WARN if b.verified_at is None else Tone.GOOD,
            tip=lambda b: tr("never") if b.verified_at is None else formats.moment(b.verified_at),
        ),
        Field(tr("Name"), lambda b: Path(b.path).name, tip=lambda b: b.path),
    )


class BackupsPage(Page):
    """Lists the chain of the open database and works on it."""

    page_id = "backups"
    icon_name = "backups"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Backups"), "")
        self.header.set_subtitle(self.tr("Taken while the database is in use, proved before they count"))
        self.folder = Path()
        self.errors = self.make_errors(self.refresh)
        self.model = RecordModel(backup_fields(), lambda b: b.path, limit=500, parent=self)
        self.view = RecordView(self.model, self.tr("Backups"), (200, 120, 110, 100, 140))
        self.view.record_chosen.connect(self._show_chosen)
        self._bar = JobBar()
        self._folder = ElidedLabel("", "mono")
        self._last = StatTile(self.tr("Last backup"))
        self._proved = StatTile(self.tr("Last proved"))
        self._count = StatTile(self.tr("In this folder"))
        self._verify = button(self.tr("Verify"), self.verify, "", "check")
        self._restore = button(self.tr("Restore into a new database…"), self.restore, "", "undo")
        self._build()

    def _build(self) -> None:
        take = button(self.tr("Back up now…"), self.back_up, "primary", "backups")
        self.header.add_action(tool_button("refresh", self.tr("Read the list again"), self.refresh))
        self.header.add_action(take)
        empty = EmptyState(
            "backups",
            self.tr("No backup yet"),
            self.tr("A backup runs while you work. Put it on another disk than the database."),
            button(self.tr("Take the first backup…"), self.back_up, "primary"),
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        listed = QWidget()
        inner = column(gap=Space.S)
        inner.addWidget(self.view, 1)
        inner.addLayout(row(None, self._verify, self._restore))
        listed.setLayout(inner)
        self._stack.addWidget(listed)
        card = Card()
        change = button(self.tr("Other folder…"), self._choose_folder, "quiet", "folder")
        place = row(label(self.tr("Folder"), "caption"), gap=Space.M)
        place.addWidget(self._folder, 1)
        place.addWidget(change)
        card.add(place, self._bar)
        card.body.addWidget(self._stack, 1)
        inner = column(self.errors, row(self._last, self._proved, self._count, gap=Space.M), gap=Space.M)
        inner.addWidget(card, 1)
        self.body.addLayout(inner, 1)

    def add_actions(self, actions: Actions) -> None:
        for action_id, words, handler, keys, drawing in (
            ("backups.take", self.tr("Back up now…"), self.back_up, "Ctrl+B", "backups"),
            ("backups.verify", self.tr("Verify the chosen backup"), self.verify, "Ctrl+Shift+V", "check"),
            ("backups.restore", self.tr("Restore the chosen backup…"), self.restore, "Ctrl+Shift+O", "undo"),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self.folder = self.shell.preferences.backup_folder(session.path)
        self.refresh()

    def detach(self) -> None:
        self.model.show([])
        self.errors.clear()
        self._bar.hide()
        super().detach()

    def entered(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Read the list of backups again."""
        if self.session is None:
            return
        folder = self.folder
        self._folder.setText(str(folder))
        answer = self.session.run(lambda _db: _list(folder), self, channel="files")
        answer.done(self._show).failed(self._show_error)

    def _show(self, found: tuple[BackupInfo, ...]) -> None:
        chosen = self.view.current()
        self.model.show(found)
        self._stack.setCurrentIndex(1 if found else 0)
        line = self.model.line_of(chosen.path) if chosen is not None else None
        if found:
            self.view.choose_line(0 if line is None else line)
        self._show_tiles(found)
        self._show_chosen(self.view.current())

    def _show_tiles(self, found: tuple[BackupInfo, ...]) -> None:
        now = time.time()
        last = max((b.taken_at for b in found), default=0.0)
        proved = max((b.verified_at or 0.0 for b in found), default=0.0)
        self.shell.backup_seen.emit(last)
        self._last.show_value(
            formats.ago(last), formats.moment(last) if last else "", Tone.WARN if now - last > OLD_S else None
        )
        self._proved.show_value(
            formats.ago(proved),
            self.tr("every file against its checksum") if proved else "",
            Tone.WARN if now - proved > OLD_S else Tone.GOOD,
        )
        self._count.show_value(
            formats.count(len(found)),
            self.tr("{size} in all").format(size=formats.size(sum(b.bytes for b in found))),
        )

    def _show_chosen(self, info: Any) -> None:
        for widget in (self._verify, self._restore):
            widget.setEnabled(info is not None)

    def back_up(self) -> None:
        """Open the dialog that takes a backup."""
        if self.session is None:
            return
        dialog = BackupDialog(self.shell, self.session, self)
        dialog.taken.connect(self._has_taken)
        dialog.open()

    def _has_taken(self, info: BackupInfo) -> None:
        self.folder = Path(info.path).parent
        self.refresh()
        self.shell.tell(self.tr("Backed up and proved"))

    def verify(self) -> None:
        """Check the chosen backup against its checksums."""
        info = self.view.current()
        if self.session is None or info is None:
            return
        path = Path(info.path)
        answer = self.session.run(lambda _db: _verify_task(path), self, channel="files")
        answer.done(self._follow).failed(self._show_error)

    def _follow(self, task: Any) -> None:
        job = self.shell.jobs.start(task, self)
        self._bar.follow(job)
        job.answer.done(lambda _info: self._has_verified()).failed(self._show_error)

    def _has_verified(self) -> None:
        self.shell.tell(self.tr("The backup is whole"))
        self.refresh()

    def restore(self) -> None:
        """Open the dialog that restores the chosen backup."""
        info = self.view.current()
        if self.session is None or info is None:
            return
        beside = self.session.path.with_name(f"{self.session.path.stem} restored.holdfast")
        RestoreDialog(self.shell, Path(info.path), beside, self).open()

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self, self.tr("Folder of backups"), str(self.folder.parent))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Use this folder"))
        dialog.fileSelected.connect(self._use_folder)
        dialog.open()

    def _use_folder(self, text: str) -> None:
        if self.session is not None:
            self.folder = Path(text)
            self.shell.preferences.keep_backup_folder(self.session.path, self.folder)
            self.refresh()

    def _show_error(self, error: BaseException) -> None:
        self._bar.hide()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.tr("work on a backup"))


def _list(folder: Path) -> tuple[BackupInfo, ...]:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.backup import list_backups

    return list_backups(folder)


def _verify_task(path: Path) -> Any:
    from engine.backups.backup import verify_task

    return verify_task(path)
