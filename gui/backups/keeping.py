"""Cards that say when backups are taken by themselves, and which of them stay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTime, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QTimeEdit, QWidget

from engine.config import Config
from engine.types import BackupStanding
from engine.units import format_duration, parse_duration
from gui.backups.words import tr
from gui.theme import Space, Tone
from gui.widgets import Card, button, formats, indent, label, row, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.retention import RetentionPlan

_INTERVALS = ("15 min", "1 h", "4 h", "12 h", "1 d", "7 d")


class ScheduleCard(Card):
    """When the next backup is due, and the choice of the pace. Changes are in force at once."""

    changed = Signal(dict)
    """Settings and their new values."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Schedule"), parent=parent)
        self.kind = QComboBox()
        for words, kind in (
            (self.tr("Only when asked for"), "off"),
            (self.tr("Again and again, every"), "interval"),
            (self.tr("Every day at"), "daily"),
        ):
            self.kind.addItem(words, kind)
        self.kind.setAccessibleName(self.tr("When backups are taken"))
        self.interval = QComboBox()
        self.interval.setAccessibleName(self.tr("Time between backups"))
        self.moment = QTimeEdit()
        self.moment.setDisplayFormat("HH:mm")
        self.moment.setAccessibleName(self.tr("Time of day"))
        indent(self.moment)
        self.rehearses = QCheckBox(self.tr("rehearse each"))
        self._next = label("", "caption", wrap=True)
        # Two lines: beside the other cards there is no room for all of it in one.
        self.add(row(self.kind, None), row(self.interval, self.moment, self.rehearses, None), self._next)
        for part in (self.interval, self.moment, self.rehearses):
            part.hide()
        self.body.addStretch(1)
        self.kind.activated.connect(
            lambda _at: self.changed.emit({"backup_schedule": self.kind.currentData()})
        )
        self.interval.activated.connect(
            lambda _at: self.changed.emit({"backup_interval": self.interval.currentText()})
        )
        self.moment.editingFinished.connect(self._has_time)
        self.rehearses.clicked.connect(lambda on: self.changed.emit({"rehearse_backups": bool(on)}))
        self._time = ""

    def show_config(self, config: Config) -> None:
        """Show what is set."""
        self.kind.setCurrentIndex(self.kind.findData(config.backup_schedule))
        shown = format_duration(config.backup_interval)
        known = {parse_duration(text): text for text in _INTERVALS}
        known.setdefault(config.backup_interval, shown)
        self.interval.clear()
        self.interval.addItems([known[seconds] for seconds in sorted(known)])
        self.interval.setCurrentText(known[config.backup_interval])
        self._time = config.backup_time
        self.moment.setTime(QTime.fromString(config.backup_time.rjust(5, "0"), "HH:mm"))
        self.interval.setVisible(config.backup_schedule == "interval")
        self.moment.setVisible(config.backup_schedule == "daily")
        self.rehearses.setVisible(config.backup_schedule != "off")
        self.rehearses.setChecked(config.rehearse_backups)

    def show_standing(self, standing: BackupStanding, now: float | None = None) -> None:
        """Say when the next one is due."""
        now = time.time() if now is None else now
        tone = ""
        if standing.is_running:
            text = self.tr("A backup is being taken now")
        elif standing.next_at is None:
            text = self.tr("No backup is taken by itself: remember to take one")
            tone = str(Tone.WARN)
        elif standing.next_at <= now:
            text = self.tr("Next: in a moment")
        else:
            left = formats.duration(standing.next_at - now)
            text = self.tr("Next: {moment}, in {left}").format(
                moment=formats.moment(standing.next_at)[:-3], left=left
            )
        if standing.failure and not standing.is_running:
            text = self.tr("The last one failed. {next}").format(next=text)
            tone = str(Tone.BAD)
        if text != self._next.text():
            self._next.setText(text)
            set_look(self._next, tone=tone)

    def next_words(self) -> str:
        return self._next.text()

    def _has_time(self) -> None:
        text = self.moment.time().toString("HH:mm")
        if text != self._time.rjust(5, "0"):
            self._time = text
            self.changed.emit({"backup_time": text})


class RetentionCard(Card):
    """Which backups stay, in a sentence, and the way to see what would go."""

    preview_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Retention"), parent=parent)
        self._rules = label("", "caption", wrap=True)
        self._plan = label("", wrap=True)
        self.preview = button(self.tr("Show what would go…"), self.preview_asked.emit, "quiet", "trash")
        self.add(self._rules, self._plan, row(self.preview, None))
        self.body.addStretch(1)
        self.body.setSpacing(Space.S)

    def show_plan(self, config: Config, plan: RetentionPlan) -> None:
        """Say the rules, and what they come to here."""
        self._rules.setText(rules_in_words(config))
        gone = len(plan.removed)
        if gone:
            text = self.tr("Of {all} backups {n} would go and free {size}.").format(
                all=len(plan.kept) + gone, n=gone, size=formats.size(plan.freed_bytes)
            )
        else:
            text = self.tr("All backups here stay.") if plan.kept else self.tr("There are none yet.")
        if not config.prune_backups:
            text += " " + self.tr("Nothing goes by itself.")
        self._plan.setText(text)


def rules_in_words(config: Config) -> str:
    """The rules of retention as one sentence."""
    parts = [tr("the last {n}").format(n=config.keep_last_backups)]
    periods: tuple[tuple[int, Any], ...] = (
        (config.keep_daily_backups, tr("{n} daily")),
        (config.keep_weekly_backups, tr("{n} weekly")),
        (config.keep_monthly_backups, tr("{n} monthly")),
    )
    parts += [words.format(n=count) for count, words in periods if count]
    return tr("Scheduled backups: {rules} stay; so do those taken by hand and the last proved.").format(
        rules=", ".join(parts)
    )
