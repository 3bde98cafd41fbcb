"""One long work where it was asked for: bar, what it is at, time left, Cancel."""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QFrame, QProgressBar, QWidget

from engine.tasks import TaskProgress, TaskState
from engine.types import Outcome
from gui.tasks.jobs import Job
from gui.theme import Space
from gui.widgets import button, column, formats, label, row, set_look

_TONES = {
    Outcome.SUCCEEDED: "good",
    Outcome.WARNINGS: "warn",
    Outcome.FAILED: "bad",
    Outcome.CANCELLED: "",
}


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("job_bar", text)


class JobBar(QFrame):
    """Follows a `Job`; hidden until there is one. The job goes on if the bar goes away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.job: Job | None = None
        self._words = label("", "strong")
        self._figures = label("", "caption")
        self._time = label("", "caption")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._cancel = button(tr("Cancel"), self._ask_cancel)
        inner = column(row(self._words, self._figures, None, self._time), self._bar, gap=Space.XS + 2)
        whole = row(gap=Space.L)
        whole.addLayout(inner, 1)
        whole.addWidget(self._cancel)
        self.setLayout(whole)
        self.hide()

    def follow(self, job: Job) -> None:
        """Show this work from now on."""
        if self.job is not None and shiboken6.isValid(self.job):
            self.job.progressed.disconnect(self._show)
        self.job = job
        self._bar.setRange(0, 0)
        self._bar.setAccessibleName(job.name)
        set_look(self._bar, tone="")
        self._words.setText(tr("Starting"))
        self._figures.setText("")
        self._time.setText("")
        self._cancel.show()
        self._cancel.setEnabled(True)
        self.show()
        # A method of the bar: the connection goes with it, and the job may go on without.
        job.progressed.connect(self._show)

    def _ask_cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()

    def _show(self, progress: TaskProgress) -> None:
        share = progress.share
        self._bar.setRange(0, 0 if share is None and progress.outcome is None else 1000)
        self._bar.setValue(round(1000 * (share or 0.0)))
        self._words.setText(_words(progress))
        self._figures.setText(_figures(progress))
        self._time.setText(_timing(progress))
        self._cancel.setEnabled(progress.state is TaskState.RUNNING)
        if progress.outcome is not None:
            self._cancel.hide()
            set_look(self._bar, tone=_TONES[progress.outcome])


def _words(progress: TaskProgress) -> str:
    if progress.state is TaskState.CANCELLING:
        return tr("Cancelling: stops at the next safe point")
    if progress.outcome is Outcome.CANCELLED:
        return tr("Cancelled, nothing changed")
    return progress.text[:1].upper() + progress.text[1:]


def _figures(progress: TaskProgress) -> str:
    if not progress.done or progress.outcome is not None:
        return ""
    if progress.unit == "%":
        # Of work whose parts are counted in different units: a share of it has no pace to tell.
        return f"{progress.done:.0f} %"
    is_bytes = progress.unit == "bytes"
    shown = formats.size if is_bytes else formats.count
    unit = "" if is_bytes else f" {progress.unit}"
    text = (
        tr("{done} of {total}{unit}").format(
            done=shown(progress.done), total=shown(progress.total), unit=unit
        )
        if progress.total
        else f"{shown(progress.done)}{unit}"
    )
    return f"{text} · {formats.rate(progress.rate, progress.unit)}" if progress.rate > 0 else text


def _timing(progress: TaskProgress) -> str:
    if progress.remaining_s is not None and progress.outcome is None:
        return tr("{left} left").format(left=formats.duration(progress.remaining_s))
    return formats.duration(progress.elapsed_s) if progress.elapsed_s else ""
