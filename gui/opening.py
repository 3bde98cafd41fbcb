"""Opening and closing a database, off the interface thread, with guidance where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from engine.errors import (
    ConfigInvalid,
    DatabaseExists,
    DatabaseIsMirror,
    DatabaseOpenElsewhere,
    RecoveryNeeded,
    RecoveryProgress,
)
from gui.page import Shell
from gui.tasks import EngineSession

_IN_ORDER = (ConfigInvalid, DatabaseIsMirror, DatabaseOpenElsewhere)
"""The database is where it was and can be read: nobody has to take its place."""


class Opening(QObject):
    """Holds the one session of the window. Asking returns at once; signals tell what came of it."""

    began = Signal(str)
    """What is being done, in words."""
    opened = Signal(object)
    """An `EngineSession`, started."""
    closing = Signal(object)
    """An `EngineSession` that is about to close: pages let go of it."""
    closed = Signal()
    recovery_needed = Signal(object, object)
    """`Path` and the `RecoveryNeeded` error, or `RecoveryProgress` where another program is at it."""
    failed = Signal(object, str)
    """The error and the operation."""
    heirs_found = Signal(object, object, object)
    """`Path` of a database that cannot be opened, the error, and the `Heir`s that can take its place."""

    def __init__(self, shell: Shell, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._shell = shell
        self.session: EngineSession | None = None
        self._next: tuple[Path, bool] | None = None
        self._tried: tuple[Path, bool] | None = None

    def open(self, path: Path) -> None:
        """Open the database at `path`, after closing the one that is open."""
        self._ask(path, create=False)

    def create(self, path: Path) -> None:
        """Make a new database at `path`; an existing one is never touched."""
        self._ask(path, create=True)

    def adopt(self, database: Any, path: Path) -> None:
        """Show a database that was opened elsewhere in this program: after a recovery, a restore."""
        # Not `path`: the file inside a database opens it too.
        session = EngineSession(database, Path(database.path), self)
        session.closed.connect(self._has_closed)
        session.close_failed.connect(lambda error: self.failed.emit(error, self.tr("close the database")))
        self.session = session
        session.start()
        self.opened.emit(session)

    @property
    def tried(self) -> Path | None:
        """What was asked for last, while nothing is open."""
        return self._tried[0] if self._tried is not None and self.session is None else None

    def retry(self) -> None:
        """Do again what was asked for last and failed."""
        if self._tried is not None:
            self._ask(*self._tried)

    def close(self) -> None:
        """Close what is open, cleanly."""
        if self.session is not None and not self.session.is_closing:
            self.began.emit(self.tr("Closing {name}").format(name=self.session.name))
            self.closing.emit(self.session)
            self.session.close()

    def _ask(self, path: Path, create: bool) -> None:
        if self.session is not None:
            self._next = (path, create)
            self.close()
            return
        self._tried = (path, create)
        if create:
            self.began.emit(self.tr("Creating {name}").format(name=path.stem))
        else:
            self.began.emit(self.tr("Opening {name}").format(name=path.stem))
        answer = self._shell.run(lambda: _open(path, create), self)
        answer.done(lambda database: self.adopt(database, path))
        answer.failed(lambda error: self._has_failed(path, create, error))

    def _has_failed(self, path: Path, create: bool, error: BaseException) -> None:
        if isinstance(error, RecoveryNeeded | RecoveryProgress) and not create:
            self.recovery_needed.emit(path, error)
            return
        operation = f"{self.tr('create') if create else self.tr('open')} {path.name}"
        if create or isinstance(error, _IN_ORDER):
            self.failed.emit(error, operation)
            return
        answer = self._shell.run(lambda: _heirs(path), self)
        answer.done(lambda found: self._tell_heirs(path, error, operation, found))
        answer.failed(lambda _other: self.failed.emit(error, operation))

    def _tell_heirs(self, path: Path, error: BaseException, operation: str, found: Any) -> None:
        if found and self.session is None:
            self.heirs_found.emit(path, error, found)
        else:
            self.failed.emit(error, operation)

    def _has_closed(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.deleteLater()
        self.closed.emit()
        if self._next is not None:
            path, create = self._next
            self._next = None
            self._ask(path, create)


def _heirs(path: Path) -> Any:
    from engine.mirrors.register import heirs

    return heirs(path)


def _open(path: Path, create: bool) -> Any:
    # Imported here: the kernel is loaded on the worker, while the window is already drawn.
    import engine

    if create and path.exists():
        raise DatabaseExists(path=str(path))
    return engine.open(str(path), create=create, recovery="ask")
