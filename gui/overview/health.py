"""The health card: the score, its parts, and what was deducted, each with its fix."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from engine.health.report import HealthReport
from engine.health.score import Component, Deduction, Part
from gui.theme import Space, Tone, pixmap
from gui.widgets import Card, Pill, ScoreRing, button, column, label, row, rule, set_look
from gui.widgets.score_ring import tone_of_score


class HealthCard(Card):
    """Explains the score: 100, less what each finding costs.

    `can_do` says whether the window can carry out what a finding suggests; `action_requested` asks for it.
    """

    action_requested = Signal(str)

    def __init__(self, can_do: Callable[[str], bool], parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Health"), parent=parent)
        self._words = {
            Tone.GOOD: self.tr("healthy"),
            Tone.WARN: self.tr("degraded"),
            Tone.BAD: self.tr("critical"),
        }
        self._names = {
            Component.CPU: self.tr("CPU"),
            Component.MEMORY: self.tr("Memory"),
            Component.DISK: self.tr("Disk"),
            Component.REPLICATION: self.tr("Mirrors"),
            Component.ENGINE: self.tr("Engine"),
        }
        self._can_do = can_do
        self._labels = {
            "back_up": self.tr("Back up now…"),
            "backups": self.tr("Show backups"),
            "snapshots": self.tr("Show snapshots…"),
            "settings": self.tr("Settings"),
        }
        self.ring = ScoreRing()
        self._lines: list[_Reason] = []
        self._nothing = self._good()
        self._nothing.hide()
        self._reasons: QVBoxLayout = column(None, self._nothing, None, gap=Space.S)
        self._shown: object = None
        self._bars: dict[Component, tuple[QLabel, QProgressBar]] = {}
        line = row(self.ring, gap=Space.XL)
        line.addLayout(self._reasons, 1)
        self.body.addLayout(line, 1)
        self.add(rule(), self._parts())
        self.show_report(None)

    def show_report(self, report: HealthReport | None) -> None:
        """Show a report; None while there is none yet."""
        if report is None:
            self.ring.show_score(None, self.tr("measuring"))
            return
        self.ring.show_score(report.score, self._words[tone_of_score(report.score)])
        for part in report.parts:
            self._show_part(part)
        if report.deductions != self._shown:
            self._shown = report.deductions
            self._list(report.deductions)

    def _parts(self) -> QHBoxLayout:
        line = row(gap=Space.M)
        for component, name in self._names.items():
            figure, bar = label("–", "caption"), QProgressBar()
            bar.setRange(0, 100)
            bar.setValue(0)
            bar.setTextVisible(False)
            # Five of them stand side by side; Qt would have each 100 pixels long.
            bar.setMinimumWidth(48)
            bar.setAccessibleName(name)
            self._bars[component] = (figure, bar)
            line.addLayout(column(row(label(name, "caption"), None, figure), bar, gap=Space.XS), 1)
        return line

    def _show_part(self, part: Part) -> None:
        figure, bar = self._bars[part.component]
        figure.setText("–" if part.score is None else str(part.score))
        bar.setToolTip(part.note)
        figure.setToolTip(part.note)
        if part.score is not None and part.score != bar.value():
            bar.setValue(part.score)
            set_look(bar, tone=str(tone_of_score(part.score)))

    def _list(self, deductions: tuple[Deduction, ...]) -> None:
        """Show these; lines that are there are written over, for a figure in them changes every second."""
        while len(self._lines) < len(deductions):
            self._lines.append(_Reason(self.action_requested.emit))
            self._reasons.insertWidget(self._reasons.count() - 1, self._lines[-1])
        for line, deduction in zip(self._lines, deductions, strict=False):
            label_of = self._labels.get(deduction.action, "") if self._can_do(deduction.action) else ""
            line.show_deduction(deduction, label_of)
        for place, line in enumerate(self._lines):
            line.setVisible(place < len(deductions))
        self._nothing.setVisible(not deductions)

    def _good(self) -> QWidget:
        picture = QLabel()
        picture.setPixmap(pixmap("success", 20, Tone.GOOD, self.devicePixelRatioF()))
        line = row(picture, gap=Space.S)
        line.addWidget(label(self.tr("Nothing was deducted."), wrap=True), 1)
        whole = QWidget()
        whole.setLayout(line)
        return whole


class _Reason(QWidget):
    """What one finding costs, and its fix."""

    def __init__(self, act: Callable[[str], object]) -> None:
        super().__init__()
        self._action = ""
        self._button = button("", lambda: act(self._action))
        self._cost = Pill()
        self._cost.setFixedWidth(48)
        self._cost.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._what = label("", wrap=True)
        self._fix = label("", "caption", wrap=True)
        line = row(self._cost, gap=Space.M)
        line.addLayout(column(self._what, self._fix, gap=0), 1)
        line.addWidget(self._button)
        self.setLayout(line)

    def show_deduction(self, deduction: Deduction, label_of: str) -> None:
        """Show one; a button does what it suggests, where that has a name."""
        self._action = deduction.action
        if label_of != self._button.text():
            self._button.setText(label_of)
        self._button.setVisible(bool(label_of))
        tone = Tone.BAD if deduction.points >= 20 else Tone.WARN
        self._cost.show_state(f"−{deduction.points:.0f}", tone)
        # A figure and its sign stay on one line.
        self._what.setText(deduction.reason.replace(" %", "\u00a0%"))
        self._fix.setText(deduction.fix)
