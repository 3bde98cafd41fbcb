"""What happened in the engine, newest first."""

from __future__ import annotations

from collections import deque

from PySide6.QtWidgets import QLabel, QListWidget, QListWidgetItem, QWidget

from engine.types import Event
from gui.theme import Tone, icon
from gui.widgets import Card, formats

_KEPT = 100

_LOOK: dict[str, tuple[str, Tone | str]] = {
    "checkpoint": ("checkpoint", Tone.ACCENT),
    "deadlock": ("lock", Tone.BAD),
    "rotation": ("log", "text_muted"),
    "failed": ("error", Tone.BAD),
    "corruption": ("warning", Tone.BAD),
}


class EventsCard(Card):
    """A short list; each line says when, what, and the figures that came with it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("What happened"), self.tr("newest first"), parent)
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._list = QListWidget()
        self._list.setProperty("flat", True)
        self._list.setAccessibleName(self.tr("Events of the engine"))
        self._list.setWordWrap(True)
        self._none = QLabel(self.tr("Nothing yet since it was opened."))
        self._none.setProperty("role", "caption")
        self.add(self._none)
        self.body.addWidget(self._list, 1)
        self.clear_events()

    def clear_events(self) -> None:
        self._events.clear()
        self._list.clear()
        self._list.hide()
        self._none.show()

    def add_events(self, events: list[Event]) -> None:
        """Put these on top, the last one first."""
        for event in events[-_KEPT:]:
            item = QListWidgetItem(_picture(event.kind), _words(event))
            item.setToolTip(formats.moment(event.at))
            self._list.insertItem(0, item)
        while self._list.count() > _KEPT:
            self._list.takeItem(_KEPT)
        self._none.hide()
        self._list.show()


def _picture(kind: str):
    for word, (name, paint) in _LOOK.items():
        if word in kind:
            return icon(name, paint)
    return icon("info", "text_faint")


def _words(event: Event) -> str:
    parts = [f"{name.replace('_', ' ')} {_figure(name, value)}" for name, value in event.fields.items()]
    return f"{formats.clock(event.at)}  {event.kind.replace('_', ' ')}" + (
        f"  ·  {', '.join(parts)}" if parts else ""
    )


def _figure(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_s") or name == "seconds":
        return formats.duration(value)
    if "bytes" in name:
        return formats.size(value)
    return formats.count(value)
