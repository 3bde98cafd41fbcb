"""The notice in the window that an alert which cannot wait was raised, whatever page is in view."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QLabel, QWidget

from engine.alerts.alert import Alert
from gui.alerts.words import TONES, picture
from gui.theme import Space, pixmap
from gui.widgets import ElidedLabel, button, row, set_look, tool_button


class AlertNotice(QFrame):
    """Hidden until an alert is told of; it takes no focus and goes when the alert is answered or over."""

    page_requested = Signal(str)
    """Show the page of this id."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._told: dict[int, Alert] = {}
        self._picture = QLabel()
        self._words = ElidedLabel("", "strong")
        self.show_button = button(self.tr("Show alerts"), lambda: self.page_requested.emit("alerts"))
        self._close = tool_button("close", self.tr("Hide this notice"), self.clear)
        line = row(margin=(Space.L, Space.S, Space.L, Space.S))
        line.addWidget(self._picture)
        line.addWidget(self._words, 1)
        line.addWidget(self.show_button)
        line.addWidget(self._close)
        self.setLayout(line)
        self.hide()

    def add_alerts(self, alerts: Sequence[Alert]) -> None:
        """Tell of these, until they are answered; the gravest is named."""
        self._told |= {alert.id: alert for alert in alerts}
        self._show()

    def keep(self, unanswered: Sequence[Alert]) -> None:
        """Go on telling only of those that are still unanswered."""
        self._told = {alert.id: alert for alert in unanswered if alert.id in self._told}
        self._show()

    def clear(self) -> None:
        """Tell nothing any more; the list has them all."""
        self._told = {}
        self.hide()

    def words(self) -> str:
        return self._words.text()

    def _show(self) -> None:
        self.setVisible(bool(self._told))
        if not self._told:
            return
        gravest = min(self._told.values(), key=lambda alert: (list(TONES).index(alert.severity), alert.id))
        tone, more = TONES[gravest.severity], len(self._told) - 1
        set_look(self, surface=str(tone))
        self._picture.setPixmap(pixmap(picture(gravest.severity), 18, tone, self.devicePixelRatioF()))
        words = gravest.summary
        if more:
            words = self.tr("{words} And {n} more.").format(words=words, n=more)
        self._words.setText(words)
        self.setAccessibleName(self.tr("Alert: {words}").format(words=words))
