"""Moments that the slider of the time line stops at: commits, backups, moments with names, and now.

Plain values, without Qt. A stop that stands for many commits can be replaced by them, one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup
    from engine.backups.line import Commit, TimeLine, Touched


class StopKind(StrEnum):
    BACKUP = "backup"
    COMMIT = "commit"
    COMMITS = "commits"
    """Many of them: the stop is the end of the last."""
    NAMED = "named"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Stop:
    """One moment; what is not known of it is 0 or empty."""

    kind: StopKind
    lsn: int
    """Restored to here, a database holds everything up to this moment."""
    at: float
    name: str = ""
    """Of a moment with a name; of a backup its path."""
    note: str = ""
    txn: int = 0
    commits: int = 0
    bin: int = -1
    """The place of its bin on the line."""
    touched: Mapping[str, Touched] = field(default_factory=dict)
    is_whole: bool = True

    @property
    def key(self) -> tuple[str, int, str]:
        # Now is now, wherever the log ends meanwhile.
        return (str(self.kind), 0 if self.kind is StopKind.NOW else self.lsn, self.name)


@dataclass(frozen=True, slots=True)
class Gap:
    """A time from which no log is kept."""

    begin: float
    end: float
    is_damage: bool = False


class Moments:
    """The stops of one line, in order. Not for two threads."""

    def __init__(
        self, backups: Sequence[KeptBackup] = (), line: TimeLine | None = None, now: float = 0.0
    ) -> None:
        self.line = line
        self.now = max(now, 0.0 if line is None else line.at)
        self._commits: dict[int, tuple[Commit, ...]] = {}
        self._backups = tuple(backups)
        self.stops: tuple[Stop, ...] = ()
        self._begin: float | None = None
        self._sort()

    def show_backups(self, backups: Sequence[KeptBackup]) -> None:
        """These are there now; what is known of the log stays."""
        self._backups = tuple(backups)
        self._sort()

    def refine(self, place: int, commits: Sequence[Commit]) -> None:
        """The commits of a bin are known one by one."""
        self._commits[place] = tuple(commits)
        self._sort()

    def has_read(self, place: int) -> bool:
        """Whether the commits of a bin are known one by one."""
        return place in self._commits

    def begin(self) -> float:
        """The oldest moment that is shown."""
        return self.now if self._begin is None else self._begin

    def gaps(self) -> tuple[Gap, ...]:
        """Times since the oldest backup from which no log is kept."""
        if self.line is None:
            return ()
        oldest = min((kept.info.taken_at for kept in self._backups), default=None)
        found = []
        for place, stretch in enumerate(self.line.stretches):
            before = self.line.stretches[place - 1] if place else None
            begin = oldest if before is None else before.ended_at
            if begin is not None and begin < stretch.began_at:
                found.append(Gap(begin, stretch.began_at, before is not None and before.is_damaged))
        last = self.line.stretches[-1:]
        if last and last[0].is_damaged:
            found.append(Gap(last[0].ended_at, self.now, True))
        return tuple(found)

    def place_of(self, key: tuple[str, int, str]) -> int | None:
        return next((place for place, stop in enumerate(self.stops) if stop.key == key), None)

    def place_of_backup(self, path: str) -> int | None:
        wanted = (place for place, stop in enumerate(self.stops) if stop.kind is StopKind.BACKUP)
        return next((place for place in wanted if self.stops[place].name == path), None)

    def nearest(self, at: float) -> int | None:
        """The stop that is nearest in time."""
        distances = [abs(stop.at - at) for stop in self.stops]
        return None if not distances else min(range(len(distances)), key=distances.__getitem__)

    def rows_at(self, stop: Stop) -> Mapping[str, int] | None:
        """The numbers of rows then, as far as the log tells: nothing has to be restored for it."""
        if self.line is None:
            return None
        if stop.kind is StopKind.NOW:
            return {**self.line.rows.trees, **self.line.rows.tables}
        # Bins are in order, and so are their ends, in one stretch.
        place = bisect_left([bin_.lsn for bin_ in self.line.bins], stop.lsn)
        if place < len(self.line.bins) and self.line.bins[place].lsn > stop.lsn:
            inside = self._commits.get(place)
            bin_ = self.line.bins[place]
            if bin_.from_lsn < stop.lsn:
                return None if inside is None else self._rows_inside(bin_.lsn, inside, stop.lsn)
        return self.line.rows_at(stop.lsn)

    def rows_now(self) -> Mapping[str, int]:
        return {} if self.line is None else {**self.line.rows.trees, **self.line.rows.tables}

    def _rows_inside(self, end: int, commits: Iterable[Commit], lsn: int) -> Mapping[str, int] | None:
        assert self.line is not None
        rows = self.line.rows_at(end)
        if rows is None:
            return None
        counts = dict(rows)
        for commit in commits:
            if commit.lsn > lsn:
                for name, delta in commit.rows.items():
                    counts[name] = counts.get(name, 0) - delta
        return counts

    def _sort(self) -> None:
        moments = [kept.info.taken_at for kept in self._backups]
        if self.line is not None and self.line.stretches:
            moments.append(self.line.stretches[0].began_at)
        self._begin = min(moments, default=None)
        stops = [
            Stop(StopKind.BACKUP, kept.info.end_lsn, kept.info.taken_at, kept.info.path)
            for kept in self._backups
        ]
        if self.line is not None:
            for place, bin_ in enumerate(self.line.bins):
                if bin_.is_reachable:
                    stops += self._stops_of(place)
            named = [point for point in self.line.named if self.line.can_reach(point.lsn)]
            stops += [Stop(StopKind.NAMED, p.lsn, p.at, p.name, p.note) for p in named]
            stops.append(Stop(StopKind.NOW, self.line.end_lsn, self.now))
        self.stops = tuple(sorted(stops, key=lambda stop: (stop.lsn, stop.at, stop.kind == StopKind.NOW)))

    def _stops_of(self, place: int) -> list[Stop]:
        assert self.line is not None
        bin_ = self.line.bins[place]
        kind = StopKind.COMMIT if bin_.commits == 1 else StopKind.COMMITS
        whole = Stop(kind, bin_.lsn, bin_.last_at, commits=bin_.commits, bin=place)
        inside = self._commits.get(place)
        if not inside:
            return [whole]
        stops = [
            Stop(
                StopKind.COMMIT,
                commit.lsn,
                commit.at,
                txn=commit.txn,
                commits=1,
                bin=place,
                touched=commit.touched,
                is_whole=commit.is_whole,
            )
            for commit in inside
        ]
        # Of very many commits only the first are told: the end of the bin stays a stop.
        rest = bin_.commits - len(inside)
        return stops if stops[-1].lsn == whole.lsn else [*stops, replace(whole, commits=rest)]
