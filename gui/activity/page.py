"""The page of activity: transactions, locks, and who waits for whom, live."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QSplitter, QStackedWidget, QTabWidget

from engine.types import Event, TransactionInfo
from gui.actions import Actions
from gui.activity.fields import lock_fields, lock_order, transaction_fields, transaction_order
from gui.activity.graph import GraphView
from gui.activity.inspector import TransactionInspector
from gui.activity.layout import GraphPicture, picture
from gui.activity.past import deadlock_picture
from gui.models.record_view import RecordView
from gui.models.records import RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession, Sample
from gui.tasks.sampler import Activity
from gui.theme import Space, Tone
from gui.widgets import Card, EmptyState, StatTile, button, column, formats, label, row

STALE_AFTER_S = 2.0


class ActivityPage(Page):
    """Shows the last sample of the engine; ends transactions on request."""

    page_id = "activity"
    icon_name = "activity"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Activity"), "")
        self.header.set_subtitle(self.tr("Who is at work, who holds which lock, and who waits for whom"))
        self._activity: Activity | None = None
        self._drawn: Any = None
        self._drawing = False
        self._watching = False
        self._deadlock: Event | None = None
        self._is_past = False
        self.errors = self.make_errors()
        self.graph = GraphView()
        self.inspector = TransactionInspector()
        self.transactions = RecordModel(transaction_fields(), lambda info: info.id, parent=self)
        self.locks = RecordModel(lock_fields(), lambda lock: (lock.resource, lock.mode), parent=self)
        self.transaction_view = RecordView(
            self.transactions, self.tr("Transactions"), (130, 190, 90, 90, 90, 80, 130)
        )
        self.lock_view = RecordView(self.locks, self.tr("Locks"), (250, 130, 150, 190, 100))
        self._more = label("", "caption")
        self._age = QTimer(self)
        self._age.setInterval(500)
        self._age.timeout.connect(self._show_age)
        self._build()
        self.graph.transaction_chosen.connect(self._choose)
        self.transaction_view.record_chosen.connect(self._choose_record)
        self.inspector.end_wanted.connect(self.end_transaction)

    def _build(self) -> None:
        self._active = StatTile(self.tr("Active transactions"))
        self._waiting = StatTile(self.tr("Waiting"))
        self._oldest = StatTile(self.tr("Oldest transaction"))
        self._deadlocks = StatTile(self.tr("Deadlocks resolved"), detail=self.tr("since it was opened"))
        self._show_past = button(self.tr("Show the last deadlock"), self.show_deadlock, "", "lock")
        self._show_past.hide()
        quiet = EmptyState(
            "success",
            self.tr("Nobody waits"),
            self.tr("No transaction is held up by another at this moment."),
            self._show_past,
        )
        self._back = button(self.tr("Back to now"), self._show_now, "quiet")
        self._back.hide()
        self._picture = QStackedWidget()
        self._picture.addWidget(quiet)
        self._picture.addWidget(self.graph)
        self._graph_card = Card(self.tr("Who waits for whom"), self.tr("each arrow points at the holder"))
        self._graph_card.body.addWidget(self._picture, 1)
        self._graph_card.head.addWidget(self._back)
        upper = QSplitter(Qt.Orientation.Horizontal)
        upper.addWidget(self._graph_card)
        upper.addWidget(self.inspector)
        upper.setStretchFactor(0, 1)
        upper.setSizes([800, 280])
        lists = QTabWidget()
        lists.setDocumentMode(True)
        lists.addTab(self.transaction_view, self.tr("Transactions"))
        lists.addTab(self.lock_view, self.tr("Locks"))
        lists.setCornerWidget(self._more)
        self._lists = lists
        card = Card(margin=(Space.S, Space.XS, Space.S, Space.S))
        card.body.addWidget(lists)
        whole = QSplitter(Qt.Orientation.Vertical)
        whole.addWidget(upper)
        whole.addWidget(card)
        whole.setSizes([340, 260])
        for split in (upper, whole):
            split.setProperty("gap", "true")
            split.setHandleWidth(Space.M)
            split.setChildrenCollapsible(False)
        tiles = row(self._active, self._waiting, self._oldest, self._deadlocks, gap=Space.M)
        inner = column(self.errors, tiles, self.inspector.confirm, gap=Space.M)
        inner.addWidget(whole, 1)
        self.body.addLayout(inner, 1)

    def add_actions(self, actions: Actions) -> None:
        actions.add(
            "activity.end",
            self.tr("End the chosen transaction…"),
            self.inspector.ask_end,
            shortcut="Ctrl+Shift+E",
            icon_name="end",
            needs_database=True,
        )
        actions.add(
            "activity.deadlock",
            self.tr("Show the last deadlock"),
            self.ask_deadlock,
            shortcut="Ctrl+Shift+D",
            icon_name="lock",
            needs_database=True,
        )

    def ask_deadlock(self) -> None:
        """Show the last deadlock from wherever one is; say so where there was none."""
        self.shell.show_page(self.page_id)
        if self._deadlock is None:
            self.shell.tell(self.tr("No deadlock since the database was opened."))
        self.show_deadlock()

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        session.sampled.connect(self._take)
        session.events_arrived.connect(self._take_events)
        self._take_events(session.recent_events)
        if self.isVisible():
            self.entered()

    def detach(self) -> None:
        self.left()
        self._deadlock, self._is_past = None, False
        self._show_past.hide()
        self._show(Activity((), (), ()))
        self.inspector.clear()
        self.errors.clear()
        super().detach()

    def entered(self) -> None:
        if self.session is not None and not self._watching:
            self._watching = True
            self.session.watch_activity(True)
            self._age.start()

    def left(self) -> None:
        self._age.stop()
        if self.session is not None and self._watching:
            self.session.watch_activity(False)
        self._watching = False

    def _take(self, sample: Sample) -> None:
        if not self._watching:
            return
        counters = sample.status.transactions
        self._active.show_value(formats.count(counters.active), self.tr("at this moment"))
        waiters = sample.status.waiters
        self._waiting.show_value(
            formats.count(waiters), self.tr("for a lock"), Tone.WARN if waiters else None
        )
        oldest = counters.oldest_age_s
        self._oldest.show_value(
            formats.duration(oldest) if counters.active else "–", self.tr("keeps log and old versions")
        )
        self._deadlocks.show_value(formats.count(counters.deadlocks))
        if sample.activity is not None:
            self._show(sample.activity)

    def _show_age(self) -> None:
        """Say that what is shown is old, where samples have stopped coming."""
        sample = self.session.last_sample if self.session is not None else None
        age = 0.0 if sample is None else time.time() - sample.at
        self.header.state.setVisible(age > STALE_AFTER_S)
        if age > STALE_AFTER_S:
            self.header.state.show_state(
                self.tr("as of {age} ago").format(age=formats.duration(age)), Tone.WARN
            )

    def _show(self, activity: Activity) -> None:
        self._activity = activity
        self.transactions.show(sorted(activity.transactions, key=transaction_order))
        self.locks.show(sorted(activity.locks, key=lock_order))
        hidden = self.transactions.hidden + self.locks.hidden
        self._more.setText(self.tr("and {n} more").format(n=formats.count(hidden)) if hidden else "")
        self._lists.setTabText(0, self.tr("Transactions ({n})").format(n=len(activity.transactions)))
        self._lists.setTabText(1, self.tr("Locks ({n})").format(n=len(activity.locks)))
        self._show_chosen()
        self._draw(activity)

    def _draw(self, activity: Activity) -> None:
        """Have the graph laid out elsewhere; one layout at a time, the newest wins."""
        if not activity.waits:
            if not self._is_past:
                self._show_picture(GraphPicture())
            return
        self._is_past = False
        if self._drawing or self.session is None:
            return
        self._drawing = True
        waits, transactions = list(activity.waits), list(activity.transactions)
        answer = self.session.run(lambda _database: picture(waits, transactions), self, channel="layout")
        answer.done(self._show_picture).failed(self._say_failed).finally_(self._drawn_once)

    def _take_events(self, events: list[Event]) -> None:
        deadlocks = [event for event in events if event.kind == "deadlock"]
        if deadlocks:
            self._deadlock = deadlocks[-1]
            self._show_past.show()

    def show_deadlock(self) -> None:
        """Draw the last deadlock, until somebody waits again or the person goes back to now."""
        event = self._deadlock
        if event is None or self.session is None:
            return
        self._is_past = True
        answer = self.session.run(lambda _database: deadlock_picture(event), self, channel="layout")
        answer.done(lambda drawn: self._show_picture(drawn) if self._is_past else None)
        answer.failed(self._say_failed)

    def _show_now(self) -> None:
        self._is_past = False
        self._show_picture(GraphPicture())

    def _drawn_once(self) -> None:
        self._drawing = False

    def _show_picture(self, drawn: GraphPicture) -> None:
        if drawn != self._drawn:
            self._drawn = drawn
            self.graph.show_picture(drawn)
        self._picture.setCurrentIndex(1 if drawn.nodes else 0)
        self._back.setVisible(drawn.is_past)
        if drawn.is_past and self._deadlock is not None:
            words = self.tr("the deadlock of {time}; T{victim} was rolled back").format(
                time=formats.clock(self._deadlock.at), victim=drawn.suggested
            )
        elif drawn.has_cycle:
            words = self.tr("a deadlock is being resolved")
        elif drawn.hidden:
            words = self.tr("{n} more are not drawn").format(n=drawn.hidden)
        else:
            words = self.tr("each arrow points at the holder")
        self._graph_card.hint.setText(words)
        self.inspector.show_suggestion(None if drawn.is_past else drawn.suggested)

    @property
    def is_drawn(self) -> bool:
        """Whether a graph of waits is in view."""
        return self._picture.currentIndex() == 1

    def _choose(self, txn: int) -> None:
        self.inspector.choose(txn)
        self.transaction_view.choose_line(self.transactions.line_of(txn))
        self._show_chosen()

    def _choose_record(self, info: TransactionInfo | None) -> None:
        if info is not None and info.id != self.inspector.chosen:
            self.inspector.choose(info.id)
            self.graph.choose(info.id)
            self._show_chosen()

    def _show_chosen(self) -> None:
        if self._activity is not None:
            self.inspector.show_activity(self._activity)

    def end_transaction(self, txn: int) -> None:
        """Roll a transaction back; its owner learns it at the next call."""
        if self.session is None:
            return
        answer = self.session.run(lambda database: database.abort_transaction(txn), self, channel="abort")
        answer.done(lambda ended: self._say_ended(txn, ended))
        answer.failed(self._say_failed)

    def _say_ended(self, txn: int, ended: bool) -> None:
        if ended:
            self.shell.tell(self.tr("Transaction {txn} is rolled back; its locks are free.").format(txn=txn))
        else:
            self.shell.tell(self.tr("Transaction {txn} had ended already.").format(txn=txn))

    def _say_failed(self, error: BaseException) -> None:
        self.errors.show_error(error, self.tr("end a transaction"))
