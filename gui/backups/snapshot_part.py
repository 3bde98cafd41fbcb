"""Snapshots on the page of backups: their card, the dialog of all of them, the windows of open ones."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from engine.errors import Cancelled
from engine.types import Event
from gui.actions import Actions
from gui.backups.snapshot_card import SnapshotCard, look_at_snapshots
from gui.backups.snapshot_window import SnapshotWindow
from gui.backups.snapshots_dialog import SnapshotsDialog
from gui.page import Page
from gui.tasks import EngineSession

_EVENTS = frozenset({"snapshot_taken", "snapshot_dropped", "snapshot_failed", "snapshot_given_up"})


class SnapshotPart(QObject):
    """Takes snapshots, and shows those that there are."""

    started = Signal(object)
    """A `Job` of its own is under way."""
    failed = Signal(object)

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._page = page
        self._session: EngineSession | None = None
        self._windows: list[SnapshotWindow] = []
        self.card = SnapshotCard()
        self.card.take_asked.connect(self.take)
        self.card.all_asked.connect(self.show_all)

    def add_actions(self, actions: Actions) -> None:
        for action_id, words, handler, keys, drawing in (
            ("snapshots.take", self.tr("Take a snapshot"), self.take, "Ctrl+Alt+K", "plus"),
            ("snapshots.show", self.tr("Snapshots…"), self.show_all, "Ctrl+Alt+L", "clock"),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        self._session = session
        session.events_arrived.connect(self._hear)

    def detach(self) -> None:
        for window in list(self._windows):
            window.close()
        self._session = None

    def refresh(self) -> None:
        """Read the list again."""
        if self._session is not None:
            answer = self._session.run(look_at_snapshots, self, channel="files")
            answer.done(self.card.show_look).failed(self.failed.emit)

    def take(self) -> None:
        """Keep this moment, under the name of the time."""
        if self._session is not None:
            answer = self._session.run(lambda db: db.snapshots.take_task(), self, channel="files")
            answer.done(self._follow).failed(self.failed.emit)

    def show_all(self) -> None:
        """Open the dialog of snapshots."""
        if self._session is not None:
            dialog = SnapshotsDialog(self._page.shell, self._session, self._page)
            dialog.changed.connect(self.refresh)
            dialog.opened.connect(self._show)
            dialog.open()

    def windows(self) -> tuple[SnapshotWindow, ...]:
        """The open snapshots."""
        return tuple(self._windows)

    def _follow(self, task: Any) -> None:
        job = self._page.shell.jobs.start(task, self)
        self.started.emit(job)
        job.answer.done(lambda _info: self._page.shell.tell(self.tr("Snapshot taken")))
        job.answer.failed(self._has_failed)

    def _has_failed(self, error: BaseException) -> None:
        if not isinstance(error, Cancelled):
            self.failed.emit(error)

    def _show(self, database: Any, name: str) -> None:
        window = SnapshotWindow(self._page.shell, database, name)
        self._windows.append(window)
        window.finished.connect(lambda _code: self._windows.remove(window))
        window.show()

    def _hear(self, events: list[Event]) -> None:
        if any(event.kind in _EVENTS for event in events):
            self.refresh()
