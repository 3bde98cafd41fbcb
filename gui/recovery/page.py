"""The recovery page: a guide from what happened to the proof, and the recoveries of the past."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QWidget

from engine.errors import Cancelled, HoldfastError, RecoveryNeeded, RecoveryPlanOutdated, from_exception
from engine.recovery import history
from engine.recovery.choices import Choice, ChoiceKind, root_cause
from engine.recovery.report import RecoveryPlan, RecoveryReport
from engine.tasks import TaskProgress
from gui.actions import Actions
from gui.page import Page, Shell
from gui.recovery.behind import Behind
from gui.recovery.evidence import Evidence
from gui.recovery.failure import Failure
from gui.recovery.foot import Foot
from gui.recovery.ledger_file import ask_export, write_ledger
from gui.recovery.parts import Parts
from gui.recovery.past import Past
from gui.recovery.proof import Proof, ProofOf
from gui.recovery.remedies import Remedies
from gui.recovery.saved import Saved
from gui.recovery.theatre import Theatre
from gui.recovery.warming import warm
from gui.recovery.ways import Ways
from gui.recovery.words import beyond_words, data_words, is_decided
from gui.recovery.work import RecoveryWork
from gui.tasks import EngineSession, Job, Turns
from gui.theme import Space, Tone
from gui.widgets import column, formats

QUIET, EVIDENCE, RUNNING, PROOF, WAYS, FAILED, SAVED = range(7)
_RECOVERIES = (ChoiceKind.RECOVER, ChoiceKind.LAST_VALID)


class RecoveryPage(Page):
    """Guides through the recovery of the database that could not simply be opened.

    What was found and would be done; the ways out with their costs; a rehearsal; the twelve stages as
    they run; the proof, or what was taken back and why. Nothing is changed before a person asks for it.
    """

    page_id = "recovery"
    icon_name = "recovery"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Recovery"), "")
        self.work = RecoveryWork(shell, self)
        self.remedies = Remedies(shell, self.work, self)
        self.errors = self.remedies.make_errors()
        self.behind = Behind()
        self.past = Past()
        self.evidence = Evidence()
        self.theatre = Theatre()
        self.proof = Proof()
        self.ways = Ways()
        self.failure = Failure()
        self.saved = Saved()
        self.foot = Foot()
        self._turns = Turns(self)
        self._proof_of = ProofOf.RECOVERED
        self._was_rehearsal = False
        self._restored = Path()
        self._build()
        self._connect()
        self._show_part(QUIET)

    def _build(self) -> None:
        parts = (self.past, self.evidence, self.theatre, self.proof, self.ways, self.failure, self.saved)
        self._parts = Parts(self.errors, *parts)
        inner = column(self.behind, gap=Space.M)
        inner.addWidget(self._parts, 1)
        inner.addWidget(self.foot)
        self.body.addLayout(inner, 1)

    def _connect(self) -> None:
        work, foot, remedies = self.work, self.foot, self.remedies
        self.behind.ended.connect(self._read_history)
        self.behind.shown_changed.connect(self.past.show_going_on)
        self.shell.recovery_needed.connect(self.guide)
        work.looked.connect(self._show_signs)
        work.planned.connect(self._show_plan)
        work.troubled.connect(self._show_trouble)
        work.offered.connect(self._show_choices)
        work.began.connect(self._show_running)
        work.followed.connect(self._follow)
        work.progressed.connect(self._show_progress)
        work.rehearsed.connect(self._show_rehearsed)
        work.prepared.connect(self._show_prepared)
        work.recovered.connect(lambda database: self._offer(database, self.tr("Recovered")))
        work.rolled_back.connect(self._show_stopped)
        work.saved.connect(self._show_saved)
        work.restored.connect(self._show_restored)
        work.opened.connect(self._offer)
        work.failed.connect(self._has_failed)
        remedies.retry_wanted.connect(self.again)
        remedies.waiting.connect(self._show_waiting)
        self.ways.chosen.connect(self._show_chosen)
        self.theatre.cancel.clicked.connect(self.cancel)
        self.proof.export.clicked.connect(self._ask_export)
        foot.later.clicked.connect(self.leave)
        foot.ways.clicked.connect(self.show_ways)
        foot.ways_first.clicked.connect(self.show_ways)
        foot.look_again.clicked.connect(self.begin)
        foot.rehearse.clicked.connect(self.rehearse)
        foot.copy_first.clicked.connect(self.remedies.copy_first)
        foot.start.clicked.connect(self.start)
        foot.again.clicked.connect(self.again)
        foot.use_default.clicked.connect(remedies.use_default)
        foot.roll_back.clicked.connect(work.roll_back)
        foot.install.clicked.connect(work.install)
        foot.past.clicked.connect(self.show_past)
        foot.open.clicked.connect(self.show_data)

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
        self.remedies.stop_waiting()
        self.work.forget()
        self.behind.follow(session)
        self._read_history()
        report = getattr(session.database, "recovery_report", None)
        if report is None or report.on_demand:
            self._show_part(QUIET)
        else:
            of = ProofOf.SHOWN if report.rehearsal else ProofOf.RECOVERED
            self._turns.add(partial(self.proof.show_report, report, of))
            self._turns.add(partial(self._turn_to_proof, of))

    def _read_history(self) -> None:
        if self.session is not None:
            read = self.session.run(lambda database: history.read(database.path), self, channel="files")
            read.done(self.past.show_history)

    def detach(self) -> None:
        super().detach()
        self._turns.drop()
        self.behind.show_standing(None)
        self.errors.clear()
        self.past.show_history(history.History())
        self._show_part(QUIET)

    def unsaved(self) -> str:
        if self.work.is_prepared:
            return self.tr("A recovery that waits to be put in place is dropped; the next begins anew.")
        return ""

    # What happened

    def guide(self, path: Path, error: HoldfastError) -> None:
        """Begin with a database that needs recovery: show the signs, read the log, plan."""
        self.evidence.show_indicators(error.indicators if isinstance(error, RecoveryNeeded) else ())
        self._look_at(path, None if isinstance(error, RecoveryNeeded) else error)

    def begin(self) -> None:
        """Look at the database again and make the plan; changes nothing."""
        if self.work.path is not None:
            self._look_at(self.work.path)

    def _look_at(self, path: Path, trouble: HoldfastError | None = None) -> None:
        self.remedies.stop_waiting()
        self.errors.clear()
        words = self.tr("{name} was not closed properly. Look first, then decide.")
        self.header.set_subtitle(words.format(name=path.stem) if trouble is None else trouble.title)
        self.evidence.show_reading()
        self.foot.command.show_command("recover", path)
        self.foot.start.setText(self.tr("Recover {name}").format(name=path.stem))
        self._show_part(EVIDENCE)
        self.foot.show_only(self.foot.later)
        self.work.look_at(path, trouble)

    def _show_signs(self, manager: Any) -> None:
        self._turns.add(partial(self.evidence.show_indicators, manager.indicators))
        self._turns.add(partial(warm, self._parts.all, self._turns))

    def _show_plan(self, plan: RecoveryPlan) -> None:
        self.evidence.show_plan(plan)
        size = formats.size(plan.bytes)
        self.foot.start.setText(self.tr("Replay {size} of log and recover").format(size=size))
        self._offer_start(self.foot.later, self.foot.ways, self.foot.rehearse)

    def _offer_start(self, *beside: QWidget) -> None:
        self.foot.show_only(*beside, self.foot.stop_before, self.foot.start)
        self.foot.start.setEnabled(True)
        self._action.setEnabled(True)
        self.foot.start.setFocus()

    def _show_trouble(self, error: BaseException, operation: str) -> None:
        if isinstance(error, Cancelled):
            self.evidence.show_unplanned(self.tr("The log was not read to its end."))
        else:
            _tone, title, words = data_words(from_exception(error, operation))
            self.evidence.show_unplanned(f"{title}. {words}")
            self.errors.show_error(error, operation)
        self._offer_ways()

    def _offer_ways(self) -> None:
        """What can be done where something stands in the way: put it right, or take another way."""
        foot, work = self.foot, self.work
        if work.path is not None:
            foot.command.show_command("recover", work.path)
        foot.again.setText(self.tr("Look again") if self._part() == EVIDENCE else self.tr("Try again"))
        name = self.remedies.wrong_setting()
        foot.use_default.setText(self.tr("Use the default of {name}").format(name=name))
        if work.trouble is None or root_cause(work.trouble).is_retryable():
            shown = [foot.ways, foot.again, *([foot.use_default] if name else [])]
        else:
            # Another attempt would end in the same way.
            shown = [foot.look_again, foot.ways_first]
        foot.show_only(foot.later, foot.copy_first, *shown)

    def _show_waiting(self, holder: str) -> None:
        words = self.tr("Waiting for {holder} to let go of the database")
        self.header.set_subtitle(words.format(holder=holder))
        self.foot.show_only(self.foot.later, self.foot.again)

    # The ways out

    def show_ways(self) -> None:
        """Say what each way would cost."""
        path = self.work.path
        if path is not None and not self.work.is_busy:
            self.errors.clear()
            self.ways.show_weighing(path)
            self._show_part(WAYS)
            self.work.weigh()

    def _show_choices(self, choices: tuple[Choice, ...]) -> None:
        self.header.set_subtitle(self.tr("Nothing is done before you choose"))
        self.ways.show_choices(choices, roll_forward_from=self.work.roll_forward_from)

    def _show_chosen(self, choice: Choice | None) -> None:
        foot, path = self.foot, self.work.path
        if choice is None or path is None:
            foot.show_only(foot.later, foot.copy_first)
            return
        self.work.choose_fallback("last-valid" if choice.kind is ChoiceKind.LAST_VALID else "")
        foot.start.setText(self.ways.start_words())
        more = (foot.rehearse, foot.stop_before) if choice.kind in _RECOVERIES else ()
        foot.show_only(foot.later, foot.copy_first, *more, foot.start)
        foot.start.setEnabled(True)
        self._action.setEnabled(True)
        command = self.ways.command_words()
        foot.command.show_command(*command)
        foot.command.setVisible(bool(command))

    # Rehearsing and recovering

    def rehearse(self) -> None:
        """Do everything beside the database, check it, and drop it."""
        self.errors.clear()
        self.work.rehearse()

    def start(self) -> None:
        """Do what the button says: recover, or the way that was chosen."""
        part, work = self._part(), self.work
        if work.is_busy or part not in (EVIDENCE, WAYS, PROOF) or not self._action.isEnabled():
            return
        self._action.setEnabled(False)
        self.errors.clear()
        choice = self.ways.current() if part == WAYS else None
        if choice is None or choice.kind in _RECOVERIES:
            work.recover(stop_before_install=self.foot.stop_before.isChecked())
        elif choice.kind is ChoiceKind.READ_ONLY:
            work.open_read_only()
        elif choice.kind is ChoiceKind.OPEN_NOW:
            work.open_now()
        elif choice.kind is ChoiceKind.MIRROR:
            self._action.setEnabled(True)
            self.remedies.take_over()
        elif choice.kind is ChoiceKind.SALVAGE:
            work.salvage(self.ways.new_database())
        elif work.roll_forward_from is not None:
            work.roll_forward(self.ways.new_database())
        else:
            self._action.setEnabled(True)
            self.remedies.restore()

    def again(self) -> None:
        """Try again what failed; without a failure, look again."""
        self.errors.clear()
        if self._part() != FAILED:
            self.begin()
        elif self._was_rehearsal or self.work.fallback or isinstance(self.work.trouble, RecoveryPlanOutdated):
            # What was agreed on is void; what would happen now has to be seen again.
            self.work.rehearse()
        else:
            self.begin()

    def cancel(self) -> None:
        """Ask what runs to stop: every byte is then as it was, or the next opening puts the rest in place."""
        self.theatre.show_cancelling()
        self.work.cancel()

    def _show_running(self, job: Job, is_rehearsal: bool) -> None:
        manager = self.work.manager
        if manager is None:
            return
        self._was_rehearsal = is_rehearsal
        self._action.setEnabled(False)
        self.errors.clear()
        is_undoable = manager.settings.enable_recovery_rollback or bool(self.work.fallback)
        self.theatre.show_start(is_rehearsal=is_rehearsal, is_undoable=is_undoable)
        self.theatre.show_report(manager.report)
        self.header.set_subtitle(
            self.tr("Everything is done beside the database and dropped; nothing is changed")
            if is_rehearsal
            else self.tr("All or nothing: what fails or is cancelled is taken back")
        )
        self._show_part(RUNNING)

    def _follow(self, job: Job) -> None:
        self.ways.bar.follow(job)
        self.foot.show_only()

    def _show_progress(self, progress: TaskProgress) -> None:
        report = self.work.report
        if report is not None and self._part() == RUNNING:
            self.theatre.show_report(report)
            self.theatre.show_progress(progress, report.remaining_s)

    def _show_rehearsed(self, report: RecoveryReport) -> None:
        self.show_proof(report, ProofOf.REHEARSED)
        self.foot.start.setText(self.tr("Carry this plan out"))
        if self.work.path is not None:
            more = ("--fallback", self.work.fallback) if self.work.fallback else ()
            self.foot.command.show_command("recover", self.work.path, *more, "--plan-hash", report.plan_hash)
        self._offer_start(self.foot.later, self.foot.ways)

    def _show_prepared(self, report: RecoveryReport) -> None:
        self.show_proof(report, ProofOf.PREPARED)
        self.foot.show_only(self.foot.roll_back, self.foot.install)
        self.foot.install.setFocus()

    def _offer(self, database: Any, words: str) -> None:
        """Hand the open database to the window, and stay here: `attach` shows the proof."""
        self.shell.session_opened.emit(database, database.path)
        self.shell.show_page(self.page_id)
        self.shell.tell(words)

    def _show_saved(self, report: Any) -> None:
        self.saved.show_report(report)
        self.header.set_subtitle(self.tr("What could be read is in a new database"))
        self._show_part(SAVED)
        self.foot.open.setText(self.tr("Open {name}").format(name=report.target.stem))
        self.foot.show_only(self.foot.later, self.foot.open)

    def _show_restored(self, result: Any, reached: Any) -> None:
        report = result.recovery
        if self.work.trouble is not None:
            # What lies beyond the damage cannot be told from here.
            report = replace(report, lost=({"what": "log", "detail": beyond_words(reached.committed_at)},))
        self.show_proof(report, ProofOf.RESTORED)
        self._restored = result.path
        self.foot.open.setText(self.tr("Open {name}").format(name=result.path.stem))
        self.shell.tell(self.tr("{n} commits were rolled forward").format(n=formats.count(reached.commits)))
        self.foot.show_only(self.foot.later, self.foot.open)

    # How it ended

    def show_proof(self, report: RecoveryReport, of: ProofOf = ProofOf.RECOVERED) -> None:
        """Show what a recovery or a rehearsal has done."""
        self.proof.show_report(report, of)
        self._turn_to_proof(of)

    def _turn_to_proof(self, of: ProofOf) -> None:
        self._proof_of = of
        lost = self.proof.report is not None and bool(self.proof.report.lost)
        recovered = (self.tr("recovered"), Tone.GOOD)
        states = {
            ProofOf.RECOVERED: (self.tr("recovered, with losses"), Tone.WARN) if lost else recovered,
            ProofOf.REHEARSED: (self.tr("rehearsed"), Tone.NEUTRAL),
            ProofOf.PREPARED: (self.tr("not in place yet"), Tone.WARN),
            ProofOf.SHOWN: (self.tr("read-only"), Tone.WARN),
            ProofOf.RESTORED: (self.tr("restored"), Tone.GOOD),
        }
        self.header.set_subtitle(self.tr("What was done, what was checked, and what was lost, if anything"))
        self._show_part(PROOF)
        self.header.state.show_state(*states[of])
        self.header.state.show()
        if self.session is not None:
            self.foot.open.setText(self.tr("Show the data"))
            self.foot.command.show_command("recover", self.session.path)
            # What was done in another way is not what this command would do.
            self.foot.command.setVisible(of is ProofOf.RECOVERED and not lost)
            self.foot.show_only(self.foot.past, self.foot.open)
            if self.isVisible():
                self.foot.open.setFocus()

    def show_past(self) -> None:
        """Leave the proof for the recoveries before."""
        self._show_part(QUIET)

    def show_data(self) -> None:
        """Leave the proof for the data: of the open database, or of the one that was salvaged."""
        if self._part() == SAVED and self.saved.report is not None:
            self.shell.open(self.saved.report.target)
        elif self._proof_of is ProofOf.RESTORED:
            self.shell.open(self._restored)
        else:
            self.shell.show_page("tables")

    def _show_stopped(self, report: RecoveryReport) -> None:
        self.failure.show_rolled_back(report)
        self._turn_to_failure()

    def _has_failed(self, error: BaseException, operation: str) -> None:
        report = self.work.report
        self.theatre.show_over()
        if self._part() != RUNNING or report is None:
            if not isinstance(error, Cancelled):
                self.errors.show_error(error, operation)
            if self._part() == WAYS:
                self._show_chosen(self.ways.current())
            else:
                self._offer_ways()
            return
        self.theatre.show_report(report)
        if isinstance(error, Cancelled):
            self.shell.tell(
                self.tr("Stopped; the next opening puts the rest in place.")
                if is_decided(report)
                else self.tr("Cancelled; the database still needs recovery.")
            )
            self._show_stopped(report)
            return
        known = from_exception(error, operation)
        self.failure.show_failure(known, report)
        self.errors.show_error(known, operation)
        self._turn_to_failure()

    def _turn_to_failure(self) -> None:
        self.header.set_subtitle(self.tr("The database still needs recovery"))
        self._show_part(FAILED)
        self._offer_ways()

    def leave(self) -> None:
        """Go back without a recovery; nothing was changed."""
        self.remedies.stop_waiting()
        self.work.forget()
        self.shell.show_page("welcome")

    def _ask_export(self) -> None:
        path = self._about()
        if self.proof.report is not None and path is not None:
            ask_export(self, path, self.export)

    def export(self, target: Path) -> None:
        """Write the loss ledger that is shown to a file."""
        report, path = self.proof.report, self._about()
        if report is not None and path is not None:
            answer = self.shell.run(lambda: write_ledger(report, path, target), self)
            answer.done(lambda _none: self.shell.tell(self.tr("The loss ledger is saved")))
            answer.failed(lambda error: self.errors.show_error(error, self.tr("export the loss ledger")))

    def _about(self) -> Path | None:
        """The database that is shown."""
        return self.work.path or (self.session.path if self.session is not None else None)

    def _part(self) -> int:
        return self._parts.shown()

    def _show_part(self, part: int) -> None:
        self._parts.show_part(part)
        self.foot.command.show()
        self.foot.setVisible(part not in (QUIET, RUNNING))
        self.header.state.hide()
        if part == QUIET:
            self.header.set_subtitle(
                self.tr("What was done the last time the database was not closed properly")
            )
