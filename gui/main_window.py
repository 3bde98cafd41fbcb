"""The main window: navigation, pages, jobs, status strip. Layout, and who hears of what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QSize, Qt, QUrl, Signal
from PySide6.QtGui import QCloseEvent, QDesktopServices, QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QDialog, QMainWindow, QSplitter, QStackedWidget, QWidget

from engine.errors import HoldfastError
from gui.actions import Actions, CommandPalette
from gui.alerts import AlertNotice
from gui.alerts.words import TONES
from gui.error_dialog import ErrorDialog
from gui.jobs_panel import JobsPanel
from gui.menus import add_window_actions, ask_restore, build_menus
from gui.mirrors.takeover import TakeoverDialog
from gui.navigation import Navigation
from gui.opening import Opening
from gui.page import Page, PageFrame, Shell
from gui.pages import database_pages
from gui.session import Preferences
from gui.settings import SettingsPage
from gui.tasks import EngineSession, Jobs, Sample
from gui.theme import ThemeManager, Tone
from gui.welcome import WelcomePage
from gui.widgets import ConfirmBar, StatusStrip, column, row
from gui.widgets.busy import BusyPage

if TYPE_CHECKING:
    from engine.alerts.alert import Alert
    from engine.mirrors.register import Heir

_FRAME = QSize(16, 48)
_NARROW = 1200
"""Narrower than so many pixels the navigation gives its words up, and the pages have the room."""
_BACKUP_ACTIONS = {
    "back_up": "backups.take",
    "backup_folder": "backups.folder",
    "backups": "",
    "snapshots": "snapshots.show",
}
"""What a card suggests, and the action that does it on the page of backups."""
_PAGE_ACTIONS = {"repair": "integrity", "mirrors": "mirrors", "activity": "activity"}
"""What a card or an alert suggests, and the page where it is done."""
_WITHOUT_DATABASE = ("welcome", "settings", "recovery")


class MainWindow(QMainWindow):
    """One window, one database at a time."""

    left = Signal()
    """The window is closed, and its database with it."""

    def __init__(self, preferences: Preferences, theme: ThemeManager) -> None:
        super().__init__()
        self.setObjectName("main-window")
        self.setMinimumSize(QSize(960, 600))
        self.preferences = preferences
        self.actions_registry = Actions(self)
        self.jobs = Jobs(self)
        self.shell = Shell(self.actions_registry, self.jobs, preferences, theme)
        self.opening = Opening(self.shell, self)
        self.pages: dict[str, Page] = {}
        self._frames: dict[str, PageFrame] = {}
        self._page: Page | None = None
        self._wanted_page = ""
        self._import_source: Path | None = None
        self._may_close = False
        self._asks_for_jobs = False
        self._closes_window = False
        self._build()
        self._add_pages()
        add_window_actions(self, self.actions_registry)
        build_menus(self, self.actions_registry)
        self._dress()
        self._connect()
        self._restore()
        self._show_closed()

    # Asked for by actions

    def show_page(self, page_id: str) -> None:
        """Bring a page into view."""
        page = self.pages.get(page_id)
        if page is None or (self.opening.session is None and page_id not in _WITHOUT_DATABASE):
            return
        if page is not self._page:
            if self._page is not None:
                self._page.left()
            self._page = page
        self._stack.setCurrentWidget(self._frames[page_id])
        self.navigation.show_page(page_id)
        page.entered()
        page.setFocus(Qt.FocusReason.OtherFocusReason)

    def current_page_id(self) -> str:
        return self._page.page_id if self._page is not None else ""

    def show_jobs(self, shown: bool | None = None) -> None:
        """Show or hide the jobs; without an answer, the other way than now."""
        self.jobs_panel.setVisible(self.jobs_panel.isHidden() if shown is None else shown)
        if self._split.sizes()[1] < self.jobs_panel.sizeHint().height():
            high = self.jobs_panel.sizeHint().height()
            self._split.setSizes([self._split.height() - high, high])

    def show_palette(self) -> None:
        palette = CommandPalette(self.actions_registry, self)
        palette.chosen.connect(lambda action_id: self.actions_registry.get(action_id).trigger())
        self.shell.theme.dress(palette)
        palette.show_over(self)

    def open_dialog(self, dialog: QDialog) -> None:
        """Show a dialog that belongs to no page; it does not stop the event loop."""
        self.shell.theme.dress(dialog)
        dialog.open()

    def show_error(self, error: BaseException, operation: str) -> None:
        """The card of an error that no page shows itself."""
        dialog = ErrorDialog(error, operation, self._can_do, self)
        dialog.action_requested.connect(self._do_for_error)
        self.open_dialog(dialog)

    # Building

    def _build(self) -> None:
        self.navigation = Navigation()
        self.status_strip = StatusStrip()
        self.jobs_panel = JobsPanel(self.jobs)
        self.jobs_panel.hide()
        self._question = ConfirmBar()
        self.notice = AlertNotice()
        self._busy = BusyPage()
        self._stack = QStackedWidget()
        self._stack.addWidget(self._busy)
        self._split = split = QSplitter(Qt.Orientation.Vertical)
        split.addWidget(self._stack)
        split.addWidget(self.jobs_panel)
        split.setStretchFactor(0, 1)
        split.setCollapsible(0, False)
        split.setHandleWidth(1)
        right = column(self._question, self.notice, gap=0)
        right.addWidget(split, 1)
        upper = row(self.navigation, gap=0)
        upper.addLayout(right, 1)
        whole = column(gap=0)
        whole.addLayout(upper, 1)
        whole.addWidget(self.status_strip)
        middle = QWidget()
        middle.setLayout(whole)
        self.setCentralWidget(middle)

    def _add_pages(self) -> None:
        for made in (WelcomePage(self.shell), *database_pages(self.shell), SettingsPage(self.shell)):
            self.pages[made.page_id] = made
            frame = PageFrame(made)
            self._frames[made.page_id] = frame
            self._stack.addWidget(frame)
            made.add_actions(self.actions_registry)
            if made.page_id != "welcome":
                self.navigation.add_page(made, at_foot=made.page_id == "settings")

    def _dress(self) -> None:
        """Each part has the style sheet for itself, so that a change of theme comes in small steps."""
        chrome = (self.menuBar(), self.navigation, self._question, self.notice, self._busy, self.jobs_panel)
        for part in (*chrome, self.status_strip, *self._frames.values()):
            self.shell.theme.dress(part)

    def _connect(self) -> None:
        shell, opening = self.shell, self.opening
        shell.open_requested.connect(opening.open)
        shell.create_requested.connect(opening.create)
        shell.import_requested.connect(self._import_into)
        shell.page_requested.connect(self.show_page)
        shell.error_raised.connect(self.show_error)
        shell.told.connect(self.status_strip.tell)
        shell.session_opened.connect(opening.adopt)
        shell.able = self._can_do
        shell.action_requested.connect(self._do_for_error)
        opening.began.connect(self._show_busy)
        opening.opened.connect(self._show_session)
        opening.closing.connect(self._let_go)
        opening.closed.connect(self._show_closed)
        opening.recovery_needed.connect(self._guide_recovery)
        opening.failed.connect(self._opening_failed)
        opening.heirs_found.connect(self._offer_heirs)
        self.navigation.page_chosen.connect(self.show_page)
        self.status_strip.page_requested.connect(self.show_page)
        self.status_strip.jobs_requested.connect(self.show_jobs)
        self.jobs_panel.close_requested.connect(lambda: self.show_jobs(False))
        self.jobs.added.connect(self._job_added)
        self.jobs.changed.connect(self._count_jobs)
        self.jobs.changed.connect(self._close_when_idle)
        self.jobs.changed.connect(self._answer_itself)
        self._question.confirmed.connect(self._close_for_good)
        self.notice.page_requested.connect(self.show_page)
        alerts = self.pages["alerts"]
        alerts.waiting_changed.connect(self._count_alerts)  # type: ignore[attr-defined]
        alerts.told.connect(self.notice.add_alerts)  # type: ignore[attr-defined]

    def _restore(self) -> None:
        screen = QGuiApplication.primaryScreen()
        room = screen.availableGeometry() if screen is not None else self.geometry()
        # The frame that the system puts round it has to fit too.
        self.resize(QSize(1280, 800).boundedTo(room.size() - _FRAME))
        if not self.restoreGeometry(self.preferences.window_geometry()):
            self.move(room.center() - self.rect().center() - QPoint(0, _FRAME.height() // 2))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.navigation.set_narrow(event.size().width() < _NARROW)

    # What happens to the database

    def _show_busy(self, text: str) -> None:
        self._busy.show_words(text)
        self._stack.setCurrentWidget(self._busy)

    def _show_session(self, session: EngineSession) -> None:
        self.preferences.remember(session.path)
        self.navigation.show_database(session.name, str(session.path.parent))
        self.navigation.set_enabled_pages(set(self.pages))
        self.setWindowTitle(f"{session.name} – Holdfast")
        self.actions_registry.set_database_open(True)
        self.status_strip.show_waiting()
        session.sampled.connect(self._show_sample)
        for page in self.pages.values():
            page.attach(session)
        if self.current_page_id() == "recovery":
            # Its guide has just ended with the proof, which is to be read.
            self._wanted_page = "recovery"
        wanted, self._wanted_page = self._wanted_page, ""
        self.show_page(wanted or self.preferences.last_page())
        if self.current_page_id() in ("", "welcome"):
            self.show_page("overview")
        source, self._import_source = self._import_source, None
        if source is not None:
            self.shell.source_chosen.emit(source)

    def _import_into(self, target: Path, source: Path) -> None:
        self._import_source = source
        self._wanted_page = "tables"
        self.opening.create(target)

    def _let_go(self, _session: EngineSession) -> None:
        for job in self.jobs.running():
            job.cancel()
        if self._page is not None:
            self.preferences.keep_window(self.saveGeometry(), self._page.page_id)
            self._page.left()
            self._page = None
        for page in self.pages.values():
            page.detach()

    def _show_closed(self) -> None:
        if self._may_close:
            self.close()
            return
        self.navigation.show_database("", "")
        self.navigation.set_enabled_pages({"settings"})
        self.actions_registry.set_database_open(False)
        self.status_strip.show_nothing()
        self.setWindowTitle("Holdfast")
        self.show_page("welcome")

    def _guide_recovery(self, path: Path, error: HoldfastError) -> None:
        self.preferences.remember(path)
        self.navigation.show_database(path.stem, self.tr("Needs recovery"))
        self.navigation.set_enabled_pages({"recovery", "settings"})
        self.show_page("recovery")
        self.shell.recovery_needed.emit(path, error)

    def _opening_failed(self, error: BaseException, operation: str) -> None:
        if self.opening.session is None:
            self._show_closed()
        self.show_error(error, operation)

    def _offer_heirs(self, path: Path, error: BaseException, heirs: Sequence[Heir]) -> None:
        self._show_closed()
        self.open_dialog(TakeoverDialog(self.shell, path, error, heirs, self))

    def _show_sample(self, sample: Sample) -> None:
        health = sample.health
        score = None if health is None else float(health.score)
        self.status_strip.show_status(sample.at, sample.status, score)
        if health is not None and health.backups is not None:
            troubles = {deduction.name for deduction in health.deductions}
            self.status_strip.show_backups(health.backups, troubles)
            self.status_strip.show_snapshots(troubles)

    # Jobs and errors

    def _job_added(self, job: object) -> None:
        job.progressed.connect(self._count_jobs)  # type: ignore[attr-defined]

    def _count_jobs(self, _progress: object = None) -> None:
        running = self.jobs.running()
        first = running[0].progress if running else None
        self.status_strip.show_jobs(len(running), None if first is None else first.share)

    def _count_alerts(self, waiting: Sequence[Alert]) -> None:
        """Say at the navigation how many alerts wait, in the colour of the gravest."""
        tone = TONES[waiting[0].severity] if waiting else Tone.NEUTRAL
        self.navigation.show_count("alerts", len(waiting), tone)
        self.notice.keep(waiting)

    def _can_do(self, action: str) -> bool:
        """Whether the button of an error's card would do something now."""
        if action in ("choose_another", "restore_backup", "settings"):
            return True
        if action in ("reopen", "checkpoint", *_PAGE_ACTIONS, *_BACKUP_ACTIONS):
            return self.opening.session is not None
        return action in ("retry", "wait") and self.opening.tried is not None

    def _do_for_error(self, action: str) -> None:
        session, tried = self.opening.session, self.opening.tried
        if action == "choose_another":
            self.actions_registry.get("database.open").trigger()
        elif action == "restore_backup":
            self._ask_restore(tried if session is None else session.path)
        elif action == "settings" and tried is not None:
            # Its settings cannot be shown while they cannot be read; the file itself can.
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(tried / "reliability.toml")))
        elif action == "settings":
            self.show_page("settings")
        elif action in _BACKUP_ACTIONS and session is not None:
            self.show_page("backups")
            if _BACKUP_ACTIONS[action]:
                self.actions_registry.get(_BACKUP_ACTIONS[action]).trigger()
        elif action in _PAGE_ACTIONS:
            self.show_page(_PAGE_ACTIONS[action])
        elif action == "checkpoint" and session is not None:
            self.show_page("log")
            self.actions_registry.get("log.checkpoint").trigger()
        elif action == "reopen" and session is not None:
            self.opening.open(session.path)
        elif action in ("retry", "wait"):
            self.opening.retry()

    def _ask_restore(self, path: Path | None) -> None:
        """Ask which backup to restore, beginning where those of this database are."""
        if path is None:
            ask_restore(self)
            return
        chosen = self.preferences.backup_folder(path)
        answer = self.shell.run(lambda: _folder_with_backups(path, chosen), self)
        answer.done(lambda folder: ask_restore(self, folder))

    # The end

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.opening.session is None and (self._may_close or not self._lost()):
            page = self._page.page_id if self._page is not None else self.preferences.last_page()
            self.preferences.keep_window(self.saveGeometry(), page)
            self.shell.close()
            event.accept()
            self.left.emit()
            return
        event.ignore()
        self._ask_before_closing(and_window=True)

    def leave(self) -> None:
        """Close the window and its database without a question."""
        self._closes_window = True
        self._close_for_good()

    def close_database(self) -> None:
        """Close the database, after a question where something would be lost."""
        self._ask_before_closing(and_window=False)

    def _ask_before_closing(self, and_window: bool) -> None:
        self._closes_window = and_window
        unsaved, lost = self._unsaved(), self._lost()
        if lost and not self._may_close:
            self._asks_for_jobs = not unsaved
            if self._asks_for_jobs:
                lost.append(self.tr("Without an answer it closes when they have ended."))
            self._question.ask(" ".join(lost), self.tr("Drop them and close"), self.tr("Keep working"))
            return
        self._close_for_good()

    def _answer_itself(self) -> None:
        """Closes once the jobs that were asked about have ended."""
        if self._asks_for_jobs and not self._question.isHidden() and not self._lost():
            self._question.hide()
            self._close_for_good()

    def _unsaved(self) -> list[str]:
        return [text for page in self.pages.values() if (text := page.unsaved())]

    def _lost(self) -> list[str]:
        """What closing now would drop, in words."""
        lost = self._unsaved()
        running = len(self.jobs.running())
        if running:
            text = self.tr("Jobs that run and would be cancelled: {n}.")
            lost.append(text.format(n=running))
        return lost

    def _close_for_good(self) -> None:
        self._may_close = self._closes_window
        if self.opening.session is not None:
            self.opening.close()
            return
        # A recovery runs without an open database; it is let come to a safe point first.
        for job in self.jobs.running():
            job.cancel()
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._may_close and self.opening.session is None and not self.jobs.running():
            self.close()


def _folder_with_backups(path: Path, chosen: Path) -> Path | None:
    """The folder of its newest backup, None where there is none. For a worker: it loads the kernel."""
    from engine.ways_out import known_folders, newest_backup

    newest = newest_backup(path, known_folders(path, chosen))
    return None if newest is None else Path(newest.path).parent
