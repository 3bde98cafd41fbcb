"""The recoveries that the open database has been through, with what each stage took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QStackedWidget, QWidget

from engine.recovery.history import OBJECTIVE_S, Entry, History
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.recovery.words import bottleneck_words
from gui.theme import Space, Tone
from gui.widgets import Card, EmptyState, column, formats, label, row

_TONES = {"succeeded": Tone.GOOD, "warnings": Tone.WARN, "failed": Tone.BAD, "cancelled": None}


class Past(QWidget):
    """A list of recoveries, the newest first, and the stages of the one that is chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._empty = EmptyState("success", "", "")
        self.model = RecordModel(self._entry_fields(), lambda entry: entry.at, parent=self)
        self.view = RecordView(self.model, self.tr("Earlier recoveries"), (152, 96, 72))
        self.stages = RecordModel(self._stage_fields(), lambda stage: stage.get("name"), parent=self)
        self._note = label("", "caption", wrap=True)
        self._summary = label("", "muted", wrap=True)
        listed = Card(self.tr("Earlier recoveries"), " ")
        self._hint = listed.hint
        listed.add(self._note)
        listed.body.addWidget(self.view, 1)
        detail = Card(self.tr("Twelve stages"))
        detail.add(self._summary)
        detail.body.addWidget(
            RecordView(self.stages, self.tr("Stages of the chosen recovery"), (172, 56, 72, 92, 84)), 1
        )
        inner = row(gap=Space.M)
        inner.addWidget(listed, 5)
        inner.addWidget(detail, 7)
        both = QWidget()
        both.setLayout(inner)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(both)
        self.setLayout(column(self._stack, gap=0))
        self.view.record_chosen.connect(self._show_entry)
        self._is_going_on = True
        self.show_going_on(False)

    def show_going_on(self, is_going_on: bool) -> None:
        """Say whether a recovery is behind the open database, as the bar above does."""
        if is_going_on == self._is_going_on:
            return
        self._is_going_on = is_going_on
        if is_going_on:
            self._hint.setText(self.tr("the one of now is shown above"))
            title = self.tr("Never recovered before")
            text = self.tr("The database was opened early. Above is shown how far its recovery has come.")
        else:
            self._hint.setText(self.tr("no recovery is needed now"))
            title = self.tr("No recovery is needed")
            text = self.tr("The database was closed properly. It has never had to be recovered.")
        self._empty.set_words(title, text)

    def show_history(self, history: History) -> None:
        """Show what is kept; the newest is chosen."""
        self.model.show(history.entries)
        note = " ".join(filter(None, [self._figures_of(history), history.note]))
        self._note.setText(note)
        self._note.setVisible(bool(note))
        self._stack.setCurrentIndex(1 if history.entries or history.note else 0)
        self.view.choose_line(0 if history.entries else None)
        self._show_entry(self.view.current())

    def _figures_of(self, history: History) -> str:
        figures = history.figures
        if figures.recovery_success_rate is None or figures.rto_compliance_rate is None:
            return ""
        return self.tr("{share} succeeded, {in_time} within {limit}, in {mean} on average.").format(
            share=f"{figures.recovery_success_rate:.0%}",
            in_time=f"{figures.rto_compliance_rate:.0%}",
            limit=formats.duration(OBJECTIVE_S),
            mean=formats.duration(figures.recovery_duration_seconds),
        )

    def summary(self) -> str:
        return self._summary.text()

    def note(self) -> str:
        return self._note.text()

    def _show_entry(self, entry: Entry | None) -> None:
        self.stages.show([] if entry is None else list(entry.stages))
        self._summary.setText("" if entry is None else self._summary_of(entry))

    def _summary_of(self, entry: Entry) -> str:
        report = entry.report
        error = report.get("error")
        parts = []
        if isinstance(error, Mapping):
            parts.append(f"{error.get('message')} ({error.get('code')})")
        redo, undo = _part(report, "redo"), _part(report, "undo")
        if redo:
            parts.append(
                self.tr("{redone} changes applied again, {undone} undone.").format(
                    redone=formats.count(redo.get("applied") or 0),
                    undone=formats.count(undo.get("records") or 0),
                )
            )
        if speed := float(report.get("log_bytes_per_s") or 0):
            parts.append(self.tr("{size}/s of log").format(size=formats.size(speed)))
        parts.append(self.tr("{size} of memory").format(size=formats.size(report.get("memory_bytes") or 0)))
        if slowest := _part(report, "bottleneck"):
            parts.append(bottleneck_words(str(slowest.get("stage")), str(slowest.get("resource") or "")))
        return " · ".join(parts)

    def _entry_fields(self) -> tuple[Field, ...]:
        return (
            Field(self.tr("When"), lambda e: formats.moment(e.at)),
            Field(self.tr("Outcome"), self._outcome, tone=lambda e: _TONES.get(e.outcome)),
            Field(self.tr("Time"), lambda e: formats.duration(e.seconds), True),
            Field(self.tr("Lost"), self._lost),
        )

    def _outcome(self, entry: Entry) -> str:
        return {
            "succeeded": self.tr("recovered"),
            "warnings": self.tr("with warnings"),
            "failed": self.tr("failed"),
            "cancelled": self.tr("cancelled"),
        }.get(entry.outcome, entry.outcome)

    def _state(self, stage: Mapping[str, Any]) -> str:
        return {"succeeded": self.tr("done"), "pending": "–", "skipped": "–"}.get(
            str(stage.get("status")), str(stage.get("status"))
        )

    def _lost(self, entry: Entry) -> str:
        if entry.outcome not in ("succeeded", "warnings"):
            return "–"
        return self.tr("some") if entry.report.get("lost") else self.tr("none")

    def _stage_fields(self) -> tuple[Field, ...]:
        waits = {"disk": self.tr("disk"), "processor": self.tr("processor")}
        return (
            Field(self.tr("Stage"), lambda s: str(s.get("name"))),
            Field(self.tr("State"), self._state, tone=_stage_tone),
            Field(self.tr("Time"), lambda s: formats.duration(float(s.get("seconds") or 0)), True),
            Field(self.tr("Throughput"), _speed, True),
            Field(self.tr("Memory"), lambda s: formats.size(float(s.get("memory_bytes") or 0)), True),
            Field(self.tr("Held up by"), lambda s: waits.get(str(s.get("bottleneck")), "–")),
        )


def _part(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = report.get(name)
    return value if isinstance(value, Mapping) else {}


def _speed(stage: Mapping[str, Any]) -> str:
    speed = float(stage.get("bytes_per_s") or 0)
    return formats.rate(speed, "bytes") if speed else "–"


def _stage_tone(stage: Mapping[str, Any]) -> Tone | None:
    return {"failed": Tone.BAD, "warning": Tone.WARN}.get(str(stage.get("status")))
