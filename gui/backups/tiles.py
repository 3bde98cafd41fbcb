"""The four figures at the head of the page of backups."""

from __future__ import annotations

import time

from PySide6.QtWidgets import QWidget

from engine.types import BackupStanding
from gui.backups.worker import Look
from gui.theme import Space, Tone
from gui.widgets import StatTile, formats, row


class BackupTiles(QWidget):
    """When one was proved and taken last, when the next is due, and how many there are."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._proved = StatTile(self.tr("Last proved"))
        self._last = StatTile(self.tr("Last backup"))
        self._next = StatTile(self.tr("Next by the schedule"))
        self._count = StatTile(self.tr("In this folder"))
        self.setLayout(row(self._proved, self._last, self._next, self._count, gap=Space.M))

    def show_look(self, found: Look) -> None:
        """Show what a look at the folder found."""
        now, within = time.time(), found.config.proved_backup_within
        standing = found.standing
        last, proved = standing.taken_at, standing.proved_at
        self._last.show_value(formats.ago(last), formats.moment(last) if last else "")
        self._proved.show_value(
            formats.ago(proved),
            self.tr("restored, checked, counted") if proved else self.tr("none was restored yet"),
            Tone.WARN if now - proved > within else Tone.GOOD,
        )
        words = self.tr("{size} in all").format(size=formats.size(sum(b.info.bytes for b in found.backups)))
        if found.emergencies:
            words += self.tr(", and {n} emergency").format(n=found.emergencies)
        self._count.show_value(formats.count(len(found.backups)), words)
        self.show_next(standing)

    def show_next(self, standing: BackupStanding) -> None:
        """Show when the schedule takes the next one."""
        if standing.is_running:
            self._next.show_value(self.tr("now"), self.tr("it is being taken"), Tone.ACCENT)
        elif standing.next_at is None:
            self._next.show_value("–", self.tr("no schedule is set"))
        else:
            left = max(0.0, standing.next_at - time.time())
            words = self.tr("in a moment") if left < 1 else formats.duration(left)
            self._next.show_value(words, formats.moment(standing.next_at))
