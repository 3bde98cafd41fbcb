"""The page of integrity: run a check, see what it found."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QCheckBox, QStackedWidget

from engine.errors import Cancelled
from engine.types import CheckReport, Problem
from gui.actions import Actions
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import Card, EmptyState, StatTile, button, column, formats, row
from gui.widgets.banner import Banner


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("integrity", text)


def problem_fields() -> tuple[Field, ...]:
    """What is shown of a `Problem`."""
    return (
        Field(tr("Code"), lambda p: str(p.code), True, tone=lambda _p: Tone.BAD),
        Field(tr("Page"), lambda p: "" if p.page is None else formats.count(p.page), True),
        Field(tr("Tree"), lambda p: p.tree or ""),
        Field(tr("What was found"), lambda p: p.detail),
    )


class IntegrityPage(Page):
    """Runs a check as a job and lists its findings. The database stays in use."""

    page_id = "integrity"
    icon_name = "integrity"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Integrity"), "")
        self.header.set_subtitle(self.tr("Checksums, structure and references of every page, while you work"))
        self.errors = self.make_errors(self.check)
        self.banner = Banner()
        self._bar = JobBar()
        self._running = False
        self.detailed = QCheckBox(self.tr("Indexes against their tables too"))
        self.detailed.setChecked(True)
        self._go = button(self.tr("Check now"), self.check, "primary", "integrity")
        self.header.add_action(self.detailed)
        self.header.add_action(self._go)
        self.model = RecordModel(problem_fields(), _key, limit=2000, parent=self)
        self.view = RecordView(self.model, self.tr("Findings"), (80, 100, 180))
        self._pages = StatTile(self.tr("Pages checked"))
        self._records = StatTile(self.tr("Records checked"))
        self._speed = StatTile(self.tr("Speed"))
        self._when = StatTile(self.tr("Last check"))
        self._build()
        self._show_nothing()

    def _build(self) -> None:
        unchecked = EmptyState(
            "integrity",
            self.tr("Not checked since the database was opened"),
            self.tr(
                "A check reads every page and compares it with its checksum, its neighbours and its tree."
            ),
            button(self.tr("Check the whole database"), self.check, "primary"),
        )
        clean = EmptyState(
            "success",
            self.tr("No problems"),
            self.tr("Every page is what it says it is, and every reference leads where it should."),
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(unchecked)
        self._stack.addWidget(clean)
        self._stack.addWidget(self.view)
        self._card = Card(self.tr("Findings"))
        self._card.add(self._bar)
        self._card.body.addWidget(self._stack, 1)
        tiles = row(self._pages, self._records, self._speed, self._when, gap=Space.M)
        inner = column(self.errors, tiles, self.banner, gap=Space.M)
        inner.addWidget(self._card, 1)
        self.body.addLayout(inner, 1)

    def add_actions(self, actions: Actions) -> None:
        actions.add(
            "integrity.check",
            self.tr("Check the whole database"),
            self.check,
            shortcut="Ctrl+Shift+I",
            icon_name="integrity",
            needs_database=True,
        )

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self._show_nothing()

    def detach(self) -> None:
        self._show_nothing()
        super().detach()

    def _show_nothing(self) -> None:
        self._running = False
        self._go.setEnabled(True)
        self.errors.clear()
        self.banner.hide()
        self._bar.hide()
        self.model.show([])
        self._stack.setCurrentIndex(0)
        for tile in (self._pages, self._records, self._speed, self._when):
            tile.show_value("–", "")

    def check(self) -> None:
        """Check everything, as a job."""
        if self.session is None or self._running:
            return
        self._running = True
        self._go.setEnabled(False)
        self.errors.clear()
        self.banner.hide()
        detailed = self.detailed.isChecked()
        answer = self.session.run(lambda db: db.check_task(detailed), self, channel="files")
        answer.done(self._follow).failed(self._has_failed)

    def _follow(self, task: Any) -> None:
        job = self.shell.jobs.start(task, self)
        self._bar.follow(job)
        job.answer.done(self.show_report).failed(self._has_failed)

    def show_report(self, report: CheckReport) -> None:
        """Show what a check found."""
        self._over()
        self.model.show(report.problems)
        self._stack.setCurrentIndex(1 if report.ok else 2)
        rate = report.bytes / report.seconds if report.seconds > 0 else 0.0
        self._pages.show_value(formats.count(report.pages), formats.size(report.bytes))
        self._records.show_value(formats.count(report.records), self.tr("in all trees"))
        self._speed.show_value(
            formats.rate(rate, "bytes") if rate else "–",
            self.tr("in {s}").format(s=formats.duration(report.seconds)),
        )
        now = time.time()
        self._when.show_value(formats.clock(now), formats.moment(now)[:10])
        if not report.ok:
            pages = len({p.page for p in report.problems if p.page is not None})
            self.banner.say(
                Tone.BAD,
                self.tr("{n} problems were found").format(n=formats.count(len(report.problems))),
                self.tr(
                    "On {pages} pages. Nothing was changed. Take a copy of the database folder before "
                    "anything else, then restore the newest proved backup."
                ).format(pages=formats.count(pages)),
            )

    def _over(self) -> None:
        self._running = False
        self._go.setEnabled(True)
        self._bar.hide()

    def _has_failed(self, error: BaseException) -> None:
        self._over()
        if isinstance(error, Cancelled):
            self.shell.tell(self.tr("The check was cancelled; nothing was changed."))
        else:
            self.errors.show_error(error, self.tr("check the database"))


def _key(problem: Problem) -> tuple[int, int | None, str | None, str]:
    return (problem.code, problem.page, problem.tree, problem.detail)
