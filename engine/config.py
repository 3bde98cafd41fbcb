"""The settings of one database: `reliability.toml` over defaults, checked.

A wrong value is named with its fix, and all wrong values are named at once. Sizes and
durations may be written with a unit ("64 MiB", "30 s"); here they are bytes and seconds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import tomlkit
from tomlkit.exceptions import ParseError

from engine.errors import ConfigInvalid, from_exception
from engine.files import write_atomically
from engine.hours import Hours
from engine.settings import KEY, Problem, Section, Setting, choice, count, duration, flag, size, text, words

FILE_NAME = "reliability.toml"
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, with its default. Immutable: `changed` gives a new one."""

    health_check_interval: float = duration(
        "30 s", Section.HEALTH, "How often all health checks run", min="1 s"
    )
    health_check_timeout: float = duration(
        "5 s", Section.HEALTH, "When a health check counts as failed", min="100 ms"
    )
    resource_check_interval: float = duration(
        "10 s", Section.HEALTH, "How often memory, disk and handles are looked at", min="1 s"
    )
    metrics_retention: float = duration("7 d", Section.HEALTH, "How long figures are kept", min="1 h")
    enable_detailed_metrics: bool = flag(True, Section.HEALTH, "Keep latency histograms by operation")
    log_level: str = choice(
        "info", ("debug", "info", "warning", "error"), Section.HEALTH, "What is written to the log file"
    )

    enable_self_healing: bool = flag(True, Section.HEALING, "Act on faults that have a known remedy")
    auto_remediation_enabled: bool = flag(True, Section.HEALING, "Carry remedies out without asking")
    predictive_recovery_enabled: bool = flag(True, Section.HEALING, "Act on a forecast failure beforehand")
    max_concurrent_recoveries: int = count(3, Section.HEALING, "Remedies that may run at once", min=1, max=64)
    crash_detection_timeout: float = duration(
        "5 s", Section.HEALING, "Silence after which a worker counts as dead", min="500 ms"
    )
    max_retry_attempts: int = count(
        3, Section.HEALING, "How often a transient failure is tried again", min=0, max=5
    )
    retry_backoff: str = choice(
        "exponential",
        ("linear", "exponential", "fibonacci"),
        Section.HEALING,
        "How the pause between tries grows",
    )
    base_retry_delay: float = duration("100 ms", Section.HEALING, "The first pause between tries", min="1 ms")
    max_retry_delay: float = duration("30 s", Section.HEALING, "The longest pause between tries", min="1 ms")
    circuit_breaker_failure_threshold: int = count(
        5, Section.HEALING, "Failures in a row that open the circuit breaker", min=1
    )
    circuit_breaker_recovery_timeout: float = duration(
        "30 s", Section.HEALING, "How long an open circuit breaker waits", min="100 ms"
    )
    circuit_breaker_half_open_max_calls: int = count(
        3, Section.HEALING, "Trial calls before it closes again", min=1
    )

    auto_recovery_enabled: bool = flag(True, Section.RECOVERY, "Recover on open without asking")
    recover_on_demand: bool = flag(
        True,
        Section.RECOVERY,
        "Open once the log was read and recover in the background; off: recover, then open",
    )
    recovery_timeout: float = duration(
        "300 s", Section.RECOVERY, "Time that a whole recovery may stand still in all", min="1 s"
    )
    recovery_stage_timeout: float = duration(
        "60 s", Section.RECOVERY, "Time that a stage may take without progress", min="1 s"
    )
    enable_recovery_rollback: bool = flag(True, Section.RECOVERY, "Put back what a failed recovery changed")

    integrity_check_level: str = choice(
        "paranoid", ("basic", "standard", "paranoid"), Section.INTEGRITY, "What is checked on every page read"
    )
    enable_continuous_validation: bool = flag(True, Section.INTEGRITY, "Check pages in the background")
    checksum_algorithm: str = choice("blake3", ("blake3",), Section.INTEGRITY, "How pages are checksummed")
    corruption_action: str = choice(
        "isolate_and_repair",
        ("isolate_and_repair", "report", "halt"),
        Section.INTEGRITY,
        "What happens when damage is found",
    )
    scrub_rate: int = count(
        100, Section.INTEGRITY, "Pages per second that the background check reads at least", min=1
    )
    scrub_cover_within: float = duration(
        "5 min", Section.INTEGRITY, "Time in which the background check covers everything", min="10 s"
    )
    scrub_pause: float = duration(
        "10 min", Section.INTEGRITY, "Time between two rounds of the background check", min="0 s"
    )
    scrub_hours: str = text(
        "always", Section.INTEGRITY, 'When the background check may run: "always", or hours as "22:00-06:00"'
    )
    audit_log_enabled: bool = flag(True, Section.INTEGRITY, "Record who did what to the database")

    backup_folder: str = text("", Section.BACKUPS, "Where backups go; empty for a folder beside the database")
    backup_key_file: str = text(
        "",
        Section.BACKUPS,
        "Key file that backups are encrypted with; empty for none. Without that file nobody can restore them",
    )
    proved_backup_within: float = duration(
        "7 d", Section.BACKUPS, "Age of the newest proved backup that costs health", min="1 h"
    )
    backup_schedule: str = choice(
        "off", ("off", "interval", "daily"), Section.BACKUPS, "When backups are taken without being asked for"
    )
    backup_interval: float = duration(
        "1 d", Section.BACKUPS, 'Time between backups of schedule "interval"', min="1 min", max="366 d"
    )
    backup_time: str = text("02:00", Section.BACKUPS, 'Time of day of schedule "daily", such as "02:00"')
    backup_increments: int = count(
        0, Section.BACKUPS, "Increments that the schedule takes between two full backups", min=0, max=100
    )
    backup_rate: int = size(
        "0 B",
        Section.BACKUPS,
        "Bytes that a scheduled backup reads per second; 0 for no limit",
        min="0 B",
    )
    rehearse_backups: bool = flag(
        True, Section.BACKUPS, "Rehearse the restore of each scheduled backup at once"
    )
    prune_backups: bool = flag(True, Section.BACKUPS, "Remove scheduled backups that no rule keeps")
    keep_last_backups: int = count(7, Section.BACKUPS, "Newest backups that are kept", min=1, max=10_000)
    keep_daily_backups: int = count(
        7, Section.BACKUPS, "Days of which the newest backup is kept", min=0, max=10_000
    )
    keep_weekly_backups: int = count(
        5, Section.BACKUPS, "Weeks of which the newest backup is kept", min=0, max=10_000
    )
    keep_monthly_backups: int = count(
        12, Section.BACKUPS, "Months of which the newest backup is kept", min=0, max=10_000
    )

    enable_snapshots: bool = flag(False, Section.BACKUPS, "Take snapshots without being asked for")
    snapshot_interval: float = duration(
        "300 s", Section.BACKUPS, "Time between snapshots, where they are enabled", min="10 s"
    )
    keep_snapshots: int = count(
        24, Section.BACKUPS, "Newest scheduled snapshots that are kept", min=1, max=1_000
    )
    keep_snapshots_for: float = duration(
        "1 d", Section.BACKUPS, "Age at which a scheduled snapshot goes", min="1 min"
    )
    snapshot_space: int = size(
        "4 GiB", Section.BACKUPS, "Room that snapshots may take before the oldest go", min="1 MiB"
    )

    mirror_log_limit: int = size(
        "1 GiB",
        Section.MIRRORS,
        "Log that is kept for a mirror that does not take it; beyond that it gets a new copy",
        min="1 MiB",
    )
    mirror_timeout: float = duration(
        "10 s",
        Section.MIRRORS,
        "How long a commit waits for a synchronous mirror",
        min="10 ms",
        max="1 h",
    )
    mirror_loss_action: str = choice(
        "go_on",
        ("go_on", "wait"),
        Section.MIRRORS,
        "When a synchronous mirror does not answer: go on without it, or let each commit wait and say so",
    )
    mirror_fail_over: str = choice(
        "manual",
        ("manual", "automatic"),
        Section.MIRRORS,
        "When the disk of the database fails: ask, or let a mirror take over within 30 s",
    )

    max_memory_usage: int = size("1 GiB", Section.LIMITS, "Memory that the engine may use", min="64 MiB")
    max_file_handles: int = count(10_000, Section.LIMITS, "Files that may be open at once", min=64)
    max_concurrent_operations: int = count(1_000, Section.LIMITS, "Operations that may run at once", min=1)

    log_location: str = text(
        "", Section.LOG, "Directory of the log file of the program; empty for the platform's own"
    )
    segment_size: int = size("64 MiB", Section.LOG, "Size of a log segment", min="1 MiB", max="1 GiB")
    archive_log: bool = flag(
        False,
        Section.LOG,
        "Keep closed log segments, so that a backup can be restored to any moment after it",
    )
    archive_location: str = text(
        "", Section.LOG, "Directory that log segments are kept in; empty for archive/ in the database"
    )
    archive_wait_limit: int = size(
        "4 GiB",
        Section.LOG,
        "Log that waits for an archive that cannot be written to; beyond, it goes without a copy",
        min="16 MiB",
    )
    sync_mode: str = choice(
        "durable",
        ("durable", "interval", "off"),
        Section.LOG,
        "When a commit is on the disk: at once, within an interval, whenever the system likes",
    )
    sync_interval: float = duration(
        "100 ms",
        Section.LOG,
        'The interval of sync mode "interval": what a power failure may cost',
        min="1 ms",
        max="60 s",
    )
    log_buffer: int = size(
        "16 MiB", Section.LOG, "Recent log that is kept in memory", min="1 MiB", max="1 GiB"
    )
    snapshot_log_limit: int = size(
        "1 GiB",
        Section.LOG,
        "Log that is kept for one snapshot; beyond, its reader has to begin again",
        min="1 MiB",
    )
    transaction_log_limit: int = size(
        "8 GiB", Section.LOG, "Log that one transaction may hold back for its undo", min="1 MiB"
    )
    long_transaction_action: str = choice(
        "report",
        ("report", "abort"),
        Section.LOG,
        "What happens to a transaction beyond that limit: it is told of, or rolled back",
    )
    checkpoint_interval: float = duration("300 s", Section.LOG, "Time between checkpoints", min="1 s")
    checkpoint_log_volume: int = size(
        "1 GiB",
        Section.LOG,
        "Log between checkpoints, at most an eighth of the free disk; there may be twice as much of it",
        min="1 MiB",
    )

    page_size: int = size(
        "8 KiB",
        Section.STORAGE,
        "Page size of a new database: a power of two from 4 to 64 KiB",
        min="4 KiB",
        max="64 KiB",
        power_of_two=True,
    )
    cache_size: int = size("64 MiB", Section.STORAGE, "Memory for pages", min="512 KiB")
    image_every_changes: int = count(
        256, Section.STORAGE, "Changes of a page after which it goes into the log in full", min=1, max=60_000
    )
    lock_timeout: float = duration(
        "30 s", Section.STORAGE, "How long a transaction waits for a lock", min="1 ms"
    )
    deadlock_victim: str = choice(
        "youngest", ("youngest", "least_work"), Section.STORAGE, "Which transaction gives way in a deadlock"
    )

    enable_pager_alerts: bool = flag(True, Section.ALERTS, "Send critical alerts to the pager")
    critical_alert_channels: tuple[str, ...] = words(
        ("pagerduty", "slack"), Section.ALERTS, "Where critical alerts go"
    )
    enable_summary_alerts: bool = flag(True, Section.ALERTS, "Send a summary of lesser alerts")
    summary_alert_schedule: str = choice(
        "daily", ("hourly", "daily", "weekly"), Section.ALERTS, "When the summary is sent"
    )
    escalation_timeout: float = duration(
        "15 min", Section.ALERTS, "Time until an unanswered alert goes up a level", min="10 s"
    )
    max_escalation_level: int = count(3, Section.ALERTS, "The highest level of escalation", min=1, max=10)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """Read settings as they stand in the file, over the defaults.

        Raises `ConfigInvalid` that names every wrong value with its fix.
        """
        read, problems = _read(values)
        config = cls(**read)
        problems += config.problems()
        _refuse(problems, path)
        return config

    def changed(self, **values: Any) -> Self:
        """The same with other values, in the file's notation ("64 MiB") or as numbers."""
        read, problems = _read(values)
        config = replace(self, **read)
        _refuse(problems + config.problems(), "")
        return config

    def backup_folder_of(self, directory: Path, chosen: Path | None = None) -> Path:
        """Where the backups of the database in `directory` go: as set, else `chosen`, else beside it."""
        if self.backup_folder:
            return Path(self.backup_folder).expanduser().absolute()
        return chosen or directory.with_name(f"{directory.stem} backups")

    @property
    def archive_place(self) -> Path | None:
        """Where closed log goes, if it does not stay in the database."""
        return Path(self.archive_location).expanduser().absolute() if self.archive_location else None

    def log_places_of(self, directory: Path) -> tuple[str, ...]:
        """Where log of the database in `directory` is kept: in it, and where closed log goes."""
        return tuple(str(place) for place in (directory, self.archive_place) if place is not None)

    def problems(self) -> list[Problem]:
        """Settings that are right each by itself and wrong together."""
        found = []
        if self.base_retry_delay > self.max_retry_delay:
            fix = "Set it to at most max_retry_delay."
            found.append(Problem("base_retry_delay", "it is longer than max_retry_delay", fix))
        if self.recovery_stage_timeout > self.recovery_timeout:
            fix = "Set it to at most recovery_timeout."
            found.append(Problem("recovery_stage_timeout", "it is longer than recovery_timeout", fix))
        try:
            Hours.parse(self.scrub_hours)
        except ValueError as error:
            fix = 'Write "always", or hours of the day such as "22:00-06:00".'
            found.append(Problem("scrub_hours", str(error), fix))
        if self.health_check_timeout > self.health_check_interval:
            fix = "Set it to at most health_check_interval."
            found.append(Problem("health_check_timeout", "it is longer than health_check_interval", fix))
        if self.cache_size < 64 * self.page_size:
            fix = f"Set it to at least 64 pages: {64 * self.page_size} bytes."
            found.append(Problem("cache_size", "it has room for fewer than 64 pages", fix))
        if self.cache_size > self.max_memory_usage:
            fix = "Set it to at most max_memory_usage."
            found.append(Problem("cache_size", "it is larger than max_memory_usage", fix))
        if not _TIME_OF_DAY.fullmatch(self.backup_time):
            fix = 'Write hours and minutes, such as "02:00".'
            found.append(Problem("backup_time", f"{self.backup_time!r} is not a time of day", fix))
        return found


def settings() -> dict[str, Setting]:
    """Every setting by its name, in the order of the file."""
    declared = {field.name: field.metadata[KEY] for field in fields(Config)}
    order = list(Section)
    return dict(sorted(declared.items(), key=lambda item: order.index(item[1].section)))


def load(directory: Path) -> Config:
    """The settings of the database in `directory`: its file over the defaults.

    Raises `ConfigInvalid` that names every wrong value with its fix; a missing file means
    the defaults.
    """
    path = directory / FILE_NAME
    try:
        content = path.read_text("utf-8")
    except FileNotFoundError:
        return Config()
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8 text") from None
    except OSError as error:
        raise from_exception(error, "read") from error
    return Config.from_mapping(_parse(content, path).unwrap(), str(path))


def save(directory: Path, config: Config) -> None:
    """Write `config` into its file: values that differ from the default or stood there before.

    Comments and the order of an existing file are kept. The file is replaced in one step.
    """
    path = directory / FILE_NAME
    try:
        content = path.read_text("utf-8") if path.exists() else ""
        document = _parse(content, path)
        for name, setting in settings().items():
            _put(document, name, setting, getattr(config, name))
        write_atomically(path, tomlkit.dumps(document))
    except OSError as error:
        raise from_exception(error, "write") from error


def use_default(directory: Path, name: str) -> None:
    """Take the line of one setting out of the file, so that its default holds; the rest stays as it is.

    For a setting whose value cannot be used, and so cannot be loaded and saved. Raises `ConfigInvalid`
    where the file is no TOML, and what a file that cannot be written raises.
    """
    path = directory / FILE_NAME
    try:
        document = _parse(path.read_text("utf-8") if path.exists() else "", path)
        if name in document:
            del document[name]
            write_atomically(path, tomlkit.dumps(document))
    except OSError as error:
        raise from_exception(error, "write") from error


def _put(document: tomlkit.TOMLDocument, name: str, setting: Setting, value: Any) -> None:
    if name in document:
        if setting.read(name, document[name]) != value:
            document[name] = setting.show(value)
    elif value != setting.default:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment(f"{setting.help}."))
        document.add(name, tomlkit.item(setting.show(value)))


def _parse(content: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(content)
    except ParseError as error:
        raise _unreadable(path, f"line {error.line} is not valid TOML") from None


def _unreadable(path: Path, issue: str) -> ConfigInvalid:
    fix = "Correct it, or move the file away to return to the defaults."
    return ConfigInvalid(setting=path.name, issue=issue, fix=fix, path=str(path))


def _read(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    known = settings()
    read: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in values.items():
        if name not in known:
            problems.append(Problem(name, "there is no such setting", _suggest(name, known)))
        elif isinstance(result := known[name].read(name, value), Problem):
            problems.append(result)
        else:
            read[name] = result
    return read, problems


def _suggest(name: str, known: Mapping[str, Setting]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else "Remove it."


def _refuse(problems: list[Problem], path: str) -> None:
    if not problems:
        return
    first = problems[0]
    told = [f"{p.setting}: {p.issue}. {p.fix}" for p in problems]
    raise ConfigInvalid(setting=first.setting, issue=first.issue, fix=first.fix, path=path, problems=told)
