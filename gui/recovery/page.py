"""The recovery page: a guide in four steps, from what happened to the proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QScrollArea, QStackedWidget, QWidget

from engine.errors import Cancelled, RecoveryNeeded
from engine.recovery.report import RecoveryPlan, RecoveryReport
from engine.tasks import TaskProgress
from gui.actions import Actions
from gui.page import Page, Shell
from gui.recovery.evidence import Evidence
from gui.recovery.proof import Proof
from gui.recovery.theatre import Theatre
from gui.tasks import EngineSession, Job
from gui.theme import Space, Tone
from gui.widgets import CommandLine, EmptyState, button, column, formats, row

if TYPE_CHECKING:
    from engine.recovery.manager import RecoveryManager

QUIET, EVIDENCE, RUNNING, PROOF = range(4)


class RecoveryPage(Page):
    """Guides through the recovery of the database that could not simply be opened.

    The order is fixed: what was found and what would be done (the log is read, nothing is
    changed); the twelve stages as they run; the proof. The person decides between the first two.
    """

    page_id = "recovery"
    icon_name = "recovery"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Recovery"), "")
        self._path: Path | None = None
        self._manager: RecoveryManager | None = None
        self._plan: RecoveryPlan | None = None
        self._job: Job | None = None
        self._round = 0
        self.errors = self.make_errors(self.begin)
        self.evidence = Evidence()
        self.theatre = Theatre()
        self.proof = Proof()
        self._quiet = EmptyState(
            "success",
            self.tr("No recovery is needed"),
            self.tr("The database was closed properly, or has been recovered."),
        )
        self._command = CommandLine()
        self._later = button(self.tr("Not now"), self.leave)
        self._start = button(self.tr("Recover"), self.start, "primary", "recovery")
        self._again = button(self.tr("Look again"), self.begin, "primary", "refresh")
        self._open = button(self.tr("Show the data"), self.show_data, "primary", "open")
        self._build()
        shell.recovery_needed.connect(self.guide)

    def _build(self) -> None:
        self._stack = QStackedWidget()
        for part in (self._quiet, self.evidence, self.theatre, self.proof):
            self._stack.addWidget(_scrolling(part) if part in (self.evidence, self.proof) else part)
        self._foot = QWidget()
        foot = row(gap=Space.S)
        foot.addWidget(self._command, 1)
        for choice in (self._later, self._start, self._again, self._open):
            foot.addWidget(choice)
        self._foot.setLayout(foot)
        inner = column(self.errors, gap=Space.M)
        inner.addWidget(self._stack, 1)
        inner.addWidget(self._foot)
        self.body.addLayout(inner, 1)
        self.theatre.cancel.clicked.connect(self.cancel)
        self._show_part(QUIET)

    def add_actions(self, actions: Actions) -> None:
        self._action = actions.add(
            "recovery.start",
            self.tr("Start the recovery"),
            self.start,
            shortcut="Ctrl+Shift+G",
            icon_name="recovery",
        )
        self._action.setEnabled(False)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        report = getattr(session.database, "recovery_report", None)
        if report is not None:
            self.show_proof(report)
        else:
            self._show_part(QUIET)

    def detach(self) -> None:
        super().detach()
        self.errors.clear()
        self._show_part(QUIET)

    def guide(self, path: Path, error: RecoveryNeeded) -> None:
        """Begin with a database that needs recovery: show the signs, read the log, plan."""
        self._path = path
        self.header.set_subtitle(
            self.tr("{name} was not closed properly. Look first, then decide.").format(name=path.stem)
        )
        self.evidence.show_indicators(error.indicators)
        self.begin()

    def begin(self) -> None:
        """Look at the database and make the plan; changes nothing."""
        if self._path is None:
            return
        self._round += 1
        this, path = self._round, self._path
        self.errors.clear()
        self._manager = self._plan = None
        self.evidence.show_reading()
        self._command.show_command("recover", path)
        self._show_part(EVIDENCE)
        self._start.setEnabled(False)
        self._start.setText(self.tr("Recover {name}").format(name=path.stem))
        answer = self.shell.run(lambda: _manager(path), self)
        answer.done(lambda manager: self._make_plan(manager) if this == self._round else None)
        answer.failed(lambda error: self._show_error(error, self.tr("look at the database")))

    def _make_plan(self, manager: RecoveryManager) -> None:
        self._manager = manager
        this = self._round
        self.evidence.show_indicators(manager.indicators)
        job = self.shell.jobs.start(manager.plan_task(), self)
        job.answer.done(lambda plan: self._show_plan(plan) if this == self._round else None)
        job.answer.failed(lambda error: self._show_unplanned(error) if this == self._round else None)

    def _show_plan(self, plan: RecoveryPlan) -> None:
        self._plan = plan
        self.evidence.show_plan(plan)
        self._start.setText(self.tr("Replay {size} of log and recover").format(size=formats.size(plan.bytes)))
        self._allow_start()

    def _show_unplanned(self, error: BaseException) -> None:
        self.evidence.show_unplanned()
        if not isinstance(error, Cancelled):
            self._show_error(error, self.tr("plan the recovery"))
        self._allow_start()

    def _allow_start(self) -> None:
        self._start.setEnabled(True)
        self._action.setEnabled(True)
        if self._stack.currentIndex() == EVIDENCE:
            self._start.setFocus()

    def start(self) -> None:
        """Carry the twelve stages out."""
        manager = self._manager
        if manager is None or self._job is not None or self._stack.currentIndex() != EVIDENCE:
            return
        self.errors.clear()
        self._action.setEnabled(False)
        self.theatre.show_start()
        self.theatre.show_report(manager.report)
        self._show_part(RUNNING)
        job = self._job = self.shell.jobs.start(manager.run_task(), self)
        job.progressed.connect(self._show_progress)
        job.answer.done(lambda _report: self._has_recovered(manager))
        job.answer.failed(lambda error: self._has_failed(manager, error))

    def cancel(self) -> None:
        """Ask the recovery to stop; the database stays one that needs recovery."""
        if self._job is not None:
            self._job.cancel()

    def _show_progress(self, progress: TaskProgress) -> None:
        if self._manager is not None and self._stack.currentIndex() == RUNNING:
            self.theatre.show_report(self._manager.report)
            self.theatre.show_progress(progress)

    def _has_recovered(self, manager: RecoveryManager) -> None:
        self._job = None
        self.theatre.show_report(manager.report)
        self.theatre.show_over()
        answer = self.shell.run(lambda: _take_database(manager), self)
        answer.done(lambda database: self._offer(database, manager.report))
        answer.failed(lambda error: self._show_error(error, self.tr("open the recovered database")))

    def _offer(self, database: Any, report: RecoveryReport) -> None:
        """Hand the open database to the window, and stay here for the proof."""
        assert self._path is not None
        self.shell.session_opened.emit(database, self._path)
        self.shell.show_page(self.page_id)
        self.show_proof(report)
        self._open.setFocus()
        self.shell.tell(self.tr("Recovered"))

    def show_proof(self, report: RecoveryReport) -> None:
        """Show what a recovery has done."""
        self.header.set_subtitle(self.tr("What was done, what was checked, and what was lost, if anything"))
        self.header.state.show_state(self.tr("recovered"), Tone.GOOD if report.recovered else Tone.BAD)
        self.header.state.show()
        self.proof.show_report(report)
        self._show_part(PROOF)

    def show_data(self) -> None:
        """Leave the proof for the data."""
        self.shell.show_page("tables")

    def _has_failed(self, manager: RecoveryManager, error: BaseException) -> None:
        self._job = None
        self.theatre.show_report(manager.report)
        self.theatre.show_over()
        if isinstance(error, Cancelled):
            self.shell.tell(self.tr("Cancelled; the database still needs recovery."))
            self.begin()
            return
        self._show_error(error, self.tr("recover the database"))
        self._foot.show()
        self._later.show()
        self._again.show()

    def _show_error(self, error: BaseException, operation: str) -> None:
        self.errors.show_error(error, operation)

    def leave(self) -> None:
        """Go back without a recovery; nothing was changed."""
        self._round += 1
        for job in self.shell.jobs.running():
            if self._manager is not None and job is not self._job:
                job.cancel()
        self.shell.show_page("welcome")

    def _show_part(self, part: int) -> None:
        self._stack.setCurrentIndex(part)
        self._foot.setVisible(part in (EVIDENCE, PROOF))
        self._again.hide()
        self._start.setVisible(part == EVIDENCE)
        self._later.setVisible(part == EVIDENCE)
        self._open.setVisible(part == PROOF and self.session is not None)
        if part != PROOF:
            self.header.state.hide()
        if part == QUIET:
            self.header.set_subtitle(
                self.tr("What was done the last time the database was not closed properly")
            )


def _scrolling(part: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(part)
    return area


def _manager(path: Path) -> RecoveryManager:
    # Imported here: the kernel is loaded on the worker.
    from engine.recovery.manager import RecoveryManager

    return RecoveryManager(path)


def _take_database(manager: RecoveryManager) -> Any:
    from engine.database import Database

    return Database.recovered(manager)
