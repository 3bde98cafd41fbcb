"""One alert in full: what to do about it, where it stands, and the answers to it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QMenu, QWidget

from engine.alerts.alert import Alert, AlertState, AlertType
from gui.alerts.words import (
    TONES,
    action_label,
    answer_words,
    impact_words,
    severity_word,
    since_words,
    type_words,
)
from gui.theme import Space
from gui.widgets import Pill, button, column, label, row
from gui.widgets.facts import Facts

HOUR_S, DAY_S = 3600.0, 86400.0


class AlertDetail(QFrame):
    """Shows the chosen alert. Its buttons ask; the page does."""

    action_wanted = Signal(str)
    """What the alert recommends is to be done, in the words of the error catalogue."""
    runbook_wanted = Signal(str)
    acknowledge_wanted = Signal(int)
    silence_wanted = Signal(object, float)
    """An alert's number, or an `AlertType`, is to be silent for so many seconds; 0 ends a silence."""

    def __init__(self, can_do: Callable[[str], bool], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sunken")
        self.alert: Alert | None = None
        self._can_do = can_do
        self._severity = Pill()
        self._title = label("", "section", wrap=True)
        self._facts = self._make_facts()
        self._action = ""
        self.act = button("", lambda: self.action_wanted.emit(self._action), "primary")
        self.acknowledge = button(self.tr("Acknowledge"), self._ask_acknowledge, "", "check")
        self.acknowledge.setToolTip(self.tr("You look after it: it is escalated no further"))
        self.silence = button(self.tr("Silence…"), self._show_menu, "", "pause")
        self.silence.setToolTip(self.tr("Tell nothing of it for a while; it stays on the list"))
        self.unsilence = button(self.tr("End the silence"), self._end_silence, "", "play")
        self.runbook = button(self.tr("Runbook"), self._ask_runbook, "quiet", "book")
        self.menu = self._make_menu()
        head = row(gap=Space.S)
        head.addWidget(self._title, 1)
        head.addWidget(self._severity, 0, Qt.AlignmentFlag.AlignTop)
        buttons = row(self.act, self.acknowledge, self.silence, self.unsilence, self.runbook, None)
        self.setLayout(column(head, self._facts, buttons, gap=Space.M, margin=Space.M))
        self.hide()

    def _make_facts(self) -> Facts:
        return Facts(
            {
                "do": self.tr("What to do"),
                "impact": self.tr("Impact"),
                "kind": self.tr("Type"),
                "since": self.tr("Since"),
                "answer": self.tr("Answer"),
            }
        )

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        for words, seconds in (
            (self.tr("This alert, for 1 hour"), HOUR_S),
            (self.tr("This alert, for 8 hours"), 8 * HOUR_S),
            (self.tr("This alert, for 1 day"), DAY_S),
        ):
            menu.addAction(words).triggered.connect(lambda _on=False, s=seconds: self._silence_this(s))
        menu.addSeparator()
        whole = menu.addAction(self.tr("All of this type, for 1 day"))
        whole.triggered.connect(lambda _on=False: self._silence_type(DAY_S))
        return menu

    def show_alert(self, alert: Alert | None, state: AlertState) -> None:
        """Show an alert in this state; None for none."""
        self.alert = alert
        self.setVisible(alert is not None)
        if alert is None:
            return
        self._title.setText(alert.summary)
        self._severity.show_state(severity_word(alert.severity), TONES[alert.severity])
        code = "" if alert.code is None else self.tr(", code {code}").format(code=alert.code)
        self._facts.lines["do"].setText(alert.recommended_action)
        self._facts.lines["impact"].setText(impact_words(alert.impact))
        self._facts.lines["kind"].setText(f"{type_words(alert.type)}, {alert.component}{code}")
        self._facts.lines["since"].setText(since_words(alert))
        self._facts.lines["answer"].setText(answer_words(alert, state))
        self._show_buttons(alert, state)
        self._fit()

    def _show_buttons(self, alert: Alert, state: AlertState) -> None:
        words = action_label(alert.action) if self._can_do(alert.action) else ""
        self._action = alert.action
        self.act.setText(words)
        self.act.setVisible(bool(words) and alert.is_open)
        self.acknowledge.setVisible(alert.is_open and alert.acknowledged_at is None)
        self.silence.setVisible(alert.is_open and state is not AlertState.SILENCED)
        self.unsilence.setVisible(state is AlertState.SILENCED)
        self.runbook.setVisible(bool(alert.runbook))

    def resizeEvent(self, event: QResizeEvent) -> None:
        # Wrapped text is as high as its width makes it, which a column of widgets does not ask.
        self._fit()
        super().resizeEvent(event)

    def _fit(self) -> None:
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))

    def _ask_acknowledge(self) -> None:
        if self.alert is not None:
            self.acknowledge_wanted.emit(self.alert.id)

    def _ask_runbook(self) -> None:
        if self.alert is not None:
            self.runbook_wanted.emit(self.alert.runbook)

    def _show_menu(self) -> None:
        self.menu.popup(self.silence.mapToGlobal(QPoint(0, self.silence.height() + 2)))

    def _silence_this(self, seconds: float) -> None:
        if self.alert is not None:
            self.silence_wanted.emit(self.alert.id, seconds)

    def _silence_type(self, seconds: float) -> None:
        if self.alert is not None:
            self.silence_wanted.emit(AlertType(self.alert.type), seconds)

    def _end_silence(self) -> None:
        """End the one of the alert, and the one of its type: either may be what keeps it silent."""
        self._silence_this(0.0)
        self._silence_type(0.0)
