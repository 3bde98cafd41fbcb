"""The recovery behind the open database, live, and what it came to once it is over."""

from __future__ import annotations

from PySide6.QtCore import Signal

from engine.types import RecoveryStanding
from gui.tasks import EngineSession, Sample
from gui.widgets.recovery_bar import RecoveryBar


class Behind(RecoveryBar):
    """Follows one open database at a time."""

    ended = Signal()
    """It was going on, and all of it is over now: done, and checked."""
    shown_changed = Signal(bool)
    """Whether there is something to be told of a recovery behind this database."""

    def follow(self, session: EngineSession) -> None:
        """Show this database from now on."""
        self._was_going_on = False
        self.show_standing(None)
        session.sampled.connect(self._look)

    def show_standing(self, standing: RecoveryStanding | None) -> None:
        super().show_standing(standing)
        self.shown_changed.emit(not self.isHidden())

    def _look(self, sample: Sample) -> None:
        standing = sample.status.recovery
        self.show_standing(standing)
        is_going_on = standing is not None and standing.problems is None
        if self._was_going_on and not is_going_on:
            self.ended.emit()
        self._was_going_on = is_going_on
