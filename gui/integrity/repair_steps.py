"""The steps of the repair guide, each a widget that shows values and asks nothing of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QWidget

from engine.integrity.advice import Option, Source
from engine.integrity.findings import Finding
from gui.backups.key_question import KeyQuestion
from gui.integrity.words import PRIORITY_TONES, tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.theme import IconName, Space, Tone
from gui.widgets import Step, Stepper, StepState, button, column, formats, label, row, set_look
from gui.widgets.banner import Banner

if TYPE_CHECKING:
    from engine.integrity.plan import RepairPlan
    from engine.integrity.repair import RepairReport


class ListStep(QWidget):
    """Which findings are to be repaired."""

    def __init__(self, findings: Sequence[Finding], chosen: Finding | None) -> None:
        super().__init__()
        self._findings = tuple(findings)
        self._chosen = chosen
        self.which = QComboBox()
        self.which.setAccessibleName(self.tr("What is to be repaired"))
        self.which.addItem(self.tr("All {n} open findings").format(n=formats.count(len(self._findings))))
        if chosen is not None and len(self._findings) > 1:
            self.which.addItem(self.tr("Only: {where}").format(where=chosen.where))
        fields = (
            Field(tr("Priority"), lambda f: str(f.priority), tone=lambda f: PRIORITY_TONES[f.priority]),
            Field(tr("Where"), lambda f: f.where),
            Field(tr("What was found"), lambda f: f.summary),
        )
        self.model = RecordModel(fields, lambda f: f.id, limit=1000, parent=self)
        view = RecordView(self.model, self.tr("Findings to repair"), (80, 220))
        words = self.tr(
            "Nothing is changed before you have seen the plan. The database stays in use; what is damaged "
            "stays set apart until it is whole."
        )
        inner = column(label(words, "muted", wrap=True), self.which, gap=Space.M)
        inner.addWidget(view, 1)
        self.setLayout(inner)
        self.which.currentIndexChanged.connect(lambda _place: self.model.show(self.wanted()))
        self.model.show(self.wanted())

    def wanted(self) -> tuple[Finding, ...]:
        """The findings to repair."""
        if self.which.currentIndex() == 1 and self._chosen is not None:
            return (self._chosen,)
        return self._findings


class AdviceStep(QWidget):
    """Every possible source for each finding, best first."""

    restore_wanted = Signal(str)
    """Restore this backup beside the database."""
    salvage_wanted = Signal()
    """Save what can be read into a new database."""
    option_shown = Signal(object)
    """The `Option` that is looked at; None for none."""

    def __init__(self) -> None:
        super().__init__()
        fields = (
            Field(
                tr("Source"),
                lambda line: line[1].title,
                tone=lambda line: Tone.GOOD if line[1].is_chosen else None,
                icon_name=lambda line: _option_icon(line[1]),
            ),
            Field(tr("For"), lambda line: line[0].where),
            Field(tr("Restores"), lambda line: line[1].restores),
            Field(tr("Lost by it"), lambda line: line[1].lost),
            Field(tr("Takes"), lambda line: _takes(line[1]), True),
        )
        self.model = RecordModel(fields, lambda line: (line[0].id, line[1].source), limit=2000, parent=self)
        self.view = RecordView(self.model, self.tr("Sources, best first"), (216, 180, 220, 200))
        self.view.record_chosen.connect(self._show_line)
        self._words = label("", "", wrap=True)
        self._words.setMinimumHeight(38)
        self._restore = button(self.tr("Restore it beside…"), self._ask_restore, "", "undo")
        self._restore.hide()
        self.salvage = button(self.tr("Save what can be read…"), self.salvage_wanted.emit, "", "export")
        self.salvage.hide()
        self.lock = KeyQuestion()
        self._locked = label("", wrap=True)
        set_look(self._locked, tone=str(Tone.WARN))
        self._locked.hide()
        inner = column(label(self.tr("The plan takes the best source of each."), "muted"), gap=Space.M)
        inner.addWidget(self._locked)
        inner.addWidget(self.lock)
        inner.addWidget(self.view, 1)
        foot = row(gap=Space.M)
        foot.addWidget(self._words, 1)
        foot.addWidget(self._restore)
        foot.addWidget(self.salvage)
        inner.addLayout(foot)
        self.setLayout(inner)

    def show_options(self, lines: Sequence[tuple[Finding, Option]]) -> None:
        """Show the sources of all findings."""
        self.model.show(lines)
        taken = next((place for place, line in enumerate(lines) if line[1].is_chosen), 0)
        if lines:
            self.view.choose_line(taken)

    def show_locked(self, locked: Mapping[str, str], kind: str) -> None:
        """Ask for the key of backups that stayed closed, each with the reason; `kind` is that of the key."""
        words = self.tr("The backup {name} could not be looked into: {why}.")
        told = [words.format(name=Path(place).name, why=why) for place, why in locked.items()]
        self._locked.setText(" ".join(told[:3]))
        self._locked.setVisible(bool(locked))
        if locked:
            self.lock.ask(kind)

    def _show_line(self, line: tuple[Finding, Option] | None) -> None:
        self._restore.hide()
        self.salvage.setVisible(line is not None and line[1].source is Source.SALVAGE)
        self.option_shown.emit(None if line is None else line[1])
        if line is None:
            self._words.setText("")
            return
        option = line[1]
        if option.is_chosen:
            words = self.tr("Taken by the plan. If it is to be undone: {undo}")
        elif option.why_not:
            words = self.tr("Not now: {why}.")
        else:
            words = self.tr("Possible, if nothing above it is. Can it be undone? {undo}")
        self._words.setText(words.format(undo=option.undo, why=option.why_not))
        self._restore.setVisible(option.source is Source.BACKUP and bool(option.backup))

    def _ask_restore(self) -> None:
        line = self.view.current()
        if line is not None:
            self.restore_wanted.emit(line[1].backup)


class PreviewStep(QWidget):
    """What the repair will do, line by line, and its rehearsal."""

    rehearsal_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._words = label("", "", wrap=True)
        self._steps = Stepper()
        self.banner = Banner()
        self.rehearse = button(self.tr("Rehearse it first"), self.rehearsal_wanted.emit, "", "play")
        self._rehearsal = label(
            self.tr(
                "A rehearsal rebuilds the pages in memory and the indexes in a transaction that is undone. "
                "Tables whose indexes are rebuilt are locked for that time."
            ),
            "caption",
            wrap=True,
        )
        foot = row(self.rehearse, gap=Space.M)
        foot.addWidget(self._rehearsal, 1)
        inner = column(self._words, self._steps, self.banner, gap=Space.M)
        inner.addStretch(1)
        inner.addLayout(foot)
        self.setLayout(inner)

    def show_plan(self, plan: RepairPlan) -> None:
        """Show what would be done."""
        self.banner.hide()
        self._steps.set_steps(plan_steps(plan))
        self.rehearse.setEnabled(not plan.is_empty)
        if plan.is_empty:
            self._words.setText(
                self.tr(
                    "Nothing here can be repaired in place: no source reaches back far enough. The step "
                    "before lists what remains: a backup, or a salvage."
                )
            )
        else:
            self._words.setText(
                self.tr(
                    "The damaged bytes go into quarantine/ first. Each page is written and read again before "
                    "the next one is begun; then everything is checked."
                )
            )

    def show_rehearsed(self, plan: RepairPlan) -> None:
        """Show that the rehearsal went well."""
        self.banner.say(
            Tone.GOOD,
            self.tr("Rehearsed: it works"),
            self.tr("Pages rebuilt in memory: {pages}. Indexes built and undone: {indexes}.").format(
                pages=formats.count(len(plan.remedies)), indexes=formats.count(len(plan.indexes))
            ),
        )


class OutcomeStep(QWidget):
    """What was done, what the check said, and what was lost."""

    export_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.banner = Banner()
        self._steps = Stepper()
        self.export = button(self.tr("Export the loss ledger…"), self.export_wanted.emit, "", "export")
        inner = column(self.banner, self._steps, gap=Space.M)
        inner.addStretch(1)
        inner.addLayout(row(self.export, None))
        self.setLayout(inner)

    def show_report(self, report: RepairReport, plan: RepairPlan) -> None:
        """Show the outcome with its proof."""
        done = len(report.repaired) + len(report.rebuilt)
        left = report.check.problems
        if report.check.ok:
            title = self.tr("Repaired and verified")
            words = self.tr(
                "The check that followed read {n} pages and found nothing wrong. Nothing was lost."
            )
            words = words.format(n=formats.count(report.check.pages))
            if report.given_back:
                more = self.tr("{n} pages that only damage led to are free again.")
                words += " " + more.format(n=formats.count(report.given_back))
            self.banner.say(Tone.GOOD, title, words)
        elif done:
            title = self.tr("Repaired: {n}. Still open: {left}").format(
                n=formats.count(done), left=formats.count(len(left))
            )
            words = self.tr("What is left stays set apart, and the rest of the database stays in use.")
            self.banner.say(Tone.WARN, title, words)
        else:
            self.banner.say(Tone.BAD, self.tr("Nothing could be repaired"), "")
        self._steps.set_steps(_outcome_steps(report))


def plan_steps(plan: RepairPlan, most: int = 8) -> list[Step]:
    """A plan as a list of what will be done."""
    steps = [
        Step(
            tr("Replace page {n}").format(n=formats.count(remedy.page)),
            StepState.WAITING,
            tr("from {source}; {n} changes").format(source=remedy.words, n=formats.count(remedy.changes)),
        )
        for remedy in plan.remedies
    ]
    steps += [
        Step(
            tr("Rebuild index {name}").format(name=index.index),
            StepState.WAITING,
            tr("from {rows} of {table}").format(rows=formats.rows(index.rows), table=index.table),
        )
        for index in plan.indexes
    ]
    more = len(steps) - most
    shown = steps[:most]
    if more > 0:
        shown.append(Step(tr("And {n} more").format(n=formats.count(more))))
    if plan.without_source:
        pages = ", ".join(formats.count(page) for page in plan.without_source[:most])
        words = (
            tr("page {pages}: nothing here reaches back far enough")
            if len(plan.without_source) == 1
            else tr("pages {pages}: nothing here reaches back far enough")
        )
        detail = words.format(pages=pages)
        shown.append(Step(tr("Left as it is"), StepState.SKIPPED, detail))
    if plan.others:
        detail = tr("findings that are not about one page or an index: {n}").format(n=plan.others)
        shown.append(Step(tr("Left as it is"), StepState.SKIPPED, detail))
    return shown


def _outcome_steps(report: RepairReport, most: int = 10) -> list[Step]:
    steps = [
        Step(
            loss.where,
            StepState.DONE if loss.verified else StepState.WARNING,
            tr("{what}; lost: {lost}").format(what=loss.restored, lost=loss.lost)
            + (f"; {loss.kept}" if loss.kept else ""),
            formats.duration(loss.seconds),
        )
        for loss in report.losses[:most]
    ]
    steps += [Step(name, StepState.FAILED, error.title) for name, error in report.failed[:most]]
    state = StepState.DONE if report.check.ok else StepState.WARNING
    detail = tr("{pages} pages, {problems} problems").format(
        pages=formats.count(report.check.pages), problems=formats.count(len(report.check.problems))
    )
    steps.append(Step(tr("Check of everything"), state, detail, formats.duration(report.check.seconds)))
    return steps


def _option_icon(option: Option) -> IconName:
    if option.is_chosen:
        return "success"
    return "cancelled" if option.why_not else "more"


def _takes(option: Option) -> str:
    return "" if option.seconds is None else tr("about {s}").format(s=formats.duration(option.seconds))
