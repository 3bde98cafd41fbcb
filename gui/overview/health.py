"""The health card: the score, and what was deducted from it, each with its fix."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from gui.theme import Space, Tone, pixmap
from gui.widgets import Card, Pill, ScoreRing, clear, column, label, row
from gui.widgets.score_ring import tone_of_score


class HealthCard(Card):
    """Explains the score: 100, less what each finding costs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Health"), parent=parent)
        self._words = {
            Tone.GOOD: self.tr("healthy"),
            Tone.WARN: self.tr("degraded"),
            Tone.BAD: self.tr("critical"),
        }
        self.ring = ScoreRing()
        self._reasons: QVBoxLayout = column(gap=Space.S)
        self._shown: Any = None
        line = row(self.ring, gap=Space.XL)
        line.addLayout(self._reasons, 1)
        self.add(line, None)
        self.show_report(None)

    def show_report(self, report: Any | None) -> None:
        """Show a `HealthReport`; None while there is none yet."""
        if report is None:
            self.ring.show_score(None, self.tr("measuring"))
            return
        self.ring.show_score(report.score, self._words[tone_of_score(report.score)])
        told = tuple((d.component, d.points, d.reason, d.fix) for d in report.deductions)
        if told != self._shown:
            self._shown = told
            self._list(told)

    def _list(self, deductions: tuple[tuple[str, float, str, str], ...]) -> None:
        clear(self._reasons)
        self._reasons.addStretch(1)
        for component, points, reason, fix in deductions:
            cost = Pill(f"−{points:.0f}", Tone.BAD if points >= 20 else Tone.WARN)
            cost.setFixedWidth(44)
            words = column(
                label(f"{component}: {reason}", wrap=True), label(fix, "caption", wrap=True), gap=0
            )
            line = row(cost, gap=Space.M)
            line.addLayout(words, 1)
            self._reasons.addLayout(line)
        if not deductions:
            good = QLabel()
            good.setPixmap(pixmap("success", 20, Tone.GOOD, self.devicePixelRatioF()))
            text = label(self.tr("Nothing was deducted."), wrap=True)
            line = row(good, gap=Space.S)
            line.addWidget(text, 1)
            self._reasons.addLayout(line)
        self._reasons.addStretch(1)
