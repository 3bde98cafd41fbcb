"""The page of integrity: what was checked and when, what was found, and every page on a map."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QCheckBox, QComboBox, QStackedWidget, QWidget

from engine.errors import Cancelled
from engine.integrity.findings import Finding
from engine.types import CheckReport
from gui.actions import Actions
from gui.backups.restore_dialog import RestoreDialog
from gui.integrity.detail import FindingDetail
from gui.integrity.map_card import MapCard
from gui.integrity.repair_dialog import RepairDialog
from gui.integrity.salvage_dialog import SalvageDialog
from gui.integrity.scrub_tile import ScrubTile
from gui.integrity.state import Snapshot, snapshot
from gui.integrity.words import PRIORITY_TONES, tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import Card, EmptyState, StatTile, button, column, formats, row
from gui.widgets.banner import Banner

if TYPE_CHECKING:
    from engine.integrity.extent import Extent

_log = logging.getLogger(__name__)

UNCHECKED, CLEAN, LISTED = range(3)
_TELLS = (
    "page_set_apart",
    "finding_placed",
    "page_repaired",
    "finding_closed",
    "finding_opened",
    "repair_finished",
    "writes_halted",
    "writes_resumed",
)


def finding_fields() -> tuple[Field, ...]:
    """What is shown of a `Finding`."""
    return (
        Field(
            tr("Priority"),
            lambda f: str(f.priority),
            tone=lambda f: PRIORITY_TONES[f.priority] if f.is_open else None,
            icon_name=lambda f: "warning" if f.is_open else "check",
        ),
        Field(tr("Page"), lambda f: "" if f.page is None else formats.count(f.page), True),
        Field(tr("Tree"), lambda f: f.tree or tr("not known")),
        Field(tr("Found"), lambda f: formats.ago(f.first_seen), tip=lambda f: formats.moment(f.first_seen)),
        Field(tr("What was found"), lambda f: f.summary if f.is_open else f.outcome),
    )


class IntegrityPage(Page):
    """Runs a check as a job and lists the findings. The database stays in use."""

    page_id = "integrity"
    icon_name = "integrity"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Integrity"), "")
        self.header.set_subtitle(self.tr("Checksums, structure and references of every page, while you work"))
        self.errors = self.make_errors(self.check)
        self.banner = Banner()
        self._bar = JobBar()
        self._running = False
        self._seen: Snapshot | None = None
        self.detailed = QCheckBox(self.tr("Indexes against their tables too"))
        self.detailed.setChecked(True)
        self._go = button(self.tr("Check now"), self.check, "primary", "integrity")
        self.header.add_action(self.detailed)
        self.header.add_action(self._go)
        self.model = RecordModel(finding_fields(), lambda f: f.id, limit=2000, parent=self)
        self.view = RecordView(self.model, self.tr("Findings"), (84, 70, 110, 90))
        self.view.record_chosen.connect(self._show_chosen)
        self.view.setMinimumHeight(96)
        self.detail = FindingDetail()
        self.map_card = MapCard(shell)
        self.map_card.page_chosen.connect(self._choose_page)
        self.map_card.looked.connect(lambda: self._mark(self.view.current()))
        self._which = QComboBox()
        self._when = StatTile(self.tr("Last check"))
        self._records = StatTile(self.tr("Records checked"))
        self._open = StatTile(self.tr("Open findings"))
        self._repaired = StatTile(self.tr("Repaired"))
        self.scrub = ScrubTile()
        self._build()
        self._show_nothing()

    def _build(self) -> None:
        self._unchecked = EmptyState(
            "integrity",
            self.tr("Never checked"),
            self.tr(
                "A check reads every page and compares it with its checksum, its neighbours and its tree."
            ),
            button(self.tr("Check the whole database"), self.check, "primary"),
        )
        self._clean = EmptyState("success", self.tr("All is well"), self.tr("Nothing wrong was found."))
        listed = QWidget()
        inner = column(gap=Space.M)
        inner.addWidget(self.view, 1)
        inner.addWidget(self.detail)
        listed.setLayout(inner)
        self._stack = QStackedWidget()
        for part in (self._unchecked, self._clean, listed):
            self._stack.addWidget(part)
        self._which.setAccessibleName(self.tr("Which findings are shown"))
        self._which.addItems([self.tr("Open"), self.tr("Closed")])
        self._which.currentIndexChanged.connect(lambda _place: self._show_list())
        card = Card(self.tr("Findings"))
        card.head.addWidget(self._which)
        card.add(self._bar)
        card.body.addWidget(self._stack, 1)
        lower = row(gap=Space.M)
        lower.addWidget(card, 5)
        lower.addWidget(self.map_card, 4)
        tiles = row(self._when, self._records, self._open, self._repaired, self.scrub, gap=Space.M)
        inner = column(self.errors, tiles, self.banner, gap=Space.M)
        inner.addLayout(lower, 1)
        self.body.addLayout(inner, 1)
        self.detail.repair_wanted.connect(self.repair)
        self.detail.salvage_wanted.connect(self.salvage)
        self.detail.extent_wanted.connect(self._find_extent)
        self.detail.close_wanted.connect(self._close_finding)

    def add_actions(self, actions: Actions) -> None:
        for action_id, words, handler, keys, drawing in (
            ("integrity.check", self.tr("Check the whole database"), self.check, "Ctrl+Shift+I", "integrity"),
            ("integrity.repair", self.tr("Repair what was found…"), self.repair, "Ctrl+Alt+I", "recovery"),
            ("integrity.map", self.tr("Look at every page"), self._show_map, "Ctrl+Alt+M", "search"),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

        self.scrub.add_actions(actions)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self._show_nothing()
        self.map_card.attach(session)
        self.scrub.attach(session)
        session.events_arrived.connect(self._hear)
        self.refresh()

    def detach(self) -> None:
        self._show_nothing()
        self.map_card.detach()
        self.scrub.detach()
        super().detach()

    def entered(self) -> None:
        self.refresh()
        if not self.map_card.has_map:
            self.map_card.look()

    def _show_nothing(self) -> None:
        self._running = False
        self._seen = None
        self._go.setEnabled(True)
        self.errors.clear()
        self.banner.hide()
        self._bar.hide()
        self._which.setCurrentIndex(0)
        self.model.show([])
        self.detail.show_finding(None)
        self._stack.setCurrentIndex(UNCHECKED)
        for tile in (self._when, self._records, self._open, self._repaired):
            tile.show_value("–", "")

    # What the engine knows

    def refresh(self) -> None:
        """Fetch the findings and what was checked when."""
        if self.session is not None:
            answer = self.session.run(snapshot, self, channel="integrity")
            answer.done(self._show).failed(self._has_failed)

    def _hear(self, events: list[Any]) -> None:
        if any(event.kind in _TELLS for event in events):
            self.refresh()

    def _show(self, seen: Snapshot) -> None:
        if self.session is None:
            return
        self._seen = seen
        self._show_tiles(seen)
        self._show_banner(seen)
        self.map_card.mark(seen.findings, seen.closed)
        self._show_list()

    def _show_tiles(self, seen: Snapshot) -> None:
        check = seen.check
        if check is None:
            self._when.show_value(self.tr("never"), "", Tone.WARN)
            self._records.show_value("–", "")
        else:
            rate = check.bytes / check.seconds if check.seconds > 0 else 0.0
            self._when.show_value(formats.ago(check.at), formats.moment(check.at))
            self._records.show_value(
                formats.count(check.records),
                self.tr("{pages} pages, {rate}").format(
                    pages=formats.count(check.pages), rate=formats.rate(rate, "bytes")
                ),
            )
        worst = seen.findings[0].priority if seen.findings else None
        self._open.show_value(
            formats.count(len(seen.findings) + seen.left_out),
            "" if worst is None else self.tr("most urgent: {p}").format(p=worst),
            None if worst is None else PRIORITY_TONES[worst],
        )
        last = seen.losses[-1] if seen.losses else None
        self._repaired.show_value(
            formats.count(len(seen.losses)),
            self.tr("in the loss ledger")
            if last is None
            else self.tr("last {ago}").format(ago=formats.ago(last.at)),
        )

    def _show_banner(self, seen: Snapshot) -> None:
        if seen.note:
            self.banner.say(Tone.WARN, self.tr("About the list itself"), seen.note)
        elif seen.is_halted:
            self.banner.say(
                Tone.BAD,
                self.tr("All changes are stopped"),
                self.tr(
                    "Damage could not be repaired, and the settings say to stop then. Changes are taken "
                    "again once the findings are repaired or closed."
                ),
            )
        elif seen.left_out:
            self.banner.say(
                Tone.BAD,
                self.tr("{n} more findings than the list holds").format(n=formats.count(seen.left_out)),
                self.tr("Damage of this size is a matter for a restore: see the newest verified backup."),
            )
        else:
            self.banner.hide()

    def _show_list(self) -> None:
        seen = self._seen
        if seen is None:
            return
        wants_closed = self._which.currentIndex() == 1
        shown = seen.closed if wants_closed else seen.findings
        chosen = self.view.current()
        self.model.show(shown)
        if shown:
            self._stack.setCurrentIndex(LISTED)
            line = None if chosen is None else self.model.line_of(chosen.id)
            self.view.choose_line(0 if line is None else line)
        elif wants_closed or seen.check is not None:
            self._show_clean(seen, wants_closed)
        else:
            self._stack.setCurrentIndex(UNCHECKED)
        self._show_chosen(self.view.current() if shown else None)

    def _show_clean(self, seen: Snapshot, wants_closed: bool) -> None:
        if wants_closed:
            self._clean.set_words(self.tr("None closed yet"), self.tr("What is repaired is listed here."))
        elif seen.check is not None and not seen.check.ok:
            self._clean.set_words(
                self.tr("Nothing is open"),
                self.tr(
                    "What the check of {when} found ({n}) was closed since. Check again to be sure."
                ).format(when=formats.moment(seen.check.at), n=formats.count(seen.check.problems)),
            )
        elif seen.check is not None:
            self._clean.set_words(
                self.tr("All is well"),
                self.tr(
                    "The check of {when} found nothing wrong. Every page is what it says it is, and every "
                    "reference leads where it should."
                ).format(when=formats.moment(seen.check.at)),
            )
        self._stack.setCurrentIndex(CLEAN)

    def _show_chosen(self, finding: Finding | None) -> None:
        self.detail.show_finding(finding)
        self._mark(finding)
        if self.session is not None and finding is not None and self.detail.wants_keys:
            answer = self.session.run(lambda db: _extent_at_once(db, finding), self, channel="integrity")
            answer.done(lambda extent: self._show_extent(finding, extent)).failed(self._has_no_extent)

    def _show_extent(self, finding: Finding, extent: Extent | None) -> None:
        if extent is not None:
            self.detail.show_extent(finding, extent)

    def _has_no_extent(self, error: BaseException) -> None:
        # Nobody asked for it: the finding is shown without its keys.
        _log.info("the keys of a finding cannot be told: %s", type(error).__name__)

    def _mark(self, finding: Finding | None) -> None:
        if finding is not None and finding.page is not None:
            self.map_card.view.choose_page(finding.page)

    def _choose_page(self, page: int) -> None:
        seen = self._seen
        if seen is None:
            return
        for place, findings in ((0, seen.findings), (1, seen.closed)):
            found = next((f for f in findings if f.page == page), None)
            if found is not None:
                self._which.setCurrentIndex(place)
                self.view.choose_line(self.model.line_of(found.id))
                return

    # What a person asks for

    def check(self) -> None:
        """Check everything, as a job."""
        if self.session is None or self._running:
            return
        self._running = True
        self._go.setEnabled(False)
        self.errors.clear()
        detailed = self.detailed.isChecked()
        answer = self.session.run(lambda db: db.check_task(detailed), self, channel="files")
        answer.done(self._follow).failed(self._has_failed)

    def _follow(self, task: Any) -> None:
        job = self.shell.jobs.start(task, self)
        self._bar.follow(job)
        job.answer.done(self._has_checked).failed(self._has_failed)

    def _has_checked(self, report: CheckReport) -> None:
        self._over()
        self._which.setCurrentIndex(0)
        self.shell.tell(
            self.tr("Checked: no problems")
            if report.ok
            else self.tr("Checked; problems found: {n}").format(n=formats.count(len(report.problems)))
        )
        self.refresh()
        self._show_map()

    def _show_map(self) -> None:
        self.map_card.look()

    def repair(self, chosen: Finding | None = None) -> None:
        """Open the guide that repairs; `chosen` is the finding that it began with."""
        seen = self._seen
        if self.session is None or seen is None:
            return
        if not seen.findings:
            self.shell.tell(self.tr("Nothing is open: there is nothing to repair."))
            return
        dialog = RepairDialog(self.shell, self.session, seen.findings, chosen, self)
        dialog.repaired.connect(self._has_repaired)
        dialog.restore_wanted.connect(self._restore_beside)
        dialog.salvage_wanted.connect(self.salvage)
        dialog.open()

    def salvage(self) -> None:
        """Open the dialog that saves what can be read into a new database."""
        if self.session is not None:
            SalvageDialog(self.shell, self.session, self).open()

    def _has_repaired(self) -> None:
        self.refresh()
        self._show_map()

    def _restore_beside(self, backup: str) -> None:
        if self.session is not None:
            beside = self.session.path.with_name(f"{self.session.path.stem} restored.holdfast")
            RestoreDialog(self.shell, Path(backup), beside, self).open()

    def _find_extent(self, finding: Finding) -> None:
        if self.session is None:
            return
        answer = self.session.run(lambda db: _extent_task(db, finding), self, channel="files")
        answer.done(lambda task: self._follow_extent(task, finding)).failed(self._has_failed)

    def _follow_extent(self, task: Any, finding: Finding) -> None:
        job = self.shell.jobs.start(task, self)

        def show(extent: Extent | None) -> None:
            self.detail.show_extent(finding, extent)

        job.answer.done(show).failed(self._has_failed)

    def _close_finding(self, finding: Finding) -> None:
        if self.session is None:
            return
        reason = self.tr("closed by hand")
        answer = self.session.run(
            lambda db: db.integrity.dismiss(finding.id, reason), self, channel="integrity"
        )
        answer.done(lambda _found: self.refresh()).failed(self._has_failed)

    def _over(self) -> None:
        self._running = False
        self._go.setEnabled(True)
        self._bar.hide()

    def _has_failed(self, error: BaseException) -> None:
        self._over()
        if isinstance(error, Cancelled):
            self.shell.tell(self.tr("Cancelled; nothing was changed."))
        else:
            self.errors.show_error(error, self.tr("check the database"))


def _extent_at_once(database: Any, finding: Finding) -> Extent | None:
    # Imported here: the kernel is loaded on the worker.
    from engine.integrity.extent import extent_at_once

    return extent_at_once(database, finding)


def _extent_task(database: Any, finding: Finding) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.integrity.extent import extent_task

    return extent_task(database, finding)
