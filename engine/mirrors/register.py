"""Which mirrors a database has, noted where the person's other state is: for the day its disk is gone.

The database itself knows its mirrors, and is no help once it cannot be read. So whoever opens it here
notes them, and a look beside it finds those that lie there. Each directory is asked what it is: only a
mirror of that very place, or one that has taken it over, counts. A note that cannot be read or written
costs the offer, never the work.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from engine import bridge
from engine.errors import HoldfastError
from engine.files import write_atomically
from engine.mirrors.outlook import outlook
from engine.types import MirrorOutlook

_MOST_LOOKED_AT = 500
"""Directories beside a lost database that are looked at."""
_ANSWER_S = 5.0
"""A share that does not answer is asked no longer than this."""

_log = logging.getLogger(__name__)
_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Heir:
    """A directory that can take the place of a database that cannot be opened, or has done so."""

    path: Path
    outlook: MirrorOutlook | None
    """What a fail over to it would lose; None where it cannot take over, or has done so."""
    has_taken_over: bool = False
    """It is the database already: it only has to be opened."""
    reason: str = ""
    """Why it cannot take over."""

    @property
    def is_able(self) -> bool:
        """Whether there is something to be done with it."""
        return self.outlook is not None or self.has_taken_over


def note(database: Path, mirrors: Sequence[str | Path]) -> None:
    """Note all mirrors of a database; writes only where that is news."""
    names = sorted(str(mirror) for mirror in mirrors)
    with _turn:
        known = _read()
        if known.get(str(database), []) == names:
            return
        known[str(database)] = names
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            write_atomically(_file(), json.dumps({name: value for name, value in known.items() if value}))
        except OSError as error:
            _log.warning("the mirrors of %s could not be noted: %s", database, error)


def heirs(database: Path) -> tuple[Heir, ...]:
    """What can take the place of `database`, the best first; changes nothing. Takes some seconds at most."""
    found = [heir for place in _places(database) if (heir := _asked(place, database)) is not None]

    def order(heir: Heir) -> tuple[bool, bool, int]:
        return (not heir.has_taken_over, not heir.is_able, -heir.outlook.end_lsn if heir.outlook else 0)

    return tuple(sorted(found, key=order))


def _places(database: Path) -> Iterator[Path]:
    noted = [Path(name) for name in _read().get(str(database), [])]
    yield from noted
    try:
        beside = sorted(item for item in database.parent.iterdir() if item.is_dir())
    except OSError:
        return
    for place in beside[:_MOST_LOOKED_AT]:
        if place != database and place not in noted and (place / "standing").is_file():
            yield place


def _asked(place: Path, database: Path) -> Heir | None:
    """What a directory says, in a thread of its own: its disk may not answer."""
    answer: list[Heir | None] = []
    asking = threading.Thread(
        target=lambda: answer.append(_heir(place, database)), name="holdfast-mirror-ask", daemon=True
    )
    asking.start()
    asking.join(_ANSWER_S)
    return answer[0] if answer else Heir(place, None, reason="its disk does not answer")


def _heir(place: Path, database: Path) -> Heir | None:
    try:
        says = bridge.mirror_standing(str(place))
        if says is None or says["other"] != str(database):
            return None
        if says["role"] == "primary":
            return Heir(place, None, has_taken_over=True)
        if says["role"] not in ("mirror", "copying"):
            return None
        return Heir(place, outlook(place, database))
    except HoldfastError as error:
        return Heir(place, None, reason=error.message)


def _file() -> Path:
    return platformdirs.user_state_path("Holdfast", appauthor=False) / "mirrors.json"


def _read() -> dict[str, list[str]]:
    try:
        known: Any = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    lists = {str(name): value for name, value in known.items() if isinstance(value, list)}
    return {name: [str(one) for one in value] for name, value in lists.items()}
