"""`history.db` in the database's directory: the alerts, over restarts.

SQLite, so that it can be read by whoever has to look after a database that does not open. It is made
with the first alert, private to its owner. A damaged one is put aside and begun anew with a word in the
log; where the disk takes nothing, the alerts stay in memory until it does. No error of it ever reaches
whoever works with the database. Several programs may use it at once: each change reads, changes and
writes in one transaction.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.alerts.alert import Alert, AlertType, Impact, Silence
from engine.types import Severity

if TYPE_CHECKING:
    import sqlite3

FILE_NAME = "history.db"
MOST_CLEARED = 500

_VERSION = 1
_BUSY_S = 5.0
_COLUMNS = tuple(column.name for column in fields(Alert))
_TABLES = f"""
CREATE TABLE alerts ({", ".join(_COLUMNS).replace("id,", "id INTEGER PRIMARY KEY,", 1)});
CREATE TABLE silences (type TEXT PRIMARY KEY, since REAL NOT NULL, until REAL NOT NULL);
CREATE TABLE summaries (told_at REAL NOT NULL);
PRAGMA user_version = {_VERSION};
"""
# Of SQLite's results, those that say that the file is not what was written: corrupt, not a database, and
# the plain error of a table or column that is not there.
_DAMAGED = (11, 26, 1)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ledger:
    """All that is kept. Not for two threads at once."""

    alerts: dict[int, Alert] = field(default_factory=dict)
    silences: dict[AlertType, Silence] = field(default_factory=dict)
    summed_up_at: float | None = None
    """When the lesser alerts were summed up last; None for never."""

    @property
    def next_id(self) -> int:
        return max(self.alerts, default=0) + 1

    def put(self, alert: Alert) -> None:
        self.alerts[alert.id] = alert

    def prune(self, before: float) -> None:
        """Forget what was cleared before a moment, and the oldest of those beyond the most that are kept."""
        cleared = sorted((a.cleared_at, a.id) for a in self.alerts.values() if a.cleared_at is not None)
        beyond = len(cleared) - MOST_CLEARED
        for place, (at, alert_id) in enumerate(cleared):
            # The newest number stays taken, so that none is given twice.
            if (at < before or place < beyond) and alert_id != self.next_id - 1:
                del self.alerts[alert_id]


class History:
    """Reads and writes the file. Any thread may use it; never raises for what the file or its disk does."""

    def __init__(self, directory: Path, *, may_write: bool = True) -> None:
        self.path = directory / FILE_NAME
        self.note = ""
        """What had to be said about the file itself."""
        self._may_write = may_write
        self._lock = threading.RLock()
        self._unsaved: Ledger | None = None
        """What is known where the file does not have it."""
        self._is_unread = False

    def read(self) -> Ledger:
        """What is kept; a ledger of the caller's own."""
        with self._lock, ExitStack() as stack:
            kept, _connection = self._loaded(stack, is_changing=False)
            return kept

    @contextmanager
    def changing(self) -> Iterator[Ledger]:
        """What is kept, to be changed in the block; written at its end, unless that raises."""
        with self._lock, ExitStack() as stack:
            kept, connection = self._loaded(stack, is_changing=self._may_write)
            before = _copy(kept)
            yield kept
            if not self._may_write:
                self._unsaved = kept
            elif kept != before or self._unsaved is not None:
                self._write(connection, kept)

    # The file

    def _loaded(self, stack: ExitStack, *, is_changing: bool) -> tuple[Ledger, sqlite3.Connection | None]:
        """What is kept, and the connection that holds the file for us until the stack ends.

        None for the connection where there is no file yet, or it cannot be used.
        """
        import sqlite3  # Not with the engine: most who open a database never meet an alert.

        if self._unsaved is not None and not is_changing:
            return _copy(self._unsaved), None
        connection = None
        self._is_unread = False
        try:
            if self.path.exists():
                # One that only reads may have to roll back what a program that was killed had begun.
                connection = _connected(self.path, self._may_write, is_changing)
                kept = _read(connection)
                stack.callback(connection.close)
                return kept if self._unsaved is None else _copy(self._unsaved), connection
        except (OSError, sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            if connection is not None:
                connection.close()
            self._has_failed(error)
        return Ledger() if self._unsaved is None else _copy(self._unsaved), None

    def _has_failed(self, error: Exception) -> None:
        import sqlite3

        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, OSError) or (isinstance(error, sqlite3.Error) and code not in _DAMAGED):
            # It may be there in full: nothing is written over it.
            self._is_unread = True
            self._complain(f"The history of alerts could not be read: {error}.")
        elif not self._may_write:
            self._complain("The history of alerts is damaged; it is begun anew by whoever may write.")
        else:
            aside = self.path.with_name(f"{FILE_NAME}.damaged-{int(time.time())}")
            with suppress(OSError):
                self.path.replace(aside)
            words = "The history of alerts was damaged and is begun anew; the old one is kept as"
            self._complain(f"{words} {aside.name}.")

    def _write(self, connection: sqlite3.Connection | None, kept: Ledger) -> None:
        import sqlite3

        if self._is_unread:
            return
        try:
            if connection is not None:
                _put_all(connection, kept)
            else:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
                with closing(_connected(self.path, True, True)) as made:
                    _put_all(made, kept)
        except (OSError, sqlite3.Error) as error:
            self._complain(f"The history of alerts could not be written: {error}.")
            self._unsaved = kept
        else:
            self._unsaved = None

    def _complain(self, words: str) -> None:
        if words != self.note:
            self.note = words
            _log.warning("%s", words)


def _connected(path: Path, may_write: bool, is_changing: bool) -> sqlite3.Connection:
    """A connection; one that is to change the file holds it until it is closed or has committed."""
    import sqlite3

    uri = f"{path.as_uri()}?mode={'rw' if may_write else 'ro'}"
    made = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        made.execute("BEGIN IMMEDIATE" if is_changing else "BEGIN")
    except BaseException:
        made.close()
        raise
    return made


def _put_all(connection: sqlite3.Connection, kept: Ledger) -> None:
    """Write everything and commit: there is little of it."""
    if _version(connection) != _VERSION:
        for statement in _TABLES.strip().split("\n"):
            connection.execute(statement)
    for table in ("alerts", "silences", "summaries"):
        connection.execute(f"DELETE FROM {table}")
    marks = ", ".join("?" * len(_COLUMNS))
    connection.executemany(f"INSERT INTO alerts VALUES ({marks})", map(_row, kept.alerts.values()))
    silences = [(str(s.type), s.since, s.until) for s in kept.silences.values()]
    connection.executemany("INSERT INTO silences VALUES (?, ?, ?)", silences)
    if kept.summed_up_at is not None:
        connection.execute("INSERT INTO summaries VALUES (?)", (kept.summed_up_at,))
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _row(alert: Alert) -> tuple[Any, ...]:
    # SQLite knows texts, not their subclasses.
    return tuple(str(value) if isinstance(value, str) else value for value in astuple(alert))


def _read(connection: sqlite3.Connection) -> Ledger:
    """Everything in the file. Raises `sqlite3.Error`; for what is not ours `ValueError` or `TypeError`."""
    kept = Ledger()
    if _version(connection) != _VERSION:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            # It was made, and the disk took nothing more.
            return kept
        raise ValueError("another version wrote it")
    for row in connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM alerts ORDER BY id"):
        kept.put(_alert(row))
    for kind, since, until in connection.execute("SELECT type, since, until FROM silences"):
        silence = Silence(AlertType(kind), _number(since), _number(until))
        kept.silences[silence.type] = silence
    for (told_at,) in connection.execute("SELECT told_at FROM summaries"):
        kept.summed_up_at = _number(told_at)
    return kept


_ENUMS = {"type": AlertType, "severity": Severity, "impact": Impact}


def _alert(row: tuple[Any, ...]) -> Alert:
    """A row as an alert. Bytes from a file are never trusted: raises `ValueError` or `TypeError`."""
    values: dict[str, Any] = {}
    for column, value in zip(fields(Alert), row, strict=True):
        kind = str(column.type)
        if value is None and kind.endswith("| None"):
            values[column.name] = None
        elif column.name in _ENUMS:
            values[column.name] = _ENUMS[column.name](value)
        elif kind.startswith("float"):
            values[column.name] = _number(value)
        elif isinstance(value, int if kind.startswith("int") else str):
            values[column.name] = value
        else:
            raise TypeError(f"{column.name} is not what it should be")
    return Alert(**values)


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _copy(kept: Ledger) -> Ledger:
    return Ledger(dict(kept.alerts), dict(kept.silences), kept.summed_up_at)
