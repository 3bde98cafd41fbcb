"""Named moments: places in the log that somebody wanted to be able to come back to.

They are kept in `points.json` in the database directory, and a copy of it goes to the folder of its
backups and to the archive of its log, so that they outlive the database. Each copy names the database.
A copy that cannot be read is left alone and left out: the others tell the same.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidArgument, from_exception
from engine.files import write_atomically

if TYPE_CHECKING:
    from engine.database import Database

FILE_NAME = "points.json"
_LONGEST_NAME = 80
_MOST = 500
_LARGEST_BYTES = 1 << 20
_WRONG = (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NamedPoint:
    """A moment with a name."""

    name: str
    lsn: int
    """Everything that was committed before this is in it, and nothing later."""
    at: float
    """Unix seconds."""
    note: str = ""


class NamedPoints:
    """The named moments of one open database. Any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()

    def all(self) -> tuple[NamedPoint, ...]:
        """Those there are, oldest first."""
        return tuple(sorted(self._read().values(), key=lambda point: (point.lsn, point.name)))

    def get(self, name: str) -> NamedPoint:
        """One of them; raises `InvalidArgument` (-2) where there is none of that name."""
        return _wanted(self._read(), name)

    def mark(self, name: str, note: str = "", *, lsn: int = 0, at: float = 0.0) -> NamedPoint:
        """Give this moment a name: what is committed now can be come back to by it.

        With `lsn` and `at` it is a moment of the past that gets it: an end of a commit, and its time.
        Durable on return. Raises `InvalidArgument` (-2) for a name that is taken or none, `IoError` (-10).
        """
        name = " ".join(name.split())
        if not name or len(name) > _LONGEST_NAME:
            raise InvalidArgument(argument="the name", issue=f"it must have 1 to {_LONGEST_NAME} characters")
        with self._lock:
            known = self._read()
            if name in known:
                raise InvalidArgument(argument="the name", issue=f"there is a moment named {name!r} already")
            if len(known) >= _MOST:
                raise InvalidArgument(
                    argument="the name", issue=f"{_MOST} moments have names; remove some first"
                )
            self._database.flush()
            end = self._database.status().log.durable_lsn
            if not 0 <= lsn <= end:
                raise InvalidArgument(argument="the LSN", issue=f"the log ends at {end}")
            point = NamedPoint(name, lsn or end, at or time.time(), note.strip())
            self._keep({**known, name: point})
        self._database.events.publish("moment_marked", name=name, lsn=point.lsn)
        return point

    def remove(self, name: str) -> NamedPoint:
        """Forget a name; the moment itself can still be restored by its time or LSN."""
        with self._lock:
            known = self._read()
            point = _wanted(known, name)
            self._keep({key: value for key, value in known.items() if key != point.name})
        self._database.events.publish("moment_removed", name=point.name)
        return point

    def spread(self, folder: Path) -> None:
        """Put a copy into a folder of backups, where it is missing or older and one can be written."""
        with self._lock, suppress(*_WRONG):
            text = (self._database.path / FILE_NAME).read_text("utf-8")
            copy = folder / self._copy_name()
            if not copy.is_file() or copy.read_text("utf-8") != text:
                write_atomically(copy, text)

    def _identity(self) -> str:
        return self._database.keeper.identity()

    def _read(self) -> dict[str, NamedPoint]:
        return _read(self._database.path, self._identity()) or {}

    def _keep(self, points: Mapping[str, NamedPoint]) -> None:
        content = {"database": self._identity(), "points": [asdict(point) for point in points.values()]}
        text = json.dumps(content, indent=1)
        try:
            write_atomically(self._database.path / FILE_NAME, text)
        except OSError as error:
            raise from_exception(error, "keep the named moments in") from error
        for folder in self._copies():
            # A disk that is not there now gets its copy with the next change.
            with suppress(OSError):
                if folder.is_dir():
                    write_atomically(folder / self._copy_name(), text)

    def _copy_name(self) -> str:
        return f"{self._identity()}.{FILE_NAME}"

    def _copies(self) -> list[Path]:
        archive = self._database.config.archive_place
        return [self._database.keeper.folder, *filter(None, [archive])]


def named_in(places: Iterable[str | Path], database: str) -> dict[str, NamedPoint]:
    """The named moments of the database of this identity that are kept in some directories."""
    found: dict[str, NamedPoint] = {}
    for place in reversed([Path(place) for place in places]):
        found.update(_read(place, database) or {})
    return found


def _wanted(points: Mapping[str, NamedPoint], name: str) -> NamedPoint:
    point = points.get(" ".join(name.split()))
    if point is None:
        known = ", ".join(sorted(points)[:10]) or "none"
        raise InvalidArgument(argument="the name", issue=f"no moment is named {name!r}; there are: {known}")
    return point


def point_named(places: Iterable[str | Path], database: str, name: str) -> NamedPoint:
    """The moment of that name; raises `InvalidArgument` (-2) where the places know none."""
    return _wanted(named_in(places, database), name)


def _read(place: Path, database: str) -> dict[str, NamedPoint] | None:
    for path in (place / FILE_NAME, place / f"{database}.{FILE_NAME}"):
        try:
            with path.open("rb") as file:
                raw = json.loads(file.read(_LARGEST_BYTES).decode("utf-8"))
            if raw["database"] == database:
                return {point.name: point for point in map(_point, raw["points"])}
        except FileNotFoundError:
            continue
        except _WRONG:
            _log.warning("%s could not be read; the named moments in it are left out", path)
    return None


def _point(raw: Any) -> NamedPoint:
    point = NamedPoint(str(raw["name"]), int(raw["lsn"]), float(raw["at"]), str(raw.get("note") or ""))
    if not point.name or point.lsn <= 0 or not math.isfinite(point.at):
        raise ValueError("not a moment")
    return point
