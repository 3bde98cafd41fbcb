"""Settings: how Holdfast looks, and what it does at the start."""

from __future__ import annotations

from PySide6.QtWidgets import QButtonGroup, QCheckBox, QRadioButton, QScrollArea, QWidget

from gui.page import Page, Shell
from gui.settings.database import DatabaseSettings
from gui.tasks import EngineSession
from gui.theme import Space, ThemeMode
from gui.widgets import Card, column, label


class SettingsPage(Page):
    """What is chosen here is in force at once, and kept."""

    page_id = "settings"
    icon_name = "settings"

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(
            shell,
            self.tr("Settings"),
            self.tr("How Holdfast looks, and how the open database is kept"),
            parent,
        )
        self._modes = QButtonGroup(self)
        self._radios: dict[ThemeMode, QRadioButton] = {}
        self.database = DatabaseSettings(shell)
        cards = QWidget()
        cards.setMaximumWidth(820)
        cards.setLayout(column(self._appearance(), self._start(), self.database, None, gap=Space.M))
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(cards)
        self.body.addWidget(area)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        self.database.attach(session)

    def detach(self) -> None:
        super().detach()
        self.database.detach()

    def entered(self) -> None:
        self.database.refresh()

    def choose_theme(self, mode: ThemeMode) -> None:
        """Put a theme into force and keep the choice."""
        self.shell.preferences.theme = mode
        self.shell.theme.set_mode(mode)
        self._radios[mode].setChecked(True)

    def _appearance(self) -> Card:
        card = Card(self.tr("Appearance"))
        for mode, words in (
            (ThemeMode.SYSTEM, self.tr("As the system is set")),
            (ThemeMode.LIGHT, self.tr("Light")),
            (ThemeMode.DARK, self.tr("Dark")),
        ):
            radio = QRadioButton(words)
            radio.setChecked(self.shell.theme.mode is mode)
            radio.toggled.connect(lambda on, chosen=mode: self.choose_theme(chosen) if on else None)
            self._modes.addButton(radio)
            self._radios[mode] = radio
            card.add(radio)
        return card

    def _start(self) -> Card:
        card = Card(self.tr("At the start"))
        reopen = QCheckBox(self.tr("Open the database that was open last"))
        reopen.setChecked(self.shell.preferences.reopens_last)
        reopen.toggled.connect(lambda on: setattr(self.shell.preferences, "reopens_last", on))
        card.add(reopen)
        text = self.tr("A database that was not closed cleanly is never recovered without asking you.")
        card.add(label(text, "caption"))
        return card
