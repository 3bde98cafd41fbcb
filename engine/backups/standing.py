"""What is remembered of a database's backups, in `backups.json` inside its directory.

Backups lie elsewhere, on a disk that may not be there; this remembers where, and how new they were
when they were last seen. It is replaced in one step. A damaged one is left behind with a word in
the log: the folders tell the same again as soon as they are looked at.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.backups.history import KeptBackup
from engine.errors import HoldfastError, by_code
from engine.files import write_atomically

FILE_NAME = "backups.json"
_MOST_FOLDERS = 8
_LARGEST_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Seen:
    """The newest backups of one folder, when it was last looked at. Unix seconds; 0 for none."""

    taken_at: float = 0.0
    proved_at: float = 0.0
    """Never later than the clock was when they were seen first: one that was set back since would count for
    as long as it was wrong."""
    taken_told: float = 0.0
    proved_told: float = 0.0
    """What the backups say themselves."""


@dataclass(slots=True)
class Memory:
    """All that is remembered. Not for two threads at once."""

    since: float = 0.0
    """Since when the database could have been backed up."""
    folders: dict[str, Seen] = field(default_factory=dict)
    """By path, the one used last at the end."""
    scheduled_since: float = 0.0
    attempted_at: float = 0.0
    """When the schedule last began a backup; 0 for never."""
    failures: int = 0
    """Of the schedule, in a row."""
    failure: dict[str, Any] | None = None
    """The last of them: code and fields."""
    archive_gap_lsn: int = 0
    """Up to here log is missing in the archive, and no backup is newer; 0 for none."""

    def note(self, folder: Path, backups: tuple[KeptBackup, ...], now: float) -> None:
        """A folder was looked at, at the time `now`, and holds these backups, newest first."""
        if any(backup.info.end_lsn >= self.archive_gap_lsn for backup in backups):
            # Every moment after it can be restored again.
            self.archive_gap_lsn = 0
        name = str(folder)
        known = self.folders.pop(name, None)
        if known is None and not backups:
            return
        taken = next((backup.info.taken_at for backup in backups), 0.0)
        proved = next((backup.info.taken_at for backup in backups if backup.is_proved), 0.0)
        known = known or Seen()
        self.folders[name] = Seen(
            _counted_from(taken, now, known.taken_told, known.taken_at),
            _counted_from(proved, now, known.proved_told, known.proved_at),
            taken,
            proved,
        )
        while len(self.folders) > _MOST_FOLDERS:
            del self.folders[next(iter(self.folders))]

    def note_failure(self, error: HoldfastError) -> None:
        self.failures += 1
        fields = {name: value for name, value in error.fields.items() if isinstance(value, str | int | float)}
        self.failure = {"code": error.code, "fields": fields}

    def note_success(self) -> None:
        self.failures, self.failure = 0, None

    def error(self) -> HoldfastError | None:
        """The last failure as the error that it was."""
        if self.failure is None:
            return None
        kind = by_code().get(self.failure["code"])
        return None if kind is None else kind(**self.failure["fields"])


def read_memory(directory: Path) -> Memory:
    """What is remembered; a fresh memory where nothing is, or where it cannot be read."""
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        return _read(json.loads(content.decode("utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        _log.warning("%s could not be read; it is made up for from the folders of backups", path)
    return Memory(since=time.time())


def write_memory(directory: Path, memory: Memory) -> None:
    """Keep it. A database that cannot be written to remembers nothing, which the next look makes up for."""
    with suppress(OSError):
        write_atomically(directory / FILE_NAME, json.dumps(asdict(memory), indent=1))


def _counted_from(told: float, now: float, told_before: float, before: float) -> float:
    """The moment from which a backup's age is counted."""
    if told <= now:
        return told
    return min(before, now) if told == told_before else now


def _seen(raw: Mapping[str, Any]) -> Seen:
    taken, proved = _moment(raw["taken_at"]), _moment(raw["proved_at"])
    return Seen(taken, proved, _moment(raw.get("taken_told", taken)), _moment(raw.get("proved_told", proved)))


def _read(raw: Mapping[str, Any]) -> Memory:
    folders = {str(name): _seen(seen) for name, seen in raw["folders"].items()}
    failure = raw["failure"]
    if failure is not None:
        failure = {"code": int(failure["code"]), "fields": dict(failure["fields"])}
    return Memory(
        _moment(raw["since"]),
        folders,
        _moment(raw["scheduled_since"]),
        _moment(raw["attempted_at"]),
        int(raw["failures"]),
        failure,
        int(raw.get("archive_gap_lsn") or 0),
    )


def _moment(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a time")
    return number
