"""The recovery as it runs: twelve stages, and the three passes over the log, with who loses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QFrame, QProgressBar, QScrollArea, QWidget

from engine.recovery.report import RecoveryReport, StageReport, StageStatus
from engine.tasks import TaskProgress, TaskState
from gui.recovery.losers import Losers
from gui.recovery.words import amount, left_words, pass_result, safety_words, step
from gui.tasks.rates import Rate
from gui.theme import Space, Tone
from gui.widgets import Card, Pill, Stepper, button, column, formats, label, row, set_look
from gui.widgets.basics import ElidedLabel

PASSES = ("analysis", "redo", "undo")
_READING = 6
"""The stage that reads the log: analysis takes what it needs from the same reading."""
_TRANSACTIONS = 7
"""The stage in which the passes end."""
_MEASURES = ("records", "pages", "bytes")
"""What the kernel counts of each pass while it runs."""


class Pass(QFrame):
    """One of the three passes: a bar, how far it is, how fast, and what it means."""

    def __init__(self, title: str, meaning: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sunken")
        self._state = Pill(self.tr("waiting"))
        self._figure = label("–", "section")
        self._counts = ElidedLabel("", "caption")
        self._detail = ElidedLabel("", "caption")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(title)
        self._rates = {measure: Rate() for measure in _MEASURES}
        self.setLayout(
            column(
                row(label(title, "strong"), None, self._state),
                label(meaning, "caption", wrap=True),
                self._figure,
                self._counts,
                self._detail,
                self._bar,
                margin=Space.M,
                gap=Space.XS + 2,
            )
        )

    def show_waiting(self) -> None:
        self._state.show_state(self.tr("waiting"), Tone.NEUTRAL)
        self._figure.setText("–")
        self._counts.setText("")
        self._detail.setText("")
        self._bar.setRange(0, 1000)
        self._bar.setValue(0)
        set_look(self._bar, tone="")
        self._rates = {measure: Rate() for measure in _MEASURES}

    def show_running(self, progress: Mapping[str, Any], detail: str) -> None:
        """The kernel's progress: done and total in units, and its counts. `detail` says of how much."""
        done, total = float(progress.get("done") or 0), float(progress.get("total") or 0)
        unit = str(progress.get("unit") or "")
        self._state.show_state(self.tr("running"), Tone.ACCENT)
        self._figure.setText(f"{amount(done, unit)} / {amount(total, unit)}" if total else amount(done, unit))
        now, counts, speeds = time.monotonic(), [], []
        for measure, rate in self._rates.items():
            count = float(progress.get(measure) or 0)
            speed = rate.add(now, count)
            counts += [amount(count, measure)] if count else []
            speeds += [formats.rate(speed, measure)] if speed > 0 else []
        self._counts.setText(" · ".join(counts))
        self._detail.setText(" · ".join([*speeds, detail] if detail else speeds))
        self._bar.setRange(0, 1000 if total else 0)
        if total:
            self._bar.setValue(round(1000 * min(1.0, done / total)))

    def show_done(self, figure: str, detail: str) -> None:
        self._state.show_state(self.tr("done"), Tone.GOOD)
        self._figure.setText(figure)
        self._counts.setText("")
        self._detail.setText(detail)
        self._bar.setRange(0, 1000)
        self._bar.setValue(1000)
        set_look(self._bar, tone="good")

    def words(self) -> str:
        """What it shows, in one line."""
        shown = (self._figure.text(), self._counts.text(), self._detail.text())
        return f"{self._state.text()}: {' '.join(filter(None, shown))}"


class Theatre(QWidget):
    """Shows a `RecoveryReport` while it grows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._what = Pill("")
        self._now = label("", "strong")
        self._time = label("", "caption")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(self.tr("Progress of the recovery"))
        self._safety = label("", "caption", wrap=True)
        self.cancel = button(self.tr("Cancel"))
        self.stepper = Stepper()
        self._losers = Losers()
        self._is_undoable = True
        self.passes = {
            "analysis": Pass(self.tr("Analysis"), self.tr("who had committed, which pages may be old")),
            "redo": Pass(self.tr("Redo"), self.tr("repeats history, page by page")),
            "undo": Pass(self.tr("Undo"), self.tr("takes back what was never committed")),
        }
        top = Card()
        head = row(self._what, self._now, None, self._time, self.cancel, gap=Space.M)
        top.add(head, self._bar, self._safety, row(*self.passes.values(), gap=Space.M))
        lower = row(gap=Space.M)
        lower.addWidget(self._losers, 2)
        lower.addWidget(self._stages(), 3)
        whole = column(top, gap=Space.M)
        whole.addLayout(lower, 1)
        self.setLayout(whole)

    def _stages(self) -> Card:
        stages = Card(self.tr("Twelve stages"))
        area = QScrollArea()
        area.setWidgetResizable(True)
        inner = QFrame()
        inner.setLayout(column(self.stepper, None))
        area.setWidget(inner)
        for ground in (inner, area.viewport()):
            ground.setAutoFillBackground(False)
        stages.body.addWidget(area, 1)
        return stages

    def show_start(self, *, is_rehearsal: bool, is_undoable: bool = True) -> None:
        """A rehearsal or a recovery begins."""
        self._is_undoable = is_undoable
        words = self.tr("rehearsal") if is_rehearsal else self.tr("recovery")
        self._what.show_state(words, Tone.NEUTRAL if is_rehearsal else Tone.ACCENT)
        self.cancel.show()
        self.cancel.setEnabled(True)
        self._bar.setValue(0)
        self._now.setText(self.tr("Starting"))
        self._time.setText("")
        self._losers.show_losers(None)
        for shown in self.passes.values():
            shown.show_waiting()

    def show_report(self, report: RecoveryReport) -> None:
        """Show every stage as it stands."""
        self.stepper.set_steps([step(stage) for stage in report.stages])
        stage = report.stages[_TRANSACTIONS - 1]
        for place, name in enumerate(PASSES):
            self._show_pass(place, name, stage, report)
        self._losers.show_losers(report.analysis.get("losers"))
        running = next((s.number for s in report.stages if s.status is StageStatus.RUNNING), 0)
        self._safety.setText(safety_words(running, report, is_undoable=self._is_undoable))

    def _show_pass(self, place: int, name: str, stage: StageReport, report: RecoveryReport) -> None:
        shown = self.passes[name]
        reading = report.stages[_READING - 1]
        if name == "analysis" and reading.status is StageStatus.RUNNING:
            shown.show_running(reading.progress, "")
            return
        if stage.status is StageStatus.SUCCEEDED:
            shown.show_done(*pass_result(name, report, stage.metrics))
            return
        running = str(stage.progress.get("stage") or "").lower()
        at = next((i for i, known in enumerate(PASSES) if running.startswith(known)), -1)
        if stage.status is StageStatus.RUNNING and at == place:
            shown.show_running(stage.progress, self._of_how_much(name, report))
        elif stage.status is StageStatus.RUNNING and at > place:
            shown.show_done(*pass_result(name, report, stage.metrics))
        elif name == "analysis" and reading.status is StageStatus.SUCCEEDED:
            # It has read the log, and its result is told a moment later.
            return
        elif stage.status is not StageStatus.RUNNING or at < place:
            shown.show_waiting()

    def _of_how_much(self, name: str, report: RecoveryReport) -> str:
        analysis = report.analysis
        if name == "redo" and analysis:
            return self.tr("{records} records, {pages} pages").format(
                records=formats.count(analysis["records"]), pages=formats.count(analysis["dirty_pages"])
            )
        return ""

    def show_progress(self, progress: TaskProgress, remaining_s: float | None) -> None:
        """The share of the whole, the time it took and what is left of the whole."""
        share = progress.share
        self._bar.setValue(round(1000 * (share or 0.0)))
        if progress.state is TaskState.CANCELLING:
            self.show_cancelling()
            return
        if progress.steps:
            words = self.tr("Stage {step} of {steps}: {name}")
            self._now.setText(words.format(step=progress.step, steps=progress.steps, name=progress.stage))
        parts = [formats.duration(progress.elapsed_s)]
        if remaining_s is not None and progress.outcome is None:
            parts.append(left_words(remaining_s))
        self._time.setText(" · ".join(parts))

    def show_cancelling(self) -> None:
        """It was asked to stop, and has not yet."""
        self._now.setText(self.tr("Cancelling: stops at the next safe point"))
        self.cancel.setEnabled(False)

    def show_over(self) -> None:
        """The run has ended; there is nothing left to cancel."""
        self.cancel.hide()

    def now(self) -> str:
        return self._now.text()

    def time_words(self) -> str:
        return self._time.text()

    def safety(self) -> str:
        return self._safety.text()
