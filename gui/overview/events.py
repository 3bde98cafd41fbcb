"""What happened in the engine, newest first, in sentences."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from engine.types import Event
from gui.theme import IconName, Tone, icon
from gui.widgets import Card, formats, label

_KEPT = 100

_LOOK: dict[str, tuple[IconName, Tone | str]] = {
    "checkpoint_finished": ("checkpoint", Tone.ACCENT),
    "deadlock": ("lock", Tone.BAD),
    "backup_finished": ("backups", Tone.GOOD),
    "snapshot_taken": ("clock", Tone.GOOD),
    "snapshot_dropped": ("clock", "text_faint"),
    "snapshot_failed": ("clock", Tone.BAD),
    "snapshot_given_up": ("clock", Tone.BAD),
    "import_finished": ("import", Tone.GOOD),
    "export_finished": ("export", Tone.GOOD),
    "check_finished": ("integrity", Tone.ACCENT),
    "page_repaired": ("integrity", Tone.GOOD),
    "page_set_apart": ("integrity", Tone.BAD),
    "finding_opened": ("integrity", Tone.BAD),
    "finding_closed": ("integrity", Tone.GOOD),
    "repair_finished": ("integrity", Tone.GOOD),
    "pages_given_back": ("integrity", Tone.GOOD),
    "scrub_round_finished": ("integrity", Tone.ACCENT),
    "writes_halted": ("stop", Tone.BAD),
    "writes_resumed": ("integrity", Tone.GOOD),
    "moment_marked": ("pin", Tone.ACCENT),
    "moment_removed": ("pin", Tone.NEUTRAL),
    "rows_rescued": ("undo", Tone.GOOD),
    "background_error": ("error", Tone.BAD),
    "backup_failed": ("backups", Tone.BAD),
    "backup_not_remembered": ("backups", Tone.WARN),
    "archive_failed": ("log", Tone.BAD),
    "archive_broken": ("log", Tone.BAD),
    "archive_resumed": ("log", Tone.GOOD),
    "log_held": ("log", Tone.WARN),
    "mirror_following": ("copy", Tone.GOOD),
    "mirror_in_step": ("copy", Tone.GOOD),
    "mirror_out_of_step": ("copy", Tone.WARN),
    "mirror_lost": ("copy", Tone.BAD),
    "mirror_needs_copy": ("copy", Tone.WARN),
    "mirror_copy_started": ("copy", Tone.ACCENT),
    "mirror_copied": ("copy", Tone.GOOD),
    "mirror_mended": ("copy", Tone.GOOD),
    "mirror_log_mended": ("copy", Tone.GOOD),
    "mirror_redo_failed": ("copy", Tone.BAD),
    "failed_over": ("copy", Tone.WARN),
    "fail_over_failed": ("copy", Tone.BAD),
    "alert_raised": ("alerts", Tone.BAD),
    "alert_escalated": ("alerts", Tone.BAD),
    "alert_cleared": ("alerts", Tone.GOOD),
    "alert_summary": ("alerts", Tone.NEUTRAL),
    "recovery_opened": ("recovery", Tone.WARN),
    "recovery_completed": ("recovery", Tone.GOOD),
    "recovery_checked": ("integrity", Tone.ACCENT),
}
_SILENT = (
    "checkpoint_started",
    "recovery_progress",
    "backups_changed",
    "mirrors_changed",
    "scheduled_backup_began",
    "alerts_changed",
)


class EventsCard(Card):
    """A short list; each line says when and what."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("What happened"), self.tr("newest first"), parent)
        self._list = QListWidget()
        self._list.setProperty("flat", True)
        self._list.setAccessibleName(self.tr("Events of the engine"))
        self._list.setWordWrap(True)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._none = label(self.tr("Nothing yet since it was opened."), "caption")
        self._none.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.add(self._none)
        self.body.addWidget(self._list, 1)
        self.clear_events()

    def clear_events(self) -> None:
        self._list.clear()
        self._list.hide()
        self._none.show()

    def add_events(self, events: list[Event]) -> None:
        """Put these on top, the last one first."""
        for event in [event for event in events if event.kind not in _SILENT][-_KEPT:]:
            item = QListWidgetItem(_picture(event), f"{formats.clock(event.at)}  {words(event)}")
            item.setToolTip(formats.moment(event.at))
            self._list.insertItem(0, item)
        while self._list.count() > _KEPT:
            self._list.takeItem(_KEPT)
        self._none.setVisible(not self._list.count())
        self._list.setVisible(self._list.count() > 0)


def words(event: Event) -> str:
    """An event as a sentence; one that is not known is told by its name and its figures."""
    sentence = _SENTENCES.get(event.kind)
    try:
        if sentence is not None:
            shown = {name: _told(name, value) for name, value in event.fields.items()}
            return QCoreApplication.translate("events", sentence).format(**shown)
    except KeyError:
        # A newer engine may tell it with other fields.
        pass
    figures = ", ".join(f"{name.replace('_', ' ')} {_figure(name, v)}" for name, v in event.fields.items())
    return event.kind.replace("_", " ").capitalize() + (f": {figures}" if figures else "")


_SENTENCES = {
    "checkpoint_finished": "Checkpoint: {pages} in {seconds}",
    "deadlock": "Deadlock: transaction {victim} was rolled back ({policy})",
    "backup_finished": "Backup taken: {bytes}",
    "snapshot_taken": "Snapshot taken: {name}",
    "snapshot_dropped": "Snapshot dropped: {name}",
    "snapshot_failed": "The scheduled snapshot failed: {message}",
    "snapshot_given_up": "The snapshot {name} was given up ({code}): {reason}",
    "import_finished": "Import: {rows}",
    "export_finished": "Export: {rows}",
    "check_finished": "Check: {problems}, {seconds}",
    "log_held": "Transaction {txn} holds {bytes} of log for its {what}, the limit is {limit}: {action}",
    "page_repaired": "Page {page} was damaged and is repaired, from: {source}",
    "page_set_apart": "Page {page} is damaged and set apart",
    "finding_opened": "Integrity: a finding about page {page}",
    "finding_closed": "Integrity: finding {finding} is closed: {outcome}",
    "repair_finished": "Repair: {repaired} repaired, {failed} not",
    "pages_given_back": "Given back, as nothing led there: {pages}",
    "scrub_round_finished": "Background check: {pages} covered",
    "writes_resumed": "Changes are taken again: what stopped them is repaired or closed",
    "writes_halted": "All changes are stopped: {where} could not be repaired",
    "moment_marked": "This moment is named “{name}”",
    "moment_removed": "No moment is named “{name}” any more",
    "rows_rescued": "Rescued from the past: {rows}",
    "recovery_opened": "Opened before its recovery is through: {pages} and {losers} left, from "
    "{log_bytes} of log",
    "recovery_completed": "Recovery complete after {seconds}: {pages}; undone: {losers}",
    "recovery_checked": "Checked after the recovery: {problems}, {seconds}",
    "background_error": "The engine reports: {error}",
    "backup_failed": "The scheduled backup failed ({code}): {message}",
    "backup_not_remembered": "The backup is whole, but no increment can be added to it: {error}",
    "archive_failed": "Closed log cannot be archived; {waiting_bytes} wait: {error}",
    "archive_broken": "A piece of the log archive is lost, up to log position {until_lsn}: {error}",
    "archive_resumed": "Closed log is archived again",
    "mirror_following": "The mirror {path} follows the log",
    "mirror_in_step": "The mirror {path} has everything again; commits wait for it",
    "mirror_out_of_step": "Commits no longer wait for the mirror {path}: {reason}",
    "mirror_lost": "The mirror {path} cannot be reached ({code}): {error}",
    "mirror_needs_copy": "The mirror {path} needs a new copy: {error}",
    "mirror_copy_started": "The mirror {path} is copied",
    "mirror_copied": "The mirror {path} is copied: {pages} in {seconds}",
    "mirror_mended": "Damaged pages of the mirror {path} were replaced: {pages}",
    "mirror_log_mended": "The damaged log of the mirror {path} came again: {bytes}",
    "mirror_redo_failed": "A mirror cannot apply the log that it has: {error}",
    "failed_over": "The mirror {path} has taken over, after {seconds}",
    "fail_over_failed": "No mirror could take over ({code}): {message}",
    "alert_raised": "Alert ({severity}): {summary}",
    "alert_escalated": "Alert ({severity}), escalated to level {level}: {summary}",
    "alert_cleared": "Alert over: {summary}",
    "alert_summary": "Alerts of low severity that nobody has answered: {count}",
    "events_missed": "Too many to show: {count}",
}


def _picture(event: Event) -> QIcon:
    return icon(*_LOOK.get(event.kind, ("info", "text_faint")))


def _told(name: str, value: object) -> str:
    """A figure as a sentence has it: what is counted is named, and one of it is one."""
    if name in _COUNTED and isinstance(value, int | float):
        one, many = _COUNTED[name]
        counted = QCoreApplication.translate("events", one if round(value) == 1 else many)
        return counted.format(n=formats.count(value))
    return _figure(name, value)


_COUNTED = {
    "pages": ("1 page", "{n} pages"),
    "problems": ("1 problem", "{n} problems"),
    "losers": ("1 unfinished transaction", "{n} unfinished transactions"),
    "count": ("1 event", "{n} events"),
}


def _figure(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name.endswith("_s") or name == "seconds":
        return formats.duration(value)
    if name == "rows":
        return formats.rows(value)
    if name == "bytes" or name.endswith("_bytes"):
        return formats.size(value)
    return str(value) if name in ("victim", "txn", "page", "finding", "code") else formats.count(value)
