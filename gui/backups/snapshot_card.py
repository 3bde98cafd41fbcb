"""The card of snapshots on the page of backups: how many, how new, and the way to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.config import Config
from engine.errors import HoldfastError
from engine.units import format_duration
from gui.backups.words import tr
from gui.theme import Space, Tone
from gui.widgets import Card, button, formats, label, row, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.snapshots.types import SnapshotInfo


@dataclass(frozen=True, slots=True)
class SnapshotLook:
    """All that is shown of snapshots, of one moment."""

    snapshots: tuple[SnapshotInfo, ...]
    """Newest first."""
    room: int
    config: Config
    next_at: float | None
    failure: HoldfastError | None


def look_at_snapshots(database: Any) -> SnapshotLook:
    """Ask an open database; on a worker's thread."""
    return SnapshotLook(
        database.snapshots.list(),
        database.snapshots.room(),
        database.config,
        database.snapshot_keeper.next_at(),
        database.snapshot_keeper.failure(),
    )


class SnapshotCard(Card):
    """A sentence, and two buttons."""

    take_asked = Signal()
    all_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Snapshots"), parent=parent)
        self._words = label("", wrap=True)
        self._pace = label("", "caption", wrap=True)
        self.take = button(self.tr("Take one now"), self.take_asked.emit, "quiet", "plus")
        self.show_all = button(self.tr("Show all…"), self.all_asked.emit, "quiet", "column")
        self.add(self._pace, self._words, row(self.take, self.show_all, None, gap=Space.M))
        self.body.addStretch(1)

    def show_look(self, look: SnapshotLook) -> None:
        """Say what there is."""
        self._words.setText(summary_in_words(look))
        self._pace.setText(pace_in_words(look))
        set_look(self._pace, tone=str(Tone.BAD) if look.failure is not None else "")

    def summary(self) -> str:
        return self._words.text()


def summary_in_words(look: SnapshotLook) -> str:
    """How many there are, in a sentence."""
    if not look.snapshots:
        return tr("None yet. A snapshot keeps this moment while you go on.")
    newest = formats.ago(look.snapshots[0].taken_at)
    size = formats.size(look.room)
    if len(look.snapshots) == 1:
        return tr("1, taken {ago}, {size}").format(ago=newest, size=size)
    return tr("{n}, the newest {ago}, {size}").format(n=len(look.snapshots), ago=newest, size=size)


def pace_in_words(look: SnapshotLook) -> str:
    """The schedule, in a sentence."""
    if look.failure is not None:
        return tr("The last one failed: {why}").format(why=look.failure.message)
    if not look.config.enable_snapshots:
        return tr("Taken only when asked for")
    pace = format_duration(look.config.snapshot_interval)
    return tr("One every {pace} in which something has changed").format(pace=pace)
