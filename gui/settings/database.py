"""The settings of the open database that its engine reads when it opens: storage and log."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QWidget

from engine.config import Config, load, save, settings
from engine.settings import Problem, Section
from gui.page import Shell
from gui.settings.fields import SettingLine
from gui.tasks import EngineSession
from gui.theme import Space
from gui.widgets import Card, button, label, row

SHOWN = {
    Section.LOG: (
        "sync_mode",
        "sync_interval",
        "segment_size",
        "log_buffer",
        "archive_wait_limit",
        "snapshot_log_limit",
        "transaction_log_limit",
        "long_transaction_action",
    ),
    Section.RECOVERY: ("checkpoint_interval", "checkpoint_log_volume", "image_every_changes"),
    Section.STORAGE: ("cache_size", "lock_timeout", "deadlock_victim"),
    Section.BACKUPS: (
        "backup_folder",
        "backup_key_file",
        "proved_backup_within",
        "backup_schedule",
        "backup_interval",
        "backup_time",
        "backup_increments",
        "backup_rate",
        "rehearse_backups",
        "prune_backups",
        "keep_last_backups",
        "keep_daily_backups",
        "keep_weekly_backups",
        "keep_monthly_backups",
    ),
    Section.ALERTS: (
        "escalation_timeout",
        "max_escalation_level",
        "enable_summary_alerts",
        "summary_alert_schedule",
    ),
}
"""What `engine.bridge.store_options` hands to the kernel of a database that exists, and what is in
force at once: all of the sections of backups and alerts."""


class DatabaseSettings(Card):
    """Edits `reliability.toml` of the open database; hidden while none is open."""

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("This database"), parent=parent)
        self.body.setSpacing(Space.M)
        self.hint.setText(
            self.tr(
                "kept in its reliability.toml; backups and alerts follow at once, the rest when it is "
                "opened next"
            )
        )
        self._shell = shell
        self._session: EngineSession | None = None
        self._config = Config()
        self.lines: dict[str, SettingLine] = {}
        self.save = button(self.tr("Save settings"), self._save, "primary", "save")
        self._undo = button(self.tr("Undo changes"), lambda: self._show(self._config))
        self._undo.setEnabled(False)
        self._build()
        self.hide()

    def attach(self, session: EngineSession) -> None:
        """Read the settings of this database."""
        self._session = session
        self.refresh()

    def refresh(self) -> None:
        """Read them again, unless somebody is at changing them here: other pages change some too."""
        if self._session is None or self._undo.isEnabled():
            return
        answer = self._session.run(lambda database: load(database.path), self, channel="files")
        answer.done(self._show)
        answer.failed(lambda error: self._shell.show_error(error, self.tr("read the settings")))

    def detach(self) -> None:
        self._session = None
        self._undo.setEnabled(False)
        self.hide()

    def _build(self) -> None:
        known = settings()
        for section, names in SHOWN.items():
            self.add(label(str(section), "overline"))
            for name in names:
                self.lines[name] = SettingLine(name, known[name])
                self.lines[name].edited.connect(self._has_edited)
                self.add(self.lines[name])
        self.add(row(None, self._undo, self.save))

    def _show(self, config: Config) -> None:
        self._config = config
        for name, line in self.lines.items():
            line.show_value(getattr(config, name))
        self._has_edited()
        self.show()

    def _values(self) -> dict[str, Any]:
        return {name: line.value() for name, line in self.lines.items()}

    def _has_edited(self) -> None:
        values = self._values()
        changed = any(values[name] != getattr(self._config, name) for name in values)
        wrong = any(isinstance(value, Problem) for value in values.values())
        self.save.setEnabled(changed and not wrong)
        self._undo.setEnabled(changed)

    def _save(self) -> None:
        if self._session is None:
            return
        config = self._config.changed(**self._values())

        def work(database: Any) -> Config:
            save(database.path, config)
            # What the kernel does not take at its opening is in force now.
            database.keeper.change(**{name: getattr(config, name) for name in SHOWN[Section.BACKUPS]})
            database.alerts.change(**{name: getattr(config, name) for name in SHOWN[Section.ALERTS]})
            return config

        answer = self._session.run(work, self, channel="files")
        answer.done(self._has_saved)
        answer.failed(lambda error: self._shell.show_error(error, self.tr("save the settings")))

    def _has_saved(self, config: Config) -> None:
        self._show(config)
        self._shell.tell(self.tr("Saved; in force when the database is opened the next time"))
