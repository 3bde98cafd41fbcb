"""The unfinished transactions by name: those that a recovery undoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtWidgets import QWidget

from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.widgets import Card, formats, label


class Losers(Card):
    """A card that lists them as soon as analysis has found them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Unfinished transactions"), parent=parent)
        self._words = label("", "muted", wrap=True)
        self._model = RecordModel(loser_fields(self), lambda loser: loser["txn"], parent=self)
        self._view = RecordView(self._model, self.tr("Unfinished transactions"), (110, 150, 90))
        self.add(self._words)
        self.body.addWidget(self._view, 1)
        self.body.addStretch()
        self.show_losers(None)

    def show_losers(self, losers: Sequence[Mapping[str, Any]] | None) -> None:
        """None while they are not known."""
        self._model.show(list(losers or ()))
        self._view.setVisible(bool(losers))
        self._words.setVisible(not losers)
        self._words.setText(
            self.tr("Known once analysis has read the log.")
            if losers is None
            else self.tr("None: every transaction had ended.")
        )

    def names(self) -> list[str]:
        """The transactions that are shown."""
        count = self._model.rowCount()
        return [str(self._model.index(line, 0).data()) for line in range(count)]


def loser_fields(of: QWidget) -> tuple[Field, ...]:
    """The columns of an unfinished transaction."""
    return (
        Field(of.tr("Transaction"), lambda loser: f"T{loser['txn']}"),
        Field(of.tr("Began"), lambda loser: _moment(loser) or of.tr("after the checkpoint")),
        Field(of.tr("Changes"), lambda loser: formats.count(loser.get("changes", 0)), True),
    )


def _moment(loser: Mapping[str, Any]) -> str:
    """When it began; empty where no checkpoint noted it, for it began after the last one."""
    at = float(loser.get("started_at") or 0)
    return formats.moment(at) if at > 0 else ""
