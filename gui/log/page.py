"""The log page: rates and sizes live, checkpoints as marks, what pins the log."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QComboBox, QWidget

from engine.types import CheckpointStatus, LogStatus, SyncMode
from gui.actions import Actions
from gui.log.entries import EntriesCard
from gui.page import Page, Shell
from gui.tasks import EngineSession, Sample
from gui.tasks.rates import Rate
from gui.theme import Space
from gui.widgets import Card, StatTile, TimeLine, button, formats, label, row

_WINDOWS = (60, 300, 900)


class LogPage(Page):
    """What the write-ahead log does, as it does it."""

    page_id = "log"
    icon_name = "log"

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        subtitle = self.tr("Every change is in the log before it is anywhere else")
        super().__init__(shell, self.tr("Log"), subtitle, parent)
        self._written = Rate()
        self._entries_rate = Rate()
        self._checkpoint_lsn = -1
        self._tiles()
        self._charts()
        self._pinned = label("", "caption", wrap=True)
        self.entries = EntriesCard(shell)
        lower = row(gap=Space.M)
        lower.addWidget(self._size_card, 2)
        lower.addWidget(self.entries, 3)
        self.body.addLayout(row(*self._tile_row, gap=Space.M))
        self.body.addWidget(self._rate_card, 3)
        self.body.addLayout(lower, 4)
        self.body.addWidget(self._pinned)

    def add_actions(self, actions: Actions) -> None:
        take = actions.add(
            "log.checkpoint",
            self.tr("Checkpoint now"),
            self.checkpoint,
            shortcut="Ctrl+Shift+C",
            icon_name="checkpoint",
            needs_database=True,
        )
        self.header.add_action(button(take.text(), take.trigger, "primary", "checkpoint"))

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self._written, self._entries_rate, self._checkpoint_lsn = Rate(), Rate(), -1
        for chart in (self._rate_chart, self._size_chart):
            chart.clear_figures()
        session.sampled.connect(self._show)

    def entered(self) -> None:
        self.entries.refresh(self.session)

    def checkpoint(self) -> None:
        """Ask the engine for a checkpoint now."""
        if self.session is None:
            return
        answer = self.session.run(lambda database: database.checkpoint(), self)
        answer.done(lambda _result: self._checkpoint_taken())
        answer.failed(lambda error: self.shell.show_error(error, self.tr("take a checkpoint")))

    def _checkpoint_taken(self) -> None:
        self.shell.tell(self.tr("Checkpoint complete"))
        if self.isVisible():
            self.entries.refresh(self.session)

    def _tiles(self) -> None:
        self._rate_tile = StatTile(self.tr("Written to the log"))
        self._disk_tile = StatTile(self.tr("Log on disk"))
        self._sync_tile = StatTile(self.tr("Sync, 99th percentile"))
        self._checkpoint_tile = StatTile(self.tr("Last checkpoint"))
        self._tile_row = (self._rate_tile, self._disk_tile, self._sync_tile, self._checkpoint_tile)

    def _charts(self) -> None:
        self._rate_chart = TimeLine(formats.size, _WINDOWS[0], binary=True)
        self._rate_chart.add_series(self.tr("Bytes per second"), fill=True)
        self._rate_chart.setAccessibleName(self.tr("Log bytes per second over time"))
        self._size_chart = TimeLine(formats.size, _WINDOWS[0], binary=True)
        self._size_chart.add_series(self.tr("Log on disk"), fill=True)
        self._size_chart.add_series(self.tr("To replay after a power failure"))
        self._size_chart.setAccessibleName(self.tr("Size of the log over time"))
        hint = self.tr("bytes per second; dashed lines are checkpoints")
        self._rate_card = Card(self.tr("Write rate"), hint)
        self._rate_card.add(self._rate_chart)
        window = QComboBox()
        window.setAccessibleName(self.tr("How much of the past is shown"))
        for seconds in _WINDOWS:
            window.addItem(self.tr("Last {n} min").format(n=seconds // 60), seconds)
        window.currentIndexChanged.connect(lambda place: self._set_window(_WINDOWS[place]))
        self._rate_card.head.addWidget(window)
        self._size_card = Card(self.tr("Size"), self.tr("blue: on disk; green: to replay"))
        self._size_card.add(self._size_chart)

    def _set_window(self, seconds: int) -> None:
        self._rate_chart.set_window(seconds)
        self._size_chart.set_window(seconds)

    def _show(self, sample: Sample) -> None:
        log, checkpoint = sample.status.log, sample.status.checkpoint
        bytes_rate = self._written.add(sample.at, log.bytes_written)
        entries_rate = self._entries_rate.add(sample.at, log.entries_written)
        self._rate_chart.add(0, sample.at, bytes_rate)
        self._size_chart.add(0, sample.at, log.bytes_total)
        self._size_chart.add(1, sample.at, checkpoint.redo_bytes)
        self._mark(checkpoint)
        if not self.isVisible():
            return
        detail = self.tr("{rate}, over 3 s").format(rate=formats.rate(entries_rate, self.tr("entries")))
        self._rate_tile.show_value(formats.rate(bytes_rate, "bytes"), detail)
        self._show_log(log)
        sync = sample.status.latency.get("sync")
        if sync is not None and sync.count:
            detail = self.tr("median {p50}, worst {max}")
            detail = detail.format(
                p50=formats.microseconds(sync.p50_us), max=formats.microseconds(sync.max_us)
            )
            self._sync_tile.show_value(formats.microseconds(sync.p99_us), detail)
        self._show_checkpoint(checkpoint)
        self._rate_chart.refresh(sample.at)
        self._size_chart.refresh(sample.at)

    def _show_log(self, log: LogStatus) -> None:
        detail = self.tr("one segment of {size}") if log.segments == 1 else self.tr("{n} segments of {size}")
        detail = detail.format(n=log.segments, size=formats.size(log.segment_bytes))
        self._disk_tile.show_value(formats.size(log.bytes_total), detail)
        kept = self.tr("Log from LSN {lsn} on is kept: {reason}.")
        text = kept.format(lsn=formats.count(log.truncation_lsn), reason=_pin_text(log.pinned_by))
        if log.sync_mode is SyncMode.DURABLE:
            text += " " + self.tr("Every commit is on the disk before it is acknowledged.")
        elif log.sync_mode is SyncMode.INTERVAL:
            text += " " + self.tr("Commits reach the disk within an interval: the last ones can be lost.")
        else:
            text += " " + self.tr("Syncing is off: commits reach the disk when the system likes.")
        self._pinned.setText(text)

    def _show_checkpoint(self, checkpoint: CheckpointStatus) -> None:
        detail = self.tr("{pages} pages in {time}").format(
            pages=formats.count(checkpoint.last_pages), time=formats.duration(checkpoint.last_duration_s)
        )
        self._checkpoint_tile.show_value(formats.ago(checkpoint.at), detail)

    def _mark(self, checkpoint: CheckpointStatus) -> None:
        if checkpoint.lsn != self._checkpoint_lsn:
            if self._checkpoint_lsn >= 0:
                for chart in (self._rate_chart, self._size_chart):
                    chart.mark(checkpoint.at, self.tr("checkpoint"))
            self._checkpoint_lsn = checkpoint.lsn


def _pin_text(pinned_by: str) -> str:
    """What keeps the log, as `LogStatus.pinned_by` names it, in a sentence."""
    if pinned_by == "checkpoint":
        return QCoreApplication.translate("log", "a recovery would begin there")
    if pinned_by == "backup":
        return QCoreApplication.translate("log", "a backup that runs needs it")
    return QCoreApplication.translate("log", "needed by {what}").format(what=pinned_by)
