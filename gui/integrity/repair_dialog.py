"""The repair guide: list, advise, preview, repair, verify, close."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.errors import BackupLocked, Cancelled
from engine.integrity.advice import Option, Source, options
from engine.integrity.findings import Finding
from gui.backups.key_question import GivenKey
from gui.integrity.repair_steps import AdviceStep, ListStep, OutcomeStep, PreviewStep
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.step_dialog import StepDialog

if TYPE_CHECKING:
    from engine.integrity.plan import RepairPlan
    from engine.integrity.repair import RepairReport
    from engine.tasks import Task

LIST, ADVISE, PREVIEW, REPAIR, VERIFY, CLOSE = range(6)
_SHOWN = {LIST: 0, ADVISE: 1, PREVIEW: 2, REPAIR: 2, VERIFY: 2, CLOSE: 3}
"""The part of the dialog that shows each step: while it repairs, the plan stays in view."""


class RepairDialog(StepDialog):
    """Guides through the repair of findings. The work is a job; closing the dialog does not stop it."""

    repaired = Signal()
    """A repair has ended, well or not: findings have changed."""
    restore_wanted = Signal(str)
    """Restore this backup beside the database."""
    salvage_wanted = Signal()
    """Save what can be read into a new database: the guide has gone by then."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        findings: Sequence[Finding],
        chosen: Finding | None = None,
        parent: QWidget | None = None,
    ) -> None:
        names = (
            self.tr("1 List"),
            self.tr("2 Advise"),
            self.tr("3 Preview"),
            self.tr("4 Repair"),
            self.tr("5 Verify"),
            self.tr("6 Close"),
        )
        title = self.tr("Repair {name}").format(name=session.name)
        super().__init__(title, names, _SHOWN, ErrorSlot(), parent)
        self.resize_within(980, 600)
        self.shell = shell
        self._session = session
        self._plan: RepairPlan | None = None
        self.list = ListStep(findings, chosen)
        self.advice, self.preview, self.outcome = AdviceStep(), PreviewStep(), OutcomeStep()
        self.lay_out((self.list, self.advice, self.preview, self.outcome), self._go_back, self._go_on)
        self.advice.restore_wanted.connect(self.restore_wanted)
        self.advice.salvage_wanted.connect(self._salvage)
        self.advice.option_shown.connect(self._show_command)
        self.advice.lock.given.connect(self.advise)
        self.preview.rehearsal_wanted.connect(self.rehearse)
        self.outcome.export_wanted.connect(self._ask_export)
        self._show_step(LIST)

    def _show_command(self, option: Option | None = None) -> None:
        """Show what does the same as the source that is looked at, else as the repair."""
        path = self._session.path
        if option is not None and option.source is Source.SALVAGE:
            target = path.with_name(f"{path.stem} salvaged.holdfast")
            self.command.show_command("recover", path, "--fallback", "salvage", "--to", target)
        elif option is not None and option.source is Source.BACKUP and option.backup:
            target = path.with_name(f"{path.stem} restored.holdfast")
            self.command.show_command("restore", Path(option.backup), target)
        else:
            self.command.show_command("repair", path, *self._key_words())

    def _key_words(self) -> tuple[str | Path, ...]:
        words = self.advice.lock.command_words()
        return ("--from", self._folder(), *words) if words else ()

    def _folder(self) -> Path:
        path, settings = self._session.path, self._session.database.config
        folder: Path = settings.backup_folder_of(path, self.shell.preferences.chosen_backup_folder(path))
        return folder

    def _salvage(self) -> None:
        self.reject()
        self.salvage_wanted.emit()

    def _show_step(self, step: int) -> None:
        self.turn_to(step)
        if step != ADVISE:
            self._show_command()
        self.back.setVisible(step in (ADVISE, PREVIEW))
        self.preview.rehearse.setVisible(step == PREVIEW)
        words = {
            LIST: self.tr("Find out what helps"),
            ADVISE: self.tr("Show the plan"),
            PREVIEW: self._repair_words(),
            CLOSE: self.tr("Done"),
        }
        self.go.setVisible(step in words)
        self.go.setText(words.get(step, ""))
        self.go.setEnabled(step != PREVIEW or (self._plan is not None and not self._plan.is_empty))
        self.close_button.setVisible(step != CLOSE)
        self.close_button.setText(
            self.tr("Go on in the background") if step in (REPAIR, VERIFY) else self.tr("Close")
        )

    def _repair_words(self) -> str:
        plan = self._plan
        if plan is None or plan.is_empty:
            return self.tr("Repair")
        parts = []
        if len(plan.remedies) == 1:
            parts.append(self.tr("replace page {n}").format(n=plan.remedies[0].page))
        elif plan.remedies:
            parts.append(self.tr("replace {n} pages").format(n=len(plan.remedies)))
        if len(plan.indexes) == 1:
            parts.append(self.tr("rebuild index {name}").format(name=plan.indexes[0].index))
        elif plan.indexes:
            parts.append(self.tr("rebuild {n} indexes").format(n=len(plan.indexes)))
        words = self.tr(" and ").join(parts)
        return words[:1].upper() + words[1:]

    def _go_on(self) -> None:
        if self.step == LIST:
            self.advise()
        elif self.step == ADVISE:
            self._show_step(PREVIEW)
        elif self.step == PREVIEW:
            self.repair()
        else:
            self.accept()

    def _go_back(self) -> None:
        self.errors.clear()
        self._show_step(self.step - 1)

    # Work

    def advise(self) -> None:
        """Rebuild in memory what can be rebuilt, and show every source."""
        findings = self.list.wanted()
        folder, given = self._folder(), self.advice.lock.key()
        self._start(
            lambda db: _advise(db, findings, folder, given), lambda plan: self._fetch_backups(plan, folder)
        )

    def _fetch_backups(self, plan: RepairPlan, folder: Path) -> None:
        self.bar.hide()
        answer = self._session.run(lambda _db: _options(plan, folder), self, channel="files")
        answer.done(lambda found: self._show_advice(plan, *found)).failed(self._has_failed)

    def _show_advice(self, plan: RepairPlan, lines: list[tuple[Finding, Option]], kind: str) -> None:
        self._plan = plan
        self.advice.show_options(lines)
        self.preview.show_plan(plan)
        self._show_step(ADVISE)
        self.advice.show_locked(plan.locked, kind)

    def rehearse(self) -> None:
        """Do all that leaves no trace."""
        plan = self._plan
        if plan is not None:
            self._start(lambda db: _rehearse(db, plan), self._has_rehearsed)

    def _has_rehearsed(self, plan: RepairPlan) -> None:
        self.bar.hide()
        self._show_step(PREVIEW)
        self.preview.show_rehearsed(plan)

    def repair(self) -> None:
        """Carry the plan out, and check everything afterwards."""
        plan = self._plan
        if plan is None:
            return
        self._show_step(REPAIR)
        self._start(lambda db: _repair(db, plan), lambda report: self._has_repaired(report, plan))

    def _has_repaired(self, report: RepairReport, plan: RepairPlan) -> None:
        self.bar.hide()
        self.outcome.show_report(report, plan)
        self._show_step(CLOSE)
        self.go.setFocus()
        self.repaired.emit()

    def _start(self, make: Any, done: Any) -> None:
        """Make a task on a worker and follow it as a job."""
        self.errors.clear()
        self.go.setEnabled(False)
        self.back.setEnabled(False)
        answer = self._session.run(make, self, channel="files")
        answer.done(lambda task: self._follow(task, done)).failed(self._has_failed)

    def _follow(self, task: Any, done: Any) -> None:
        job = self.shell.jobs.start(task, self)
        self.bar.follow(job)
        job.progressed.connect(self._show_progress)

        def finish(result: Any) -> None:
            self.back.setEnabled(True)
            done(result)

        job.answer.done(finish).failed(self._has_failed)

    def _show_progress(self, progress: Any) -> None:
        if self.step == REPAIR and progress.step == 2:
            self._show_step(VERIFY)

    def _has_failed(self, error: BaseException) -> None:
        self.back.setEnabled(True)
        was_repairing = self.step in (REPAIR, VERIFY)
        self._show_step(PREVIEW if was_repairing else self.step)
        if was_repairing:
            self.repaired.emit()
        if not isinstance(error, Cancelled):
            self.bar.hide()
            self.errors.show_error(error, self.windowTitle())
            if isinstance(error, BackupLocked):
                self.advice.lock.ask()

    # The ledger

    def _ask_export(self) -> None:
        name = f"{self._session.name} losses.json"
        dialog = QFileDialog(self, self.tr("Export the loss ledger"), str(self._session.path.parent / name))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(name)
        dialog.fileSelected.connect(self.export_to)
        dialog.open()

    def export_to(self, path: str) -> None:
        """Write the loss ledger to a file."""
        answer = self._session.run(lambda db: db.integrity.export_losses(path), self, channel="files")
        answer.done(lambda made: self.shell.tell(self.tr("Written: {path}").format(path=made)))
        answer.failed(self._has_failed)


def _advise(
    database: Any, findings: tuple[Finding, ...], folder: Path, given: GivenKey | None
) -> Task[RepairPlan]:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.keys import pair_of
    from engine.integrity.plan import Elsewhere, advise_task

    key = None if given is None else pair_of(given.read())
    return advise_task(database, findings, Elsewhere(folders=(folder,), key=key))


def _options(plan: RepairPlan, folder: Path) -> tuple[list[tuple[Finding, Option]], str]:
    """The sources of each finding; and the kind of key that the newest backup which stayed closed wants."""
    from engine.backups.backup import list_backups
    from engine.backups.history import kept_backup

    backups = list_backups(folder)
    lines = [(finding, option) for finding in plan.findings for option in options(plan, finding, backups)]
    locked = [kept for place in plan.locked if (kept := kept_backup(Path(place))) is not None]
    return lines, locked[0].info.encryption if locked else ""


def _rehearse(database: Any, plan: RepairPlan) -> Any:
    from engine.integrity.repair import rehearse_task

    return rehearse_task(database, plan)


def _repair(database: Any, plan: RepairPlan) -> Any:
    from engine.integrity.repair import repair_task

    return repair_task(database, plan)
