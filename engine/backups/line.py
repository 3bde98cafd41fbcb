"""The time line of a database: its backups, the log that is kept, its commits, checkpoints, named moments.

Any commit after a backup, with no gap of the log in between, can be restored to. A long line is told in
bins of commits; those of one bin can be read one by one (`commits_task`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.history import KeptBackup, RowCounts, count_kept
from engine.backups.named import NamedPoint
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

MOST_BINS = 2000
MOST_COMMITS = 2000
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Stretch:
    """Log without a gap."""

    from_lsn: int
    end_lsn: int
    began_at: float
    ended_at: float
    """Of the last commit in it; where none was read, as `began_at`. Unix seconds."""
    is_damaged: bool = False
    """There is more after its end, which cannot be read."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Commits that follow one another: often just one."""

    stretch: int
    """The place of its stretch."""
    from_lsn: int
    lsn: int
    """The end of the last of them: restored to here, a database holds them all."""
    commits: int
    first_at: float
    last_at: float
    rows: Mapping[str, int]
    """By how much they changed the number of rows, for each table and tree that there still is."""
    is_reachable: bool = True
    """There is a backup before it, in the same stretch."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Rows of one table that a transaction inserted, updated and deleted."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit."""

    lsn: int
    """Its end: restored to here, a database holds it, and nothing later."""
    txn: int
    at: float
    rows: Mapping[str, int]
    touched: Mapping[str, Touched]
    is_whole: bool
    """False where changes from before what was read are not counted in `touched`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    lsn: int
    at: float


@dataclass(frozen=True, slots=True)
class TimeLine:
    """All of it, at one moment. Every list is in order of the log."""

    at: float
    end_lsn: int
    """Where the log ended."""
    backups: tuple[KeptBackup, ...]
    """Oldest first."""
    stretches: tuple[Stretch, ...] = ()
    bins: tuple[Bin, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    named: tuple[NamedPoint, ...] = ()
    rows: RowCounts = field(default_factory=RowCounts)
    """Of each table and tree, now."""
    made: Mapping[str, int] = field(default_factory=dict)
    """Where those were made that came within the log that was read."""

    @property
    def begins_at(self) -> float:
        """The oldest moment on it."""
        moments = [kept.info.taken_at for kept in self.backups[:1]]
        moments += [stretch.began_at for stretch in self.stretches[:1]]
        return min(moments, default=self.at)

    def backup_before(self, lsn: int) -> KeptBackup | None:
        """The newest backup that a restore to `lsn` can begin with; None where none can."""
        before = [kept for kept in self.backups if kept.info.end_lsn <= lsn and kept.setback is None]
        for kept in sorted(before, key=lambda kept: kept.info.end_lsn, reverse=True):
            end = kept.info.end_lsn
            if end == lsn or any(s.from_lsn <= end and lsn <= s.end_lsn for s in self.stretches):
                return kept
        return None

    def can_reach(self, lsn: int) -> bool:
        return self.backup_before(lsn) is not None

    def rows_at(self, lsn: int) -> Mapping[str, int] | None:
        """The numbers of rows at the end of a bin, or at the end of a backup; None where a gap hides them.

        Only of what was there then and is there now: what was dropped since is not known by name.
        """
        last = len(self.stretches) - 1
        later = [bin_ for bin_ in self.bins if bin_.lsn > lsn]
        if last < 0 or not self.stretches[last].from_lsn <= lsn or self.stretches[last].is_damaged:
            return None
        if any(bin_.stretch != last for bin_ in later):
            return None
        counts = {**self.rows.trees, **self.rows.tables}
        for bin_ in later:
            _take_away(counts, bin_.rows)
        return {name: rows for name, rows in counts.items() if self.made.get(name, 0) < lsn}


def rows_before(counts: Mapping[str, int], later: Iterable[Commit]) -> Mapping[str, int]:
    """The numbers of rows before some commits, from those after them."""
    before = dict(counts)
    for commit in later:
        _take_away(before, commit.rows)
    return before


def _take_away(counts: dict[str, int], rows: Mapping[str, int]) -> None:
    for name, delta in rows.items():
        if name in counts:
            counts[name] -= delta


def time_line_task(database: Database, folder: Path | None = None, most: int = MOST_BINS) -> Task[TimeLine]:
    """Read the time line: headers of the log's segments, and the log from the oldest backup on.

    Start the task, or run it. `folder` holds the backups; else it is the database's own. Memory is
    bounded by `most` bins. Raises `IoError` (-10) where a folder is there and cannot be read.
    """

    def work(task: Task[TimeLine]) -> TimeLine:
        backups = tuple(sorted(database.keeper.backups(folder), key=lambda kept: kept.info.end_lsn))
        starts = sorted({kept.info.end_lsn for kept in backups if kept.info.end_lsn > 0})
        job = bridge.Job()
        task.use(job)
        raw, rows = _read(database, backups, starts, most, job)
        names = _names(database)
        stretches = tuple(_stretch(place, run, raw["bins"]) for place, run in enumerate(raw["runs"]))
        starts_in = [_first_end(stretch, backups) for stretch in stretches]
        return TimeLine(
            time.time(),
            int(raw["end"]),
            backups,
            stretches,
            tuple(_bin(bin_, names, starts_in[bin_["run"]]) for bin_ in raw["bins"]),
            tuple(Checkpoint(lsn, at) for lsn, at in raw["checkpoints"]),
            tuple(point for point in database.points.all() if point.lsn <= raw["end"]),
            rows,
            {names[tree]: lsn for tree, lsn in raw["made"] if tree in names},
        )

    return Task("Read the time line", work)


def commits_task(database: Database, bin_: Bin, most: int = MOST_COMMITS) -> Task[tuple[Commit, ...]]:
    """The commits of a bin, one by one, with the rows that each of them touched.

    Start the task, or run it. Of more than `most`, the first ones. Raises `WalCorrupted` (-71) where
    the log went meanwhile.
    """

    def work(task: Task[tuple[Commit, ...]]) -> tuple[Commit, ...]:
        job = bridge.Job()
        task.use(job)
        logs = logs_of(database, database.keeper.backups())
        found = database.store.log_commits(logs, bin_.from_lsn, bin_.lsn, most, job)
        names = _names(database)
        return tuple(_commit(raw, names) for raw in found)

    return Task("Read the commits", work)


def logs_of(database: Database, backups: Iterable[KeptBackup]) -> list[str]:
    """Where log of a database is kept: in itself, in its archive, and where its backups say."""
    noted = [log for kept in backups for log in kept.info.logs]
    return [*dict.fromkeys((*database.config.log_places_of(database.path), *noted))]


def _read(
    database: Database, backups: Iterable[KeptBackup], starts: list[int], most: int, job: Any
) -> tuple[dict[str, Any], RowCounts]:
    """The log and the numbers of rows, of one moment where there is one."""
    logs = logs_of(database, backups)
    for _ in range(_TRIES):
        before = database.status().log.last_lsn
        rows = count_kept(database)
        raw = database.store.log_line(logs, starts, most, job)
        if database.status().log.last_lsn == before:
            break
    return raw, rows


def _names(database: Database) -> dict[int, str]:
    """Names by number; a tree that has the name of a table is left out."""
    found = database.store.tree_names()
    tables = {name for _, name, is_table in found if is_table}
    return {number: name for number, name, is_table in found if is_table or name not in tables}


def _named(counts: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, Any]:
    return {names[number]: value for number, value in counts.items() if number in names}


def _stretch(place: int, run: Mapping[str, Any], bins: Iterable[Mapping[str, Any]]) -> Stretch:
    last = max((bin_["last_at"] for bin_ in bins if bin_["run"] == place), default=0.0)
    return Stretch(
        int(run["from"]), int(run["end"]), run["began_at"], max(last, run["began_at"]), bool(run["broken"])
    )


def _first_end(stretch: Stretch, backups: Iterable[KeptBackup]) -> int | None:
    """The end of the oldest backup that ends within a stretch, and could be restored."""
    ends = [kept.info.end_lsn for kept in backups if kept.setback is None]
    return min((end for end in ends if stretch.from_lsn <= end <= stretch.end_lsn), default=None)


def _bin(raw: Mapping[str, Any], names: Mapping[int, str], start: int | None) -> Bin:
    return Bin(
        raw["run"],
        raw["from"],
        raw["end"],
        raw["commits"],
        raw["first_at"],
        raw["last_at"],
        _named(raw["rows"], names),
        start is not None and start <= raw["end"],
    )


def _commit(raw: Mapping[str, Any], names: Mapping[int, str]) -> Commit:
    touched = {name: Touched(*figures) for name, figures in _named(raw["touched"], names).items()}
    return Commit(raw["end"], raw["txn"], raw["at"], _named(raw["rows"], names), touched, raw["whole"])
