"""The page of backups: a line of time, each with its proof, what keeps them, and when the next is due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QSizePolicy, QStackedWidget, QWidget

from engine.errors import BackupLocked, Cancelled, HoldfastError
from engine.types import BackupInfo, Event
from gui.actions import Actions
from gui.backups.detail import BackupDetail
from gui.backups.dialogs import BackupDialog
from gui.backups.emergency_dialogs import EmergencyDialog
from gui.backups.keeping import RetentionCard, ScheduleCard
from gui.backups.key_question import KeyQuestion
from gui.backups.past_part import PastPart
from gui.backups.restore_dialog import RestoreDialog
from gui.backups.retention_dialog import RetentionDialog
from gui.backups.snapshot_part import SnapshotPart
from gui.backups.tiles import BackupTiles
from gui.backups.words import origin_word, proof_tone, proof_word
from gui.backups.worker import Look, look, task_of
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession, Sample
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import (
    Card,
    ConfirmBar,
    ElidedLabel,
    EmptyState,
    button,
    column,
    formats,
    label,
    row,
    tool_button,
)

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup

_EVENTS = frozenset({"backup_finished", "backup_failed", "backups_changed"})
_PAST_EVENTS = frozenset({"moment_marked", "moment_removed", "rows_rescued"})


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)


def backup_fields() -> tuple[Field, ...]:
    """What is shown of a `KeptBackup`."""
    return (
        Field(
            tr("Taken"),
            lambda b: formats.moment(b.info.taken_at),
            icon_name=lambda b: "plus" if b.parent else "backups",
            tip=_kind_tip,
        ),
        Field(tr("Age"), lambda b: formats.ago(b.info.taken_at)),
        Field(tr("Proof"), proof_word, tone=proof_tone, tip=_proof_tip),
        Field(tr("Size"), lambda b: formats.size(b.info.bytes), True),
        Field(tr("Asked for"), origin_word, tip=lambda b: b.name),
    )


class BackupsPage(Page):
    """Lists the backups of the open database and works on them."""

    page_id = "backups"
    icon_name = "backups"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Backups"), "")
        self.header.set_subtitle(self.tr("Taken while the database is in use, proved by restoring them"))
        self.folder = Path()
        self._shown: Look | None = None
        self._chosen = ""
        self._told = ""
        self.errors = self._make_errors()
        self.lock = KeyQuestion()
        """What was given here opens the backups in the dialogs too."""
        self.lock.given.connect(self._work_again)
        self._worked = ("", "")
        self.model = RecordModel(backup_fields(), lambda b: b.info.path, limit=500, parent=self)
        self.view = RecordView(self.model, self.tr("Backups"), (184, 98, 118, 84))
        self.view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.view.setMinimumHeight(80)
        self.view.record_chosen.connect(self._show_chosen)
        self.view.clicked.connect(lambda _index: self._show_chosen(self.view.current()))
        self.past = PastPart(self, self.lock)
        self.time_line = self.past.line
        self.time_line.chosen.connect(self._choose)
        self.past.moment_shown.connect(self._show_moment)
        self.past.failed.connect(self._show_error)
        self.snapshots = SnapshotPart(self)
        self.snapshots.started.connect(self._show_job)
        self.snapshots.failed.connect(self._show_error)
        self.detail = BackupDetail()
        self.schedule = ScheduleCard()
        self.schedule.changed.connect(self._change)
        self.retention = RetentionCard()
        self.retention.preview_asked.connect(self.show_retention)
        self._question = ConfirmBar()
        self._question.confirmed.connect(self._remove)
        self._bar = JobBar()
        self._folder = ElidedLabel("", "mono")
        self.tiles = BackupTiles()
        self._connect_detail()
        self._build()

    def _connect_detail(self) -> None:
        self.detail.verify_asked.connect(self.verify)
        self.detail.rehearse_asked.connect(self.rehearse)
        self.detail.restore_asked.connect(self.restore)
        self.detail.reveal_asked.connect(self._reveal)
        self.detail.remove_asked.connect(self._ask_remove)

    def _build(self) -> None:
        self.header.add_action(tool_button("refresh", self.tr("Read the list again"), self.refresh))
        self.header.add_action(button(self.tr("Name this moment…"), self.past.mark_now, "", "pin"))
        self.header.add_action(button(self.tr("Back up now…"), self.back_up, "primary", "backups"))
        empty = EmptyState(
            "backups",
            self.tr("No backup yet"),
            self.tr("A backup runs while you work. Put it on another disk than the database."),
            button(self.tr("Take the first backup…"), self.back_up, "primary"),
        )
        listed = QWidget()
        inner = column(self.time_line, gap=Space.S)
        inner.addWidget(self.view, 1)
        listed.setLayout(inner)
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(listed)
        card = Card()
        place = row(label(self.tr("Folder"), "caption"), gap=Space.M)
        place.addWidget(self._folder, 1)
        place.addWidget(button(self.tr("Other folder…"), self.choose_folder, "quiet", "folder"))
        card.add(place, self._bar)
        card.body.addWidget(self._stack, 1)
        self._side = QStackedWidget()
        self._side.addWidget(self.detail)
        self._side.addWidget(self.past.card)
        self._side.setFixedWidth(376)
        upper = row(gap=Space.M)
        upper.addWidget(card, 1)
        upper.addWidget(self._side)
        lower = row(gap=Space.M)
        lower.addWidget(self.schedule, 1)
        lower.addWidget(self.retention, 1)
        lower.addWidget(self.snapshots.card, 1)
        whole = column(self._question, self.errors, self.lock, self.tiles, gap=Space.M)
        whole.addLayout(upper, 1)
        whole.addLayout(lower)
        self.body.addLayout(whole, 1)

    def _make_errors(self) -> ErrorSlot:
        here = {
            "retry": self.back_up,
            "wait": self.back_up,
            "back_up": self.back_up,
            "backup_folder": self.choose_folder,
            "choose_another": self._choose_whole,
            "free_space": self._reveal_folder,
        }
        slot = ErrorSlot(lambda action: action in here or self.shell.can_do(action))

        def act(action: str) -> None:
            slot.clear()
            here.get(action, lambda: self.shell.action_requested.emit(action))()

        slot.action_requested.connect(act)
        return slot

    def add_actions(self, actions: Actions) -> None:
        self.snapshots.add_actions(actions)
        for action_id, words, handler, keys, drawing in (
            ("backups.take", self.tr("Back up now…"), self.back_up, "Ctrl+B", "backups"),
            (
                "backups.emergency",
                self.tr("Copy what can be read…"),
                self.copy_as_it_is,
                "Ctrl+Alt+E",
                "copy",
            ),
            ("backups.verify", self.tr("Verify the chosen backup"), self.verify, "Ctrl+Shift+V", "check"),
            (
                "backups.rehearse",
                self.tr("Rehearse the chosen backup"),
                self.rehearse,
                "Ctrl+Shift+H",
                "play",
            ),
            ("backups.restore", self.tr("Restore the chosen backup…"), self.restore, "Ctrl+Shift+O", "undo"),
            ("backups.mark", self.tr("Name this moment…"), self.past.mark_now, "Ctrl+Alt+N", "pin"),
            (
                "backups.moment",
                self.tr("Restore the chosen moment…"),
                self.past.restore,
                "Ctrl+Alt+O",
                "undo",
            ),
            ("backups.rescue", self.tr("Compare and rescue…"), self.past.rescue, "Ctrl+Alt+G", "search"),
            ("backups.folder", self.tr("Folder of backups…"), self.choose_folder, "Ctrl+Alt+F", "folder"),
            ("backups.retention", self.tr("Which backups stay…"), self.show_retention, "Ctrl+Alt+T", "trash"),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        session.sampled.connect(self._show_sample)
        session.events_arrived.connect(self._hear)
        self.past.attach(session)
        self.snapshots.attach(session)
        self.refresh()

    def detach(self) -> None:
        self.past.detach()
        self.snapshots.detach()
        self.model.show([])
        self.detail.show_backup(None)
        self._shown, self._chosen, self._told = None, "", ""
        self._question.hide()
        self.errors.clear()
        self.lock.take(None)
        self._bar.hide()
        super().detach()

    def entered(self) -> None:
        self.past.show_in_view(True)
        self.refresh()

    def left(self) -> None:
        self.past.show_in_view(False)

    def refresh(self) -> None:
        """Look at the folder of backups again."""
        if self.session is not None:
            self.session.run(look, self, channel="files").done(self._show).failed(self._show_error)
            self.past.refresh()
            self.snapshots.refresh()

    def _show(self, found: Look) -> None:
        self._shown = found
        self.folder = found.folder
        self._folder.setText(str(found.folder))
        chosen = self._chosen
        self.model.show(found.backups)
        self._stack.setCurrentIndex(1 if found.backups else 0)
        self._side.setVisible(bool(found.backups))
        line = self.model.line_of(chosen) if chosen else None
        if found.backups:
            self.view.choose_line(0 if line is None else line)
        self.tiles.show_look(found)
        self.time_line.show_backups(found.backups, found.standing.next_at)
        if self.time_line.current() is None:
            self.time_line.choose(self._chosen)
        self.schedule.show_config(found.config)
        self.schedule.show_standing(found.standing)
        self.retention.show_plan(found.config, found.plan)
        self._show_kept(self.view.current() if found.backups else None)
        self._tell_failure(found.failure)

    def _tell_failure(self, failure: HoldfastError | None) -> None:
        """Show the card of a failed schedule once, and take it away when it has been settled."""
        words = "" if failure is None else failure.message
        if words == self._told:
            return
        self._told = words
        if failure is None:
            self.errors.clear()
        else:
            self.errors.show_error(failure, self.tr("take the scheduled backup"))

    def _show_sample(self, sample: Sample) -> None:
        standing = None if sample.health is None else sample.health.backups
        if standing is not None and self.isVisible():
            self.tiles.show_next(standing)
            self.schedule.show_standing(standing)

    def _hear(self, events: list[Event]) -> None:
        if any(event.kind in _EVENTS for event in events):
            self.refresh()
        elif any(event.kind in _PAST_EVENTS for event in events):
            self.past.refresh()
        if self.session is not None and any(event.kind == "scheduled_backup_began" for event in events):
            # It may be over before it is asked for.
            self.session.run(lambda db: db.keeper.latest(), self, channel="files").done(self._follow_schedule)

    def _follow_schedule(self, task: Any) -> None:
        """Put the backup that the schedule takes among the jobs; its end comes as an event."""
        if task is not None:
            self._bar.follow(self.shell.jobs.follow(task, self))

    def _show_job(self, job: Any) -> None:
        self._bar.follow(job)

    def _show_chosen(self, kept: KeptBackup | None) -> None:
        self._show_kept(kept)
        self.time_line.choose(self._chosen)
        self._show_moment(False)

    def _show_kept(self, kept: KeptBackup | None) -> None:
        """Show what is known of a backup; the slider stays where it is."""
        self._chosen = "" if kept is None else kept.info.path
        self.detail.show_backup(kept)

    def _show_moment(self, is_moment: bool) -> None:
        self._side.setCurrentIndex(1 if is_moment else 0)

    def _choose(self, path: str) -> None:
        line = self.model.line_of(path)
        if line is not None:
            self.view.choose_line(line)

    def _choose_whole(self) -> None:
        """Choose the newest backup that has not failed."""
        backups = () if self._shown is None else self._shown.backups
        whole = next((kept for kept in backups if kept.setback is None), None)
        if whole is not None:
            self._choose(whole.info.path)
        else:
            self.back_up()

    # What can be done

    def back_up(self) -> None:
        """Open the dialog that takes a backup."""
        if self.session is None:
            return
        folder = (
            self.folder if self.folder != Path() else self.shell.preferences.backup_folder(self.session.path)
        )
        newest = self._shown.backups[0] if self._shown is not None and self._shown.backups else None
        dialog = BackupDialog(self.shell, self.session, folder, self, newest)
        dialog.lock.take(self.lock.key())
        dialog.taken.connect(self._has_taken)
        dialog.ended.connect(self.refresh)
        dialog.open()

    def copy_as_it_is(self) -> None:
        """Open the dialog that copies what can be read of the open database, damaged or not."""
        if self.session is not None:
            path = self.session.path
            folder = self.folder if self.folder != Path() else self.shell.preferences.backup_folder(path)
            dialog = EmergencyDialog(self.shell, path, folder, self, self.session)
            dialog.finished.connect(self.refresh)
            dialog.open()

    def _has_taken(self, info: BackupInfo) -> None:
        self._chosen = info.path
        self.errors.clear()
        self.refresh()

    def verify(self) -> None:
        """Check the chosen backup against its checksums."""
        self._work("checksum", self.tr("The backup is whole"))

    def rehearse(self) -> None:
        """Restore the chosen backup into a scratch folder, check it there, and count its rows."""
        self._work("rehearse", self.tr("The backup is proved"))

    def _work(self, kind: str, words: str) -> None:
        kept = self.view.current()
        if self.session is None or kept is None:
            return
        path, given = Path(kept.info.path), self.lock.key()
        self._worked = (kind, words)
        self.errors.clear()
        answer = self.session.run(lambda db: task_of(db, kind, path, given), self, channel="files")
        answer.done(lambda task: self._follow(task, words)).failed(self._show_error)

    def _work_again(self) -> None:
        """With the key that was given now."""
        self._work(*self._worked)

    def _follow(self, task: Any, words: str) -> None:
        job = self.shell.jobs.start(task, self)
        self._bar.follow(job)
        job.answer.done(lambda _result: self._has_done(words)).failed(self._show_error)

    def _has_done(self, words: str) -> None:
        self.shell.tell(words)
        self.refresh()

    def restore(self) -> None:
        """Open the dialog that restores the chosen backup."""
        kept = self.view.current()
        if self.session is None or kept is None:
            return
        beside = self.session.path.with_name(f"{self.session.path.stem} restored.holdfast")
        dialog = RestoreDialog(self.shell, Path(kept.info.path), beside, self, self.session)
        dialog.lock.take(self.lock.key())
        dialog.open()

    def show_retention(self) -> None:
        """Open the dialog that shows which backups would go."""
        if self.session is None or self._shown is None:
            return
        dialog = RetentionDialog(self.shell, self.session, self._shown.backups, self._shown.config, self)
        dialog.pruned.connect(self.refresh)
        dialog.open()

    def choose_folder(self) -> None:
        """Ask where backups go from now on."""
        if self.session is None:
            return
        dialog = QFileDialog(self, self.tr("Folder of backups"), str(self.folder.parent))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Use this folder"))
        dialog.fileSelected.connect(self.use_folder)
        dialog.open()

    def use_folder(self, text: str) -> None:
        """Backups go to this folder from now on."""
        if self.session is not None:
            self.shell.preferences.keep_backup_folder(self.session.path, Path(text))
            self._change({"backup_folder": text})

    def _change(self, values: dict[str, Any]) -> None:
        if self.session is None:
            return
        answer = self.session.run(lambda db: db.keeper.change(**values), self, channel="files")
        answer.failed(self._show_error).finally_(self.refresh)

    def _reveal(self) -> None:
        if (kept := self.view.current()) is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(kept.info.path))

    def _reveal_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.folder)))

    def _ask_remove(self) -> None:
        kept = self.view.current()
        if kept is None or self._shown is None:
            return
        proved = [b.name for b in self._shown.backups if b.is_proved]
        text = self.tr("Remove the backup of {moment}? It cannot be brought back.").format(
            moment=formats.moment(kept.info.taken_at)
        )
        if proved == [kept.name]:
            text += " " + self.tr("It is the only one that is proved.")
        if any(b.parent == kept.name for b in self._shown.backups):
            text += " " + self.tr("The increments that continue it go with it.")
        size = formats.size(kept.info.bytes)
        self._question.ask(
            text, self.tr("Remove it ({size})").format(size=size), self.tr("Keep it"), Tone.BAD
        )

    def _remove(self) -> None:
        self._work("remove", self.tr("Removed"))

    def _show_error(self, error: BaseException) -> None:
        self._bar.hide()
        self.refresh_quietly()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.tr("work on a backup"))
            if isinstance(error, BackupLocked) and self._worked[0]:
                self.lock.ask()

    def refresh_quietly(self) -> None:
        """Look again after a failure, without a second card where that fails too."""
        if self.session is not None:
            answer = self.session.run(look, self, channel="files")
            answer.done(self._show).failed(lambda _error: None)


def _kind_tip(kept: KeptBackup) -> str:
    return tr("An increment of {parent}").format(parent=kept.parent) if kept.parent else tr("A full backup")


def _proof_tip(kept: KeptBackup) -> str:
    if kept.setback is not None:
        return kept.setback.message
    at = kept.queried_at or kept.info.verified_at
    return tr("never") if at is None else formats.moment(at)
