"""The page of alerts: what waits for somebody, what was answered, what is over."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QComboBox, QSizePolicy, QStackedWidget, QWidget

from engine.alerts.alert import Alert, AlertState, NewsKind
from engine.alerts.service import AlertsView
from engine.types import Event, Severity
from gui.actions import Actions
from gui.alerts.detail import AlertDetail
from gui.alerts.runbook import RunbookDialog
from gui.alerts.words import TONES, picture, severity_word, state_words, tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession
from gui.theme import Space, Tone
from gui.widgets import Card, EmptyState, StatTile, button, column, formats, label, row

_LOOK_MS = 5000
_TELLS = "alert"
"""How the kinds of the events begin that tell of alerts."""
_GRAVE = (Severity.CRITICAL, Severity.HIGH)
_NEWS = (NewsKind.RAISED.value, NewsKind.ESCALATED.value)

Line = tuple[Alert, AlertState]


def alert_fields() -> tuple[Field, ...]:
    """What is shown of an alert and its state."""
    return (
        Field(
            tr("Severity"),
            lambda line: severity_word(line[0].severity),
            tone=lambda line: TONES[line[0].severity] if line[0].is_open else None,
            icon_name=lambda line: picture(line[0].severity) if line[0].is_open else "check",
        ),
        Field(tr("State"), lambda line: state_words(*line)),
        Field(
            tr("Since"),
            lambda line: formats.ago(line[0].raised_at),
            tip=lambda line: formats.moment(line[0].raised_at),
        ),
        Field(tr("Component"), lambda line: line[0].component),
        Field(tr("What"), lambda line: line[0].summary),
    )


class AlertsPage(Page):
    """Lists the alerts of the open database and takes the answers to them."""

    page_id = "alerts"
    icon_name = "alerts"

    waiting_changed = Signal(object)
    """The `Alert`s that wait for an answer now."""
    told = Signal(object)
    """`Alert`s that cannot wait were raised or escalated, and nobody has answered them."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Alerts"), "")
        self.header.set_subtitle(self.tr("What somebody has to see to, until somebody has"))
        self.header.add_action(button(self.tr("Look now"), self.look, "", "refresh"))
        self.errors = self.make_errors(self.refresh)
        self.model = RecordModel(alert_fields(), lambda line: line[0].id, limit=500, parent=self)
        self.view = RecordView(self.model, self.tr("Alerts"), (100, 130, 96, 110))
        self.view.record_chosen.connect(self._show_chosen)
        # A few lines are enough: what stands below them is not to be pushed out of a small window.
        self.view.setMinimumHeight(96)
        self.view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.detail = AlertDetail(shell.can_do)
        self._seen: AlertsView | None = None
        self._news: set[int] = set()
        self._waiting = StatTile(self.tr("Wait for an answer"))
        self._answered = StatTile(self.tr("Answered, not over"))
        self._over = StatTile(self.tr("Over"))
        self._which = QComboBox()
        self._note = label("", "caption", wrap=True)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.refresh)
        self._build()
        self._show_nothing()

    def _build(self) -> None:
        self._nothing = EmptyState("success", "", "")
        listed = QWidget()
        inner = column(gap=Space.M)
        inner.addWidget(self.view, 1)
        inner.addWidget(self.detail)
        listed.setLayout(inner)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._nothing)
        self._stack.addWidget(listed)
        self._which.setAccessibleName(self.tr("Which alerts are shown"))
        self._which.addItems([self.tr("Open"), self.tr("Over")])
        self._which.currentIndexChanged.connect(lambda _place: self._show_list())
        card = Card(self.tr("List"))
        card.head.addWidget(self._which)
        card.body.addWidget(self._stack, 1)
        card.add(self._note)
        tiles = row(self._waiting, self._answered, self._over, gap=Space.M)
        whole = column(self.errors, tiles, gap=Space.M)
        whole.addWidget(card, 1)
        self.body.addLayout(whole, 1)
        self.detail.action_wanted.connect(self.shell.action_requested)
        self.detail.runbook_wanted.connect(self.show_runbook)
        self.detail.acknowledge_wanted.connect(self.acknowledge)
        self.detail.silence_wanted.connect(self.silence)

    def add_actions(self, actions: Actions) -> None:
        actions.add(
            "alerts.look",
            self.tr("Look for alerts now"),
            self.look,
            shortcut="Ctrl+Alt+Shift+L",
            icon_name="refresh",
            needs_database=True,
        )
        actions.add(
            "alerts.acknowledge",
            self.tr("Acknowledge the chosen alert"),
            self.acknowledge_chosen,
            shortcut="Ctrl+Alt+Shift+K",
            icon_name="check",
            needs_database=True,
        )

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        session.events_arrived.connect(self._hear)
        self.look()

    def detach(self) -> None:
        self._timer.stop()
        self._show_nothing()
        super().detach()

    def entered(self) -> None:
        self.refresh()
        self._timer.start()

    def left(self) -> None:
        self._timer.stop()

    def _show_nothing(self) -> None:
        self._seen = None
        self._news = set()
        self.errors.clear()
        self._note.hide()
        self._which.setCurrentIndex(0)
        self.model.show([])
        self.detail.show_alert(None, AlertState.CLEARED)
        self._nothing.set_words(self.tr("Looking"), "")
        self._stack.setCurrentIndex(0)
        for tile in (self._waiting, self._answered, self._over):
            tile.show_value("–", "")
        self.waiting_changed.emit(())

    # What the engine knows

    def look(self) -> None:
        """Have everything looked at now."""
        self._ask(lambda db: db.alerts.attend())

    def refresh(self) -> None:
        """Fetch the alerts as the last look left them."""
        self._ask(lambda db: db.alerts.view())

    def _ask(self, work: Any) -> None:
        if self.session is not None:
            answer = self.session.run(work, self, channel="alerts")
            answer.done(self._show).failed(self._has_failed)

    def _hear(self, events: list[Event]) -> None:
        ours = [event for event in events if event.kind.startswith(_TELLS)]
        grave = (e for e in ours if e.kind in _NEWS and e.fields["severity"] in _GRAVE)
        self._news |= {int(event.fields["alert"]) for event in grave}
        if ours:
            self.refresh()

    def _show(self, seen: AlertsView) -> None:
        if self.session is None:
            return
        is_first, self._seen = self._seen is None, seen
        unanswered = seen.unanswered
        self._show_tiles(seen, unanswered)
        self._show_note(seen)
        self._show_list()
        self.waiting_changed.emit(unanswered)
        # Of a database that was just opened, what was told of before is told here too.
        news = [a for a in unanswered if a.id in self._news or (is_first and a.severity in _GRAVE)]
        # What was heard of after this view was taken comes with the next.
        self._news -= {alert.id for alert in (*seen.alerts, *seen.cleared)}
        if news:
            self.told.emit(news)

    def _show_tiles(self, seen: AlertsView, unanswered: tuple[Alert, ...]) -> None:
        worst = unanswered[0].severity if unanswered else None
        self._waiting.show_value(
            formats.count(len(unanswered)),
            self.tr("nothing waits")
            if worst is None
            else self.tr("the gravest is {severity}").format(severity=severity_word(worst)),
            Tone.GOOD if worst is None else TONES[worst],
        )
        answered = len(seen.alerts) - len(unanswered)
        self._answered.show_value(formats.count(answered), self.tr("acknowledged or silenced"))
        last = seen.cleared[0].cleared_at if seen.cleared else None
        self._over.show_value(
            formats.count(len(seen.cleared)),
            self.tr("none is remembered")
            if last is None
            else self.tr("the last {ago}").format(ago=formats.ago(last)),
        )

    def _show_note(self, seen: AlertsView) -> None:
        notes = [seen.note] if seen.note else []
        if seen.unreachable:
            words = self.tr(
                "Alerts are told here and in alerts.log. The settings name {names} for critical ones, which "
                "this version cannot reach."
            )
            notes.append(words.format(names=", ".join(seen.unreachable)))
        self._note.setText(" ".join(notes))
        self._note.setVisible(bool(notes))

    def _show_list(self) -> None:
        seen = self._seen
        if seen is None:
            return
        wants_over = self._which.currentIndex() == 1
        alerts = seen.cleared if wants_over else seen.alerts
        chosen: Line | None = self.view.current()
        self.model.show([(alert, seen.state(alert)) for alert in alerts])
        self._stack.setCurrentIndex(1 if alerts else 0)
        if not alerts:
            self._show_empty(wants_over)
            self.detail.show_alert(None, AlertState.CLEARED)
            return
        line = None if chosen is None else self.model.line_of(chosen[0].id)
        self.view.choose_line(0 if line is None else line)
        self._show_chosen(self.view.current())

    def _show_empty(self, wants_over: bool) -> None:
        if wants_over:
            self._nothing.set_words(
                self.tr("None is over"), self.tr("Alerts that are over are kept here for some days.")
            )
        else:
            self._nothing.set_words(
                self.tr("Nothing needs you"),
                self.tr(
                    "Backups, damage, disk, memory, mirrors and long transactions are watched all the time."
                ),
            )

    def _show_chosen(self, line: Line | None) -> None:
        if line is None:
            self.detail.show_alert(None, AlertState.CLEARED)
        else:
            self.detail.show_alert(*line)

    # What a person asks for

    def line_about(self, component: str) -> int | None:
        """Where the list shows an alert of this component; None where it shows none."""
        lines = ((n, self.model.record(n)) for n in range(self.model.rowCount()))
        return next((n for n, line in lines if line is not None and line[0].component == component), None)

    def acknowledge_chosen(self) -> None:
        """The person looks after the alert that the list shows."""
        line: Line | None = self.view.current()
        if line is not None and line[0].is_open:
            self.acknowledge(line[0].id)

    def acknowledge(self, alert_id: int) -> None:
        """The person looks after it."""
        self._answer(lambda db: db.alerts.acknowledge(alert_id))

    def silence(self, which: Any, seconds: float) -> None:
        """Tell nothing of an alert, or of a type, for so long."""
        self._answer(lambda db: db.alerts.silence(which, seconds))

    def show_runbook(self, name: str) -> None:
        """Open the runbook beside the window."""
        dialog = RunbookDialog(name, self)
        self.shell.theme.dress(dialog)
        dialog.show()

    def _answer(self, work: Any) -> None:
        if self.session is not None:
            self.errors.clear()
            answer = self.session.run(work, self, channel="alerts")
            answer.failed(self._has_failed).finally_(self.refresh)

    def _has_failed(self, error: BaseException) -> None:
        # A look that the close of its database cut off is nobody's trouble.
        if self.session is not None:
            self.errors.show_error(error, self.tr("look after the alerts"))
