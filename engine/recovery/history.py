"""The account of every recovery of a database, kept in its directory: one JSON object a line.

`recoveries.jsonl` holds at least the newest `KEPT` recoveries, oldest first, failed and cancelled ones
too; a rehearsal leaves no trace. It only tells: no recovery reads it. A line that cannot be read is
skipped and counted. Lines are only ever added, in one write each, until there are twice as many as are
kept; then the older half goes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import sync_directory, write_atomically
from engine.recovery.report import RecoveryReport
from engine.recovery.state import unwritable

FILE_NAME = "recoveries.jsonl"
KEPT = 100

OBJECTIVE_S = 120.0
"""A database that crashed is to be recovered within this time."""

_LARGEST_FILE = 8 << 20
"""Far beyond what `KEPT` recoveries take: what is larger was not written here."""
_SHOWN_LOSERS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One recovery that has ended."""

    at: float
    """When it ended, in Unix seconds."""
    fallback: str
    report: Mapping[str, Any]
    """The shape of `RecoveryReport.to_json`; of the unfinished transactions at most 20."""

    @property
    def outcome(self) -> str:
        return str(self.report.get("outcome") or "")

    @property
    def seconds(self) -> float:
        return float(self.report.get("seconds") or 0.0)

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.report.get("stages") or ())


@dataclass(frozen=True, slots=True)
class Figures:
    """What the recoveries that are kept come to, under the names that a monitor knows them by."""

    recovery_count_total: int
    recovery_duration_seconds: float
    """The mean of those that succeeded; 0 without one."""
    recovery_success_rate: float | None
    """0 to 1, of those that nobody cancelled; None without one."""
    rto_compliance_rate: float | None
    """0 to 1, as `recovery_success_rate`: the share that succeeded within `OBJECTIVE_S`."""
    rollback_count_total: int
    """Recoveries that were taken back."""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the recoveries of a database, the newest first."""

    entries: tuple[Entry, ...] = ()
    skipped: int = 0
    """Lines that could not be read."""

    @property
    def figures(self) -> Figures:
        """Of all entries together."""
        tried = [entry for entry in self.entries if entry.outcome != "cancelled"]
        took = [entry.seconds for entry in tried if entry.report.get("recovered")]
        in_time = sum(seconds <= OBJECTIVE_S for seconds in took)
        return Figures(
            recovery_count_total=len(self.entries),
            recovery_duration_seconds=round(sum(took) / len(took), 6) if took else 0.0,
            recovery_success_rate=len(took) / len(tried) if tried else None,
            rto_compliance_rate=in_time / len(tried) if tried else None,
            rollback_count_total=sum(bool(entry.report.get("rolled_back")) for entry in self.entries),
        )

    @property
    def note(self) -> str:
        """A word on what could not be read; empty where all could."""
        if not self.skipped:
            return ""
        noun = "line" if self.skipped == 1 else "lines"
        return f"{self.skipped} damaged {noun} of {FILE_NAME} could not be read and were skipped."


def read(directory: Path | str) -> History:
    """The recoveries of a database; none where none is noted, or the file cannot be read. Never raises."""
    entries, skipped = _read(Path(directory) / FILE_NAME)
    return History(tuple(reversed(entries)), skipped)


def append(directory: Path, report: RecoveryReport, *, at: float, fallback: str = "") -> None:
    """Note a recovery that has ended, durably. Raises what `state.unwritable` gives."""
    told = report.to_json()
    losers = told["analysis"].get("losers")
    if losers is not None:
        told["analysis"] = {**told["analysis"], "losers": list(losers)[:_SHOWN_LOSERS]}
    file = directory / FILE_NAME
    line = _line(Entry(at, fallback, told))
    try:
        entries, _ = _read(file)
        if len(entries) >= 2 * KEPT - 1 or (file.exists() and file.stat().st_size > _LARGEST_FILE):
            write_atomically(file, b"".join(map(_line, entries[-(KEPT - 1) :])) + line)
            return
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as kept:
            # A line that was cut off when the power failed must not take this one with it.
            size = kept.seek(0, os.SEEK_END)
            is_cut = size > 0 and (kept.seek(size - 1), kept.read(1))[1] != b"\n"
            kept.write((b"\n" if is_cut else b"") + line)
            os.fsync(kept.fileno())
        sync_directory(directory)
    except OSError as error:
        raise unwritable(file, error) from error


def _line(entry: Entry) -> bytes:
    value = {"at": entry.at, "fallback": entry.fallback, "report": entry.report}
    return json.dumps(value, default=str).encode() + b"\n"


def _read(file: Path) -> tuple[list[Entry], int]:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            return [], 1
        lines = file.read_bytes().splitlines()
    except OSError:
        return [], 0
    found = [_entry(line) for line in lines if line.strip()]
    entries = [entry for entry in found if entry is not None]
    return entries, len(found) - len(entries)


def _entry(line: bytes) -> Entry | None:
    try:
        value = json.loads(line)
        report = value["report"]
        if not isinstance(report, dict) or not all(isinstance(stage, dict) for stage in report["stages"]):
            return None
        entry = Entry(float(value["at"]), str(value["fallback"]), report)
        return entry if math.isfinite(entry.at) and math.isfinite(entry.seconds) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
