"""The recovery as it runs: twelve stages, and the three passes over the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QFrame, QProgressBar, QScrollArea, QWidget

from engine.recovery.report import RecoveryReport, StageReport, StageStatus
from engine.tasks import TaskProgress, TaskState
from gui.recovery.words import amount, step
from gui.theme import Space, Tone
from gui.widgets import Card, Pill, Stepper, button, column, formats, label, row, set_look

PASSES = ("analysis", "redo", "undo")
_TRANSACTIONS = 7
"""The stage in which the three passes run."""


class Pass(QFrame):
    """One of the three passes: a bar, a figure, and what it means."""

    def __init__(self, title: str, meaning: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sunken")
        self._title = title
        self._state = Pill(self.tr("waiting"))
        self._figure = label("–", "section")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(title)
        self.setLayout(
            column(
                row(label(title, "strong"), None, self._state),
                label(meaning, "caption", wrap=True),
                self._figure,
                self._bar,
                margin=Space.M,
                gap=Space.XS + 2,
            )
        )

    def show_waiting(self) -> None:
        self._state.show_state(self.tr("waiting"), Tone.NEUTRAL)
        self._figure.setText("–")
        self._bar.setRange(0, 1000)
        self._bar.setValue(0)

    def show_running(self, progress: Mapping[str, Any]) -> None:
        """The kernel's progress: done and total in units."""
        done, total = float(progress.get("done") or 0), float(progress.get("total") or 0)
        unit = str(progress.get("unit") or "")
        self._state.show_state(self.tr("running"), Tone.ACCENT)
        self._figure.setText(f"{amount(done, unit)} / {amount(total, unit)}" if total else amount(done, unit))
        self._bar.setRange(0, 1000 if total else 0)
        if total:
            self._bar.setValue(round(1000 * min(1.0, done / total)))

    def show_done(self, words: str) -> None:
        self._state.show_state(self.tr("done"), Tone.GOOD)
        self._figure.setText(words)
        self._bar.setRange(0, 1000)
        self._bar.setValue(1000)
        set_look(self._bar, tone="good")


class Theatre(QWidget):
    """Shows a `RecoveryReport` while it grows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._now = label("", "strong")
        self._time = label("", "caption")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(self.tr("Progress of the recovery"))
        self.cancel = button(self.tr("Cancel"))
        self._stepper = Stepper()
        self._passes = {
            "analysis": Pass(self.tr("Analysis"), self.tr("who had committed, which pages may be old")),
            "redo": Pass(self.tr("Redo"), self.tr("repeats history, page by page")),
            "undo": Pass(self.tr("Undo"), self.tr("takes back what was never committed")),
        }
        top = Card()
        head = row(self._now, None, self._time, self.cancel, gap=Space.M)
        top.add(head, self._bar, row(*self._passes.values(), gap=Space.M))
        stages = Card(self.tr("Twelve stages"))
        area = QScrollArea()
        area.setWidgetResizable(True)
        inner = QFrame()
        inner.setLayout(column(self._stepper, None))
        area.setWidget(inner)
        for ground in (inner, area.viewport()):
            ground.setAutoFillBackground(False)
        stages.body.addWidget(area, 1)
        whole = column(top, gap=Space.M)
        whole.addWidget(stages, 1)
        self.setLayout(whole)

    def show_report(self, report: RecoveryReport) -> None:
        """Show every stage as it stands."""
        self._stepper.set_steps([step(stage) for stage in report.stages])
        stage = report.stages[_TRANSACTIONS - 1]
        for place, name in enumerate(PASSES):
            self._show_pass(place, name, stage, report)

    def _show_pass(self, place: int, name: str, stage: StageReport, report: RecoveryReport) -> None:
        shown = self._passes[name]
        if stage.status is StageStatus.SUCCEEDED:
            shown.show_done(_result(name, stage.metrics))
            return
        running = str(stage.progress.get("stage") or "").lower()
        at = next((i for i, known in enumerate(PASSES) if running.startswith(known)), -1)
        if stage.status is StageStatus.RUNNING and at == place:
            shown.show_running(stage.progress)
        elif stage.status is StageStatus.RUNNING and at > place:
            shown.show_done(self.tr("complete"))
        else:
            shown.show_waiting()

    def show_progress(self, progress: TaskProgress) -> None:
        """The share of the whole, the time it took and what is left of this stage."""
        share = progress.share
        self._bar.setValue(round(1000 * (share or 0.0)))
        if progress.state is TaskState.CANCELLING:
            self._now.setText(self.tr("Cancelling: stops at the next safe point"))
        elif progress.steps:
            words = self.tr("Stage {step} of {steps}: {name}")
            self._now.setText(words.format(step=progress.step, steps=progress.steps, name=progress.stage))
        parts = [formats.duration(progress.elapsed_s)]
        if progress.remaining_s is not None:
            parts.append(
                self.tr("{left} left of this stage").format(left=formats.duration(progress.remaining_s))
            )
        self._time.setText(" · ".join(parts))
        self.cancel.setEnabled(progress.state is TaskState.RUNNING)

    def show_over(self) -> None:
        """The run has ended; there is nothing left to cancel."""
        self.cancel.hide()

    def show_start(self) -> None:
        self.cancel.show()
        self._bar.setValue(0)
        self._now.setText(self.tr("Starting"))
        for shown in self._passes.values():
            shown.show_waiting()


def _result(name: str, metrics: Mapping[str, Any]) -> str:
    keys = {"analysis": ("records", "records"), "redo": ("applied", "changes"), "undo": ("undone", "changes")}
    key, unit = keys[name]
    return amount(float(metrics.get(key) or 0), unit)
