"""The strip below every page: state, health, log, oldest transaction, waiters, last backup.

Each item is a button that leads to the page that explains it. A figure that is old says so.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QPushButton, QSizePolicy, QWidget

from engine.health.checks import ABOUT_BACKUPS, ABOUT_SNAPSHOTS
from engine.types import BackupStanding, RecoveryStanding, StoreStatus
from gui.theme import IconName, Space, Tone, icon
from gui.widgets import formats
from gui.widgets.basics import ElidedLabel, button, row, set_look
from gui.widgets.score_ring import tone_of_score

STALE_S = 3.0
_TOLD_MS = 6000
_GAP = 2


class StatusStrip(QFrame):
    """Shows a sample; asks for a page by `page_requested` and for the jobs by `jobs_requested`."""

    page_requested = Signal(str)
    jobs_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "strip")
        self.setFixedHeight(30)
        # The window is as narrow as somebody wants it: the strip makes do.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._sampled_at = 0.0
        self._state = self._item(self.tr("State of the engine"), "overview")
        self._health = self._item(self.tr("Health score"), "overview")
        self._log = self._item(self.tr("Size of the log"), "log")
        self._oldest = self._item(self.tr("Oldest transaction"), "activity")
        self._waiters = self._item(self.tr("Transactions that wait"), "activity")
        self._backup = self._item(self.tr("Last backup"), "backups")
        self._snapshot = self._item(self.tr("Snapshots"), "backups")
        # What is told for a moment gives way to how things are.
        self._told = ElidedLabel("", "caption", where=Qt.TextElideMode.ElideRight)
        self._told.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._jobs = button("", self.jobs_requested.emit, "status")
        self._jobs.setAccessibleName(self.tr("Jobs"))
        self._items = (self._state, self._health, self._log, self._oldest, self._waiters, self._backup)
        line = row(*self._items, self._snapshot, margin=(Space.S, 0, Space.S, 0), gap=_GAP)
        line.addWidget(self._told, 1)
        line.addWidget(self._jobs)
        self.setLayout(line)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.timeout.connect(lambda: self._told.setText(""))
        self._age = QTimer(self)
        self._age.setInterval(1000)
        self._age.timeout.connect(self._check_age)
        self.show_jobs(0, None)
        self.show_nothing()

    def show_nothing(self) -> None:
        """No database is open, and what was told of the last one is over."""
        self._age.stop()
        self._told.setText("")
        for item in (*self._items[1:], self._snapshot):
            item.hide()
        self._put(self._state, "database", self.tr("No database open"), None)

    def show_waiting(self) -> None:
        """A database is open; its first figures are on their way, and their delay is told."""
        self._sampled_at = time.time()
        self._age.start()
        self._put(self._state, "clock", self.tr("Open"), None)

    def show_status(self, at: float, status: StoreStatus, score: float | None) -> None:
        """One sample of the engine, taken at the moment `at`."""
        self._sampled_at = at
        if not self._age.isActive():
            self._age.start()
        for item in (*self._items[:2], self._backup):
            item.show()
        self._show_state(status)
        if score is None:
            self._health.hide()
        else:
            text = self.tr("Health {score}").format(score=round(score))
            self._put(self._health, "health", text, tone_of_score(score))
        self._put(
            self._log, "log", self.tr("Log {size}").format(size=formats.size(status.log.bytes_total)), None
        )
        age = status.transactions.oldest_age_s
        active = status.transactions.active
        text = (
            self.tr("Oldest {age}").format(age=formats.duration(age)) if active else self.tr("No transaction")
        )
        self._put(self._oldest, "clock", text, Tone.WARN if active and age > 60 else None)
        waits = self.tr("{n} waiting").format(n=status.waiters)
        self._put(self._waiters, "lock", waits, Tone.WARN if status.waiters else None)
        self._make_room()

    def show_backups(self, standing: BackupStanding, troubles: Collection[str]) -> None:
        """How well the database is backed up; `troubles` are the names of what health deducts for."""
        tone = Tone.WARN if any(name in troubles for name in ABOUT_BACKUPS) else None
        if standing.is_running:
            text, tone = self.tr("Backing up"), Tone.ACCENT
        elif standing.failure:
            text, tone = self.tr("Backup failed"), Tone.BAD
        elif "archive_failed" in troubles:
            text = self.tr("Log waits for its archive")
        elif "archive_gap" in troubles:
            text = self.tr("Archive has a gap")
        elif "backup_missed" in troubles:
            text = self.tr("Backup missed")
        elif standing.proved_at > 0:
            text = self.tr("Proved backup {ago}").format(ago=formats.ago(standing.proved_at))
        elif standing.taken_at > 0:
            text = self.tr("Backup not proved")
        else:
            text = self.tr("No backup")
        self._put(self._backup, "backups", text, tone)

    def show_snapshots(self, troubles: Collection[str]) -> None:
        """What is wrong with the snapshots; nothing where nothing is."""
        self._snapshot.setVisible(any(name in troubles for name in ABOUT_SNAPSHOTS))
        if "snapshot_given_up" in troubles:
            self._put(self._snapshot, "clock", self.tr("Snapshot given up"), Tone.BAD)
        elif "snapshot_failed" in troubles:
            self._put(self._snapshot, "clock", self.tr("Snapshot failed"), Tone.WARN)
        elif "snapshot_missed" in troubles:
            self._put(self._snapshot, "clock", self.tr("Snapshot missed"), Tone.WARN)

    def show_jobs(self, running: int, share: float | None) -> None:
        """How many jobs run, and how far the first of them is."""
        if not running:
            self._put(self._jobs, "jobs", self.tr("Jobs"), None)
            return
        text = self.tr("1 job") if running == 1 else self.tr("{n} jobs").format(n=running)
        self._put(self._jobs, "jobs", text if share is None else f"{text}  {share:.0%}", Tone.ACCENT)

    def tell(self, text: str) -> None:
        """Say something for a moment."""
        self._told.setText(text)
        self._quiet.start(_TOLD_MS)

    def _show_state(self, status: StoreStatus) -> None:
        if status.state == "open" and status.read_only:
            self._put(self._state, "lock", self.tr("Read-only"), Tone.WARN)
        elif status.state == "open" and status.is_halted:
            self._put(self._state, "stop", self.tr("Changes stopped by damage"), Tone.BAD)
        elif status.state == "open" and status.recovery is not None and status.recovery.stage != "done":
            self._put(self._state, "recovery", self._recovering(status.recovery), Tone.WARN)
        elif status.state == "open":
            self._put(self._state, "success", self.tr("Open"), Tone.GOOD)
        else:
            self._put(self._state, "error", self.tr("Stopped: {why}").format(why=status.reason), Tone.BAD)

    def _recovering(self, standing: RecoveryStanding) -> str:
        """What is left of the recovery of a database that is open already."""
        if standing.stage == "stuck":
            return self.tr("Recovery: pages that cannot be redone: {n}").format(n=len(standing.damaged))
        if standing.stage == "redo":
            return self.tr("Recovering: pages left: {n}").format(n=standing.pages_left)
        if standing.stage == "undo":
            return self.tr("Recovering: transactions left: {n}").format(n=standing.losers_left)
        return self.tr("Recovered, being checked") if standing.is_through else self.tr("Recovered")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if not self._backup.isHidden():
            self._make_room()

    def _make_room(self) -> None:
        """Show what is only to be known as far as there is room: what somebody has to see comes first."""
        yielding = (self._oldest, self._waiters, self._log)
        calm = [item for item in yielding if not item.property("tone")]
        others = (*self._items, self._snapshot, self._jobs)
        first = [item for item in others if item not in calm and (item in yielding or not item.isHidden())]
        room = self.width() - 2 * Space.S - sum(item.sizeHint().width() + _GAP for item in first)
        for item in yielding:
            if item in calm:
                room -= item.sizeHint().width() + _GAP
            item.setVisible(item not in calm or room >= 0)

    def _check_age(self) -> None:
        age = time.time() - self._sampled_at
        if age > STALE_S:
            text = self.tr("No answer for {age}").format(age=formats.duration(age))
            self._put(self._state, "clock", text, Tone.WARN)

    def _item(self, name: str, page_id: str) -> QPushButton:
        made = button("", lambda: self.page_requested.emit(page_id), "status")
        made.setToolTip(name)
        return made

    def _put(self, item: QPushButton, icon_name: IconName, text: str, tone: Tone | None) -> None:
        look = (icon_name, str(tone))
        if item.text() != text:
            item.setText(text)
            item.setAccessibleName(f"{item.toolTip()}: {text}")
        if item.property("look") != look:
            item.setProperty("look", look)
            item.setIcon(icon(icon_name, tone if tone is not None else "text_faint"))
            set_look(item, tone="" if tone is None else str(tone))
