"""The dialog that gives a former primary its place back, or settles what only it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QDialog, QWidget

from engine.errors import Cancelled
from engine.types import MirrorInfo, MirrorPhase
from gui.mirrors.former import FormerDialog
from gui.mirrors.words import lag_word, reason_words, state_tone, state_word
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import CommandLine, ConfirmBar, Pill, button, column, label, row

_LOOK_MS = 300


class FailBackDialog(QDialog):
    """Three steps: the former directory becomes a mirror, catches up, and takes its place back."""

    def __init__(self, shell: Shell, session: EngineSession, former: Path, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Fail back to {name}").format(name=former.name))
        self.setMinimumSize(760, 460)
        self._shell = shell
        self._session = session
        self.former = former
        self.info: MirrorInfo | None = None
        self._is_asking = self._is_working = False
        self.errors = ErrorSlot()
        self.bar = JobBar()
        self.state = Pill(self.tr("looking"))
        self.words = label("", "muted", wrap=True)
        self.command = CommandLine()
        self.command.show_command("mirror", session.path, "fail-back", former)
        self.keep = button(self.tr("Keep it as a mirror"), self.keep_it, "", "plus")
        self.go = button(self.tr("Switch back"), self.switch, "primary", "undo")
        self.go.setDefault(True)
        self.go.setEnabled(False)
        self.keep.hide()
        self._close = button(self.tr("Close"), self.close)
        self.save = button(self.tr("What only it holds…"), self.save_rows, "", "search")
        self.renew = button(self.tr("Make it a mirror anew…"), self.ask_renew, "", "refresh")
        self.save.hide()
        self.renew.hide()
        self.question = ConfirmBar()
        self.question.confirmed.connect(self.make_anew)
        steps = self.tr(
            "The directory that was the database before becomes its mirror, catches up from the log, and "
            "then takes its place back. The database is in use until the last moment."
        )
        whole = column(
            label(self.windowTitle(), "title"),
            label(steps, "muted", wrap=True),
            row(label(str(former), "strong"), None, self.state),
            self.words,
            self.question,
            self.errors,
            self.bar,
            self.command,
            gap=Space.M,
        )
        whole.addStretch(1)
        buttons = (self.save, self.renew, self.keep, self._close, self.go)
        whole.addLayout(row(None, *buttons))
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        self.setLayout(whole)
        # Not the copying of the command, which comes first: the Enter key is to do no such thing here.
        self._close.setFocus()
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()
        self.refresh()

    def refresh(self) -> None:
        """Look how the former directory stands; one look at a time."""
        if self._is_asking or self._is_working:
            return
        self._is_asking = True
        answer = self._session.run(lambda db: db.mirrors.standing(), self, channel="mirrors")
        answer.done(self._show).failed(self._has_failed)

    def _show(self, found: tuple[MirrorInfo, ...]) -> None:
        self._is_asking = False
        if self._is_working:
            return
        self.info = info = next((one for one in found if one.path == str(self.former)), None)
        self.keep.setVisible(info is None)
        is_refused = info is not None and info.phase is MirrorPhase.REFUSED
        for part in (self.save, self.renew):
            part.setEnabled(True)
        self.save.setVisible(is_refused)
        self.renew.setVisible(is_refused)
        self.go.setVisible(not is_refused)
        self.go.setEnabled(info is not None and info.is_level)
        if info is None:
            self.state.show_state(self.tr("not kept"), Tone.WARN)
            self.words.setText(
                self.tr("It is no mirror of this database. Keep it as one, and it catches up.")
            )
            return
        self.state.show_state(state_word(info), state_tone(info))
        self.words.setText(self._standing_words(info))

    def _standing_words(self, info: MirrorInfo) -> str:
        if info.phase is MirrorPhase.REFUSED:
            return self.tr(
                "{reason} What only it holds would be lost if it followed: so it is left alone. First look "
                "at what that is, row by row, and bring over what you need; then make it a mirror anew."
            ).format(reason=info.error)
        if info.phase is MirrorPhase.LOST:
            return reason_words(info)
        if not info.is_level:
            return self.tr("It catches up; it lacks {lag}.").format(lag=lag_word(info))
        return self.tr(
            "Nothing is lost: it has everything, and gets what is still committed before the switch. The "
            "database is closed for a moment and opened there; this directory then follows as its mirror."
        )

    def keep_it(self) -> None:
        """Keep the former directory as a mirror."""
        self.errors.clear()
        former = self.former
        answer = self._session.run(lambda db: db.mirrors.add(former), self, channel="files")
        answer.done(lambda _info: self.refresh()).failed(self._has_failed)

    def save_rows(self) -> None:
        """Open the guide that compares what it holds with the database, and brings rows over."""
        self.errors.clear()
        FormerDialog(self._shell, self._session, self.former, self).open()

    def ask_renew(self) -> None:
        """Say what is lost, then ask."""
        text = self.tr(
            "What only {name} holds, and was not brought over, is lost for good: a copy of this database is "
            "written over it."
        ).format(name=self.former.name)
        self.question.ask(text, self.tr("Write over it"), self.tr("Leave it"), Tone.BAD)

    def make_anew(self) -> None:
        """Make the former directory a mirror anew; what only it holds is lost."""
        self.errors.clear()
        former = self.former
        self.command.show_command("mirror", self._session.path, "renew", former, "--accept-loss")
        self._start(lambda db: db.mirrors.renew_task(former), self._has_renewed)

    def _has_renewed(self, _info: object) -> None:
        self._is_working = False
        self.bar.hide()
        self.command.show_command("mirror", self._session.path, "fail-back", self.former)
        self._shell.tell(self.tr("{name} is a mirror now, and has everything").format(name=self.former.name))
        self.refresh()

    def switch(self) -> None:
        """Give the former directory its place back, and open it there."""
        self.errors.clear()
        former = self.former
        self._start(lambda db: db.mirrors.fail_over_task(former), self._has_switched)

    def _start(self, make: Callable[[Any], Any], done: Callable[[Any], object]) -> None:
        """Make a task on a worker, and follow it as a job."""
        self._is_working = True
        for part in (self.go, self.save, self.renew):
            part.setEnabled(False)

        def follow(task: Any) -> None:
            job = self._shell.jobs.start(task, self)
            self.bar.follow(job)
            job.answer.done(done).failed(self._has_failed)

        answer = self._session.run(make, self, channel="mirrors")
        answer.done(follow).failed(self._has_failed)

    def _has_switched(self, done: Any) -> None:
        self._timer.stop()
        self.close()
        self._shell.tell(self.tr("{name} has its place back").format(name=done.path.name))
        self._shell.open(done.path)

    def _has_failed(self, error: BaseException) -> None:
        self._is_asking = self._is_working = False
        self.bar.hide()
        self.save.setEnabled(True)
        self.renew.setEnabled(True)
        if not isinstance(error, Cancelled):
            self._timer.stop()
            self.errors.show_error(error, self.windowTitle())
