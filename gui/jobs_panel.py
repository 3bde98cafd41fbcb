"""The jobs panel: every long work with its bar, time left, Cancel, and how it ended."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QFrame, QLabel, QProgressBar, QScrollArea, QWidget

from engine.tasks import TaskProgress, TaskState
from engine.types import Outcome
from gui.tasks import Job, Jobs, error_card
from gui.theme import IconName, Space, Tone, pixmap
from gui.widgets import EmptyState, button, column, formats, label, row, rule, set_look, tool_button

_OUTCOMES: dict[Outcome, tuple[IconName, Tone]] = {
    Outcome.SUCCEEDED: ("success", Tone.GOOD),
    Outcome.WARNINGS: ("warning", Tone.WARN),
    Outcome.FAILED: ("error", Tone.BAD),
    Outcome.CANCELLED: ("cancelled", Tone.NEUTRAL),
}


class JobRow(QWidget):
    """One job. Told of its progress by signals; it never asks."""

    def __init__(self, job: Job, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.job = job
        self._picture = QLabel()
        self._picture.setFixedSize(18, 18)
        self._name = label(job.name, "strong")
        self._words = label(self.tr("Waiting"), "caption")
        self._time = label("", "caption")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 0)
        self._bar.setAccessibleName(job.name)
        self._cancel = button(self.tr("Cancel"), job.cancel)
        self._cancel.setAccessibleName(self.tr("Cancel {name}").format(name=job.name))
        self._why = button(self.tr("Show why"), self._show_why)
        self._why.hide()
        self._card: QWidget | None = None
        words = column(row(self._name, self._words, None, self._time), self._bar, gap=Space.XS + 1)
        line = row(self._picture, gap=Space.M)
        line.addLayout(words, 1)
        line.addWidget(self._why)
        line.addWidget(self._cancel)
        self._whole = column(line, margin=(Space.L, Space.S, Space.L, Space.S))
        self.setLayout(self._whole)
        self._draw("play", Tone.ACCENT)
        job.progressed.connect(self._show)

    def _show(self, progress: TaskProgress) -> None:
        share = progress.share
        self._bar.setRange(0, 0 if share is None else 1000)
        if share is not None:
            self._bar.setValue(round(share * 1000))
        self._words.setText(self._describe(progress))
        self._time.setText(self._timing(progress))
        self._cancel.setEnabled(progress.state is TaskState.RUNNING)
        if progress.outcome is not None:
            self._finish(progress.outcome)

    def _finish(self, outcome: Outcome) -> None:
        self._cancel.hide()
        self._why.setVisible(outcome is Outcome.FAILED)
        if self._bar.maximum() == 0:
            self._bar.setRange(0, 1000)
            self._bar.setValue(0)
        drawing, tone = _OUTCOMES[outcome]
        set_look(self._bar, tone=str(tone))
        self._draw(drawing, tone)

    def _describe(self, progress: TaskProgress) -> str:
        text = progress.text[:1].upper() + progress.text[1:]
        if progress.state is TaskState.CANCELLING:
            return self.tr("Cancelling: the work stops at the next safe point")
        if progress.outcome is Outcome.CANCELLED:
            return self.tr("Cancelled, nothing changed")
        if progress.outcome is Outcome.WARNINGS:
            return f"{text}: {'; '.join(self.job.task.warnings)}"
        if progress.outcome is Outcome.FAILED and self.job.task.error is not None:
            return f"{text}: {self.job.task.error.title}"
        if progress.outcome is None and progress.rate > 0 and progress.unit not in ("", "%"):
            return f"{text} · {formats.rate(progress.rate, progress.unit)}"
        return text

    def _timing(self, progress: TaskProgress) -> str:
        if progress.remaining_s is not None and progress.outcome is None:
            return self.tr("{left} left").format(left=formats.duration(progress.remaining_s))
        return formats.duration(progress.elapsed_s) if progress.elapsed_s else ""

    def _show_why(self) -> None:
        if self._card is None and self.job.task.error is not None:
            card = error_card(self.job.task.error, self.job.name, lambda _action: False)
            card.dismissed.connect(self._hide_why)
            self._card = card
            self._whole.addWidget(card)
            self._why.hide()

    def _hide_why(self) -> None:
        if self._card is not None:
            self._card.deleteLater()
            self._card = None
            self._why.show()

    def _draw(self, drawing: IconName, tone: Tone) -> None:
        self._picture.setPixmap(pixmap(drawing, 18, tone, self.devicePixelRatioF()))


class JobsPanel(QFrame):
    """The list of jobs, newest first."""

    close_requested = Signal()

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "panel")
        self.setAccessibleName(self.tr("Jobs"))
        self._jobs = jobs
        self._rows: dict[int, JobRow] = {}
        self._empty = EmptyState(
            "jobs",
            self.tr("No jobs yet"),
            self.tr("Imports, backups, checks and recoveries are listed here."),
        )
        self._list = column(gap=0)
        self._list.addStretch(1)
        inner = QWidget()
        inner.setLayout(self._list)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setWidget(inner)
        tidy = button(self.tr("Clear finished"), jobs.forget_ended, "quiet")
        hide = tool_button("chevron-down", self.tr("Hide the jobs"), self.close_requested.emit)
        head = row(label(self.tr("Jobs"), "strong"), None, tidy, hide, margin=(Space.L, Space.XS, Space.S, 0))
        whole = column(head, rule(), self._empty, gap=0)
        whole.addWidget(self._scroll, 1)
        self.setLayout(whole)
        self._scroll.hide()
        jobs.added.connect(self._add)
        jobs.changed.connect(self._tidy)

    def sizeHint(self) -> QSize:
        return QSize(600, 190)

    def rows(self) -> list[JobRow]:
        return list(self._rows.values())

    def _add(self, job: Job) -> None:
        made = JobRow(job)
        self._rows[id(job)] = made
        self._list.insertWidget(0, made)
        self._empty.hide()
        self._scroll.show()

    def _tidy(self) -> None:
        known = {id(job) for job in self._jobs.all()}
        for key in [key for key in self._rows if key not in known]:
            self._rows.pop(key).deleteLater()
        self._empty.setVisible(not self._rows)
        self._scroll.setVisible(bool(self._rows))
