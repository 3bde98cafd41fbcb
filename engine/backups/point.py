"""Restoring to a point: an LSN, a time, a transaction, or the end of the log that is kept.

The newest backup before the point is rebuilt in a new directory, the log that is kept after it is
rolled forward up to just there, and what was in flight at that moment is undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from engine import bridge
from engine.backups.backup import list_backups, newest
from engine.backups.history import kept_backups
from engine.backups.keys import BackupKey, key_of, pair_of
from engine.backups.named import point_named
from engine.backups.reading import being_read
from engine.backups.restore import RestoreResult, rebuild
from engine.errors import InvalidArgument
from engine.tasks import Task


@dataclass(frozen=True, slots=True)
class Point:
    """Where a restored database is to end."""

    kind: Literal["backup", "end", "lsn", "time", "transaction"]
    value: int = 0
    """An LSN, a transaction, or microseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A point as it was found in the log."""

    backup: Path
    """The backup that it begins with."""
    backup_lsn: int
    """The end of that backup."""
    lsn: int
    commits: int
    """Commits after the backup, up to the point."""
    log_bytes: int
    committed_at: float | None
    """The time of the last of them, Unix seconds."""
    is_end: bool
    """The kept log ends there."""


def at_lsn(lsn: int) -> Point:
    return Point("lsn", _natural("the LSN", lsn))


def at_transaction(number: int) -> Point:
    return Point("transaction", _natural("the transaction", number))


def at_time(moment: str | float | datetime) -> Point:
    """A moment: Unix seconds, or a date as ISO 8601 writes it; one without a zone is local time."""
    try:
        if isinstance(moment, str):
            moment = _read_moment(moment)
        seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
        if not math.isfinite(seconds):
            raise ValueError
        return Point("time", round(seconds * 1e6))
    except (ValueError, OverflowError):
        issue = 'it is no moment; write "2026-05-01 14:30:00" or seconds since 1970'
        raise InvalidArgument(argument="the time", issue=issue) from None


def at_name(name: str, source: str | Path, logs: Iterable[str | Path] = ()) -> Point:
    """The moment that was given this name; raises `InvalidArgument` (-2) where nobody has heard of it.

    It is looked for in the folder of backups `source`, where the log after them is kept, and in `logs`.
    """
    chain = Path(source).expanduser().absolute()
    found = kept_backups(chain if list_backups(chain) else chain.parent)
    places = [*(Path(log).expanduser().absolute() for log in logs), *map(Path, _noted_logs(chain))]
    database = next((kept.database for kept in found if kept.database), "")
    return at_lsn(point_named(places, database, name).lsn)


AT_BACKUP = Point("backup")
"""The end of the newest backup: no log is rolled forward."""
AT_END = Point("end")


def _natural(what: str, number: int) -> int:
    if not 0 < number < 1 << 62:
        raise InvalidArgument(argument=what, issue="it must be a number above 0")
    return number


def _read_moment(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        return datetime.fromisoformat(text.strip())


def preview_task(
    source: str | Path, point: Point, logs: Iterable[str | Path] = (), *, key: BackupKey | None = None
) -> Task[Reached]:
    """Say where a point lies and what a restore would begin with; nothing is written.

    `logs` are databases or archives to look for the log in, before the places noted with the
    backups. Raises `PointNotReached` (-91), which names the gap, and `BackupDamaged` (-62).
    """
    chain = Path(source).expanduser().absolute()

    def work(task: Task[Reached]) -> Reached:
        return _reached(_restore_point(chain, None, point, logs, task, key))

    return Task("Look for the point", work)


def restore_point_task(
    source: str | Path,
    target: str | Path,
    point: Point,
    logs: Iterable[str | Path] = (),
    *,
    key: BackupKey | None = None,
) -> Task[tuple[RestoreResult, Reached]]:
    """Rebuild the database as it was at a point, in the missing or empty directory `target`.

    Start the task, or run it. As `restore_task`, and `PointNotReached` (-91) where the backups and
    the kept log do not reach the point; nothing is written then.
    """
    place = Path(target).expanduser().absolute()
    chain = Path(source).expanduser().absolute()

    def work(task: Task[tuple[RestoreResult, Reached]]) -> tuple[RestoreResult, Reached]:
        found: list[Reached] = []

        def copy() -> tuple[Path, dict[str, Any]]:
            done = _restore_point(chain, place, point, logs, task, key)
            found.append(_reached(done))
            return found[0].backup, {**done, "end_lsn": done["lsn"]}

        return rebuild(place, task, copy), found[0]

    return Task(f"Restore to {place.name}", work)


def _restore_point(
    chain: Path,
    place: Path | None,
    point: Point,
    logs: Iterable[str | Path],
    task: Task[Any],
    key: BackupKey | None,
) -> dict[str, Any]:
    job = bridge.Job()
    task.use(job)
    given = [str(Path(log).expanduser().absolute()) for log in logs]
    target = None if place is None else str(place)
    with being_read(newest(chain).parent):
        return bridge.restore_point(
            str(chain),
            target,
            point.kind,
            point.value,
            [*given, *_noted_logs(chain)],
            job,
            key=pair_of(key_of(chain, key)),
        )


def _noted_logs(chain: Path) -> list[str]:
    """Where the log after these backups is kept, as it was noted when they were taken."""
    folder = chain if list_backups(chain) else chain.parent
    places = [log for info in list_backups(folder) for log in info.logs]
    return [*dict.fromkeys(places), str(folder)]


def _reached(done: dict[str, Any]) -> Reached:
    return Reached(
        backup=Path(done["backup"]),
        backup_lsn=int(done["end_lsn"]),
        lsn=int(done["lsn"]),
        commits=int(done["commits"]),
        log_bytes=int(done["log_bytes"]),
        committed_at=float(done["committed_at"]) or None,
        is_end=bool(done["is_end"]),
    )
