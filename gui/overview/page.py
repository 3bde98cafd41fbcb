"""The overview page."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QWidget

from engine.types import StoreStatus, SyncMode
from gui.overview.events import EventsCard
from gui.overview.health import HealthCard
from gui.page import Page, Shell
from gui.tasks import EngineSession, Sample
from gui.tasks.rates import Rate
from gui.theme import Space, Tone
from gui.widgets import Card, RecoveryBar, StatTile, TimeLine, formats, row

REPLAY_BYTES_PER_S = 100 << 20
"""The speed that a recovery must reach; the forecast assumes no more."""


class OverviewPage(Page):
    """One look: how healthy, how fast, what a power failure would cost now."""

    page_id = "overview"
    icon_name = "overview"

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(shell, self.tr("Overview"), "", parent)
        self._commits, self._written = Rate(), Rate()
        self._checkpoint_lsn = -1
        self.health = HealthCard(shell.can_do)
        self.health.action_requested.connect(shell.action_requested)
        self.events = EventsCard()
        self.recovery = RecoveryBar()
        self._chart = TimeLine(lambda value: f"{value:,.0f}", 120)
        self._chart.add_series(self.tr("Commits per second"), fill=True)
        self._chart.setAccessibleName(self.tr("Commits per second over the last two minutes"))
        hint = self.tr("per second, last 2 minutes; dashed lines are checkpoints")
        chart_card = Card(self.tr("Commits"), hint)
        chart_card.add(self._chart)
        upper = row(gap=Space.M)
        upper.addWidget(self.health, 5)
        upper.addLayout(self._tiles(), 6)
        lower = row(gap=Space.M)
        lower.addWidget(chart_card, 3)
        lower.addWidget(self.events, 2)
        self.body.addWidget(self.recovery)
        self.body.addLayout(upper)
        self.body.addLayout(lower, 1)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self._commits, self._written, self._checkpoint_lsn = Rate(), Rate(), -1
        self._chart.clear_figures()
        self.events.clear_events()
        self.health.show_report(None)
        self.recovery.show_standing(None)
        self.header.set_subtitle(str(session.path))
        session.sampled.connect(self._show)
        session.events_arrived.connect(self.events.add_events)

    def _tiles(self) -> QGridLayout:
        self._failure = StatTile(self.tr("If the power failed now"))
        self._rate = StatTile(self.tr("Commits"))
        self._latency = StatTile(self.tr("Commit, 99th percentile"))
        self._cache = StatTile(self.tr("Pages found in memory"))
        self._data = StatTile(self.tr("Data"))
        self._waiting = StatTile(self.tr("Transactions"))
        grid = QGridLayout()
        grid.setSpacing(Space.M)
        tiles = (self._failure, self._rate, self._latency, self._data, self._cache, self._waiting)
        for place, tile in enumerate(tiles):
            grid.addWidget(tile, place // 2, place % 2)
        return grid

    def _show(self, sample: Sample) -> None:
        status = sample.status
        commits = self._commits.add(sample.at, status.transactions.written)
        written = self._written.add(sample.at, status.log.bytes_written)
        self._chart.add(0, sample.at, commits)
        if status.checkpoint.lsn != self._checkpoint_lsn:
            if self._checkpoint_lsn >= 0:
                self._chart.mark(status.checkpoint.at, self.tr("checkpoint"))
            self._checkpoint_lsn = status.checkpoint.lsn
        if not self.isVisible():
            return
        self.recovery.show_standing(status.recovery)
        self.health.show_report(sample.health)
        detail = self.tr("{rate} of log, over 3 s").format(rate=formats.rate(written, "bytes"))
        self._rate.show_value(self.tr("{n}/s").format(n=formats.count(commits)), detail)
        self._show_status(status)
        self._chart.refresh(sample.at)

    def _show_status(self, status: StoreStatus) -> None:
        redo = status.checkpoint.redo_bytes
        time = formats.duration(max(redo / REPLAY_BYTES_PER_S, 0.001))
        is_durable = status.log.sync_mode is SyncMode.DURABLE
        words = (
            self.tr("{size} to replay, no loss") if is_durable else self.tr("the last commits may be lost")
        )
        value = self.tr("about {time}").format(time=time)
        self._failure.show_value(
            value, words.format(size=formats.size(redo)), None if is_durable else Tone.WARN
        )
        commit = status.latency.get("commit")
        if commit is not None and commit.count:
            detail = self.tr("half within {p50}").format(p50=formats.microseconds(commit.p50_us))
            self._latency.show_value(formats.microseconds(commit.p99_us), detail)
        cache = status.cache
        looked = cache.hits + cache.misses
        share = f"{cache.hits / looked:.1%}" if looked else "–"
        detail = self.tr("{dirty} of {used} pages to write")
        detail = detail.format(dirty=formats.count(cache.dirty), used=formats.count(cache.used))
        self._cache.show_value(share, detail)
        used = (status.pages - status.free_pages) * cache.page_size
        detail = self.tr("{n} pages, {free} free")
        detail = detail.format(n=formats.count(status.pages), free=formats.count(status.free_pages))
        self._data.show_value(formats.size(used), detail)
        self._show_transactions(status)

    def _show_transactions(self, status: StoreStatus) -> None:
        counters = status.transactions
        detail = self.tr("{waiters} waiting, deadlocks so far: {deadlocks}")
        detail = detail.format(waiters=status.waiters, deadlocks=counters.deadlocks)
        active = self.tr("{n} active").format(n=counters.active)
        self._waiting.show_value(active, detail, Tone.WARN if status.waiters else None)
