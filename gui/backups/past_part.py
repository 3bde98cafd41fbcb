"""The past on the page of backups: the slider, the card of a moment, and what they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, Signal

from engine.errors import Cancelled
from gui.backups.key_question import KeyQuestion
from gui.backups.moments import Stop, StopKind
from gui.backups.point_card import PointCard
from gui.backups.point_dialog import PointDialog
from gui.backups.rescue_dialog import RescueDialog
from gui.backups.time_line import BackupTimeLine
from gui.backups.worker import commits_of, line_of
from gui.page import Page
from gui.tasks import EngineSession

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.line import Commit, TimeLine

_CHANNEL = "line"


class PastPart(QObject):
    """Reads the line in the background, and shows the moment at which the slider stands."""

    moment_shown = Signal(bool)
    """The slider stands at a moment that is no backup; False where it is one, or nothing."""
    failed = Signal(object)

    def __init__(self, page: Page, lock: KeyQuestion) -> None:
        """`lock` knows the key of encrypted backups that was given on the page."""
        super().__init__(page)
        self._page, self._lock = page, lock
        self.line = BackupTimeLine()
        self.card = PointCard()
        self._session: EngineSession | None = None
        self._tasks: list[Any] = []
        """The reading that is under way: a close of the database stops it."""
        self._is_reading = self._is_outdated = False
        self._is_in_view = False
        self._refining = -1
        self.line.stopped.connect(self._show)
        self.card.restore_asked.connect(self.restore)
        self.card.rescue_asked.connect(self.rescue)
        self.card.named.connect(self._name)
        self.card.name_removed.connect(self._forget)

    def attach(self, session: EngineSession) -> None:
        self._session = session

    def detach(self) -> None:
        self._session = None
        for task in self._tasks:
            task.cancel()
        self._is_reading = self._is_outdated = False
        self.line.show_line(None)
        self.moment_shown.emit(False)

    def show_in_view(self, is_in_view: bool) -> None:
        """Whether anybody looks: the log is not read for nobody."""
        self._is_in_view = is_in_view

    def refresh(self) -> None:
        """Read the log again; where that is under way, once more afterwards."""
        session = self._session
        if session is None or not self._is_in_view:
            return
        if self._is_reading:
            self._is_outdated = True
            return
        self._is_reading, self._is_outdated = True, False
        tasks = self._tasks
        answer = session.run(lambda db: line_of(db, tasks), self, channel=_CHANNEL)
        answer.done(lambda line: self._show_line(session, line))
        answer.failed(lambda error: self._has_failed(session, error))

    def _show_line(self, session: EngineSession, line: TimeLine) -> None:
        if session is not self._session:
            return
        self._is_reading = False
        self._refining = -1
        self.line.show_line(line)
        stop = self.line.current()
        if stop is not None:
            self._show(stop)
        if self._is_outdated:
            self.refresh()

    def _has_failed(self, session: EngineSession, error: BaseException) -> None:
        if session is self._session:
            self._is_reading = False
            if not isinstance(error, Cancelled):
                self.failed.emit(error)

    def _show(self, stop: Stop) -> None:
        moments = self.line.moments
        is_refining = self._refine(stop)
        self.card.show_stop(stop, moments.rows_at(stop), moments.rows_now(), is_refining)
        self.moment_shown.emit(stop.kind is not StopKind.BACKUP)

    def _refine(self, stop: Stop) -> bool:
        """Read the commits around the slider one by one, where they are not known; True while it is done."""
        line, session = self.line.moments.line, self._session
        if line is None or session is None or stop.bin < 0:
            return False
        needs = stop.kind is StopKind.COMMITS or not stop.txn
        if not needs or self.line.moments.has_read(stop.bin):
            return False
        if self._refining == stop.bin:
            return True
        self._refining = stop.bin
        place, bin_ = stop.bin, line.bins[stop.bin]
        answer = session.run(lambda db: commits_of(db, bin_), self, channel=_CHANNEL)
        answer.done(lambda commits: self._show_commits(line, place, commits))
        # Log that went meanwhile: the next reading of the line tells.
        answer.failed(lambda _error: None)
        return True

    def _show_commits(self, line: TimeLine, place: int, commits: tuple[Commit, ...]) -> None:
        if self.line.moments.line is not line:
            return
        self.line.show_commits(place, commits)
        stop = self.line.current()
        if stop is not None:
            self._show(stop)

    # What can be done

    def mark_now(self) -> None:
        """Put the slider at now, and ask for a name there."""
        stops = self.line.moments.stops
        if stops:
            self.line.go_to(len(stops) - 1)
            self.card.name.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def restore(self) -> None:
        """Open the dialog that restores the moment into a new database."""

        def show(session: EngineSession, folder: Any, stop: Stop) -> None:
            rows = self.line.moments.rows_at(stop)
            dialog = PointDialog(self._page.shell, session, folder, stop, rows, self._page)
            dialog.lock.take(self._lock.key())
            dialog.open()

        self._open(show)

    def rescue(self) -> None:
        """Open the guide that compares the moment with now and brings rows back."""

        def show(session: EngineSession, folder: Any, stop: Stop) -> None:
            key = self._lock.key()
            dialog = RescueDialog(self._page.shell, session, folder, stop, self._page, key)
            dialog.rescued.connect(self.refresh)
            dialog.open()

        self._open(show)

    def _open(self, show: Callable[[EngineSession, Any, Stop], object]) -> None:
        stop, session = self.line.current(), self._session
        if stop is None or session is None or stop.kind is StopKind.NOW:
            return
        answer = session.run(lambda db: db.keeper.folder, self, channel="files")
        answer.done(lambda folder: show(session, folder, stop)).failed(self.failed.emit)

    def _name(self, name: str) -> None:
        stop, session = self.line.current(), self._session
        if stop is None or session is None:
            return
        where = {} if stop.kind is StopKind.NOW else {"lsn": stop.lsn, "at": stop.at}
        answer = session.run(lambda db: db.points.mark(name, **where), self, channel="files")
        answer.done(lambda _point: self._has_named(name)).failed(self.failed.emit)

    def _has_named(self, name: str) -> None:
        self.card.name.clear()
        self._page.shell.tell(self.tr("This moment is named “{name}”").format(name=name))
        self.refresh()

    def _forget(self, name: str) -> None:
        if self._session is not None:
            answer = self._session.run(lambda db: db.points.remove(name), self, channel="files")
            answer.failed(self.failed.emit).finally_(self.refresh)
