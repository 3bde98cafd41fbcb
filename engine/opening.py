"""Finding out what a database directory needs, and opening it: new, as it is, or by way of a recovery."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from engine import bridge, catalogue
from engine import config as configuration
from engine.config import Config
from engine.database import Database
from engine.errors import (
    DatabaseIsMirror,
    DatabaseNotFound,
    DatabaseOpenElsewhere,
    DatabaseSuperseded,
    HoldfastError,
    InvalidArgument,
    NotADatabase,
    RecoveryNeeded,
    RecoveryProgress,
)
from engine.recovery import detection
from engine.recovery.early import open_early
from engine.recovery.fallbacks import FallbackKind
from engine.recovery.ground import rehearsal_folder
from engine.recovery.manager import RecoveryManager
from engine.tasks import Task
from engine.types import DatabaseInfo, Indicator

RecoveryChoice = Literal["auto", "ask", "never"]

PAGE_FILE = "database.holdfast"


def open_database(
    path: str | Path,
    *,
    create: bool = True,
    read_only: bool = False,
    recovery: RecoveryChoice = "auto",
    config: Config | None = None,
) -> Database:
    """Open the database in the directory `path`; create it where it is missing.

    `recovery` says what happens to a database that was not closed: "auto" opens it once its log was
    read and checked, and recovers it in the background, which cannot be taken back (`status` and
    `recovery_report` tell how far it is); with `recover_on_demand` off, or where that would take too
    much memory, it is recovered before this returns. "ask" and "never", "auto" with
    `auto_recovery_enabled` off, and a read-only open, for recovery writes, raise `RecoveryNeeded`
    (-60) with the `indicators` found. `config` takes the place of the database's `reliability.toml`.

    Raises `DatabaseNotFound`, `NotADatabase`, `DatabaseOpenElsewhere`, `RecoveryProgress` (-80)
    while another program recovers it, `ConfigInvalid`, and what recovery raises.
    """
    if recovery not in ("auto", "ask", "never"):
        raise InvalidArgument(argument="recovery", issue='it must be "auto", "ask" or "never"')
    # Where memory or file handles run out later, there are none to read the words for it with.
    catalogue.entries()
    directory = directory_of(path)
    facts = _inspect(directory)
    if not facts["exists"]:
        return _create(directory, create and not read_only, config)
    ensure_primary(directory)
    settings = config if config is not None else configuration.load(directory)
    found = detection.indicators(facts)
    if detection.holder_is_alive(facts):
        raise _open_elsewhere(directory, facts)
    if not found:
        store = bridge.open_store(directory, settings, read_only=read_only)
        return Database(directory, store, settings)
    if read_only or recovery != "auto" or not settings.auto_recovery_enabled:
        raise recovery_needed(directory, found)
    if settings.recover_on_demand:
        early = open_early(directory, facts, settings)
        if early is not None:
            return Database(directory, early.store, settings, early=early)
    return Task("Recovery", lambda task: _recovered(directory, config, task, facts)).run()


def recover_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Recover a database and open it, as work with progress and cancel; start it, or run it.

    `RecoveryManager` is for those who want the plan first, or the stages as they run.
    """
    return Task("Recovery", lambda task: _recovered(directory_of(path), config, task))


def _recovered(
    directory: Path, config: Config | None, task: Task[Any], facts: Mapping[str, Any] | None = None
) -> Database:
    manager = RecoveryManager(directory, config, facts=facts)
    manager.run(task)
    return Database.recovered(manager)


def open_early_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Open it before it is recovered, whatever `recover_on_demand` says; progress and cancel up to then."""

    def work(task: Task[Any]) -> Database:
        directory = directory_of(path)
        settings = config if config is not None else configuration.load(directory)
        early = open_early(directory, _inspect(directory), settings, task)
        if early is not None:
            return Database(directory, early.store, settings, early=early)
        return _recovered(directory, config, task)

    return Task("Open", work)


def open_read_only_task(path: str | Path, config: Config | None = None) -> Task[Database]:
    """Open, read-only, what a recovery would give; the database itself stays as it is.

    Work with progress and cancel; start it, or run it. A recovery up to the last valid record runs in
    a folder beside the database, which goes when the opened database is closed; until then its lock
    is held. Raises what recovery raises.
    """

    def work(task: Task[Any]) -> Database:
        manager = RecoveryManager(directory_of(path), config, fallback=FallbackKind.LAST_VALID)
        with ExitStack() as stack:
            folder = stack.enter_context(rehearsal_folder(manager.path))
            store = manager.look(folder, task)
            kept = stack.pop_all()
        return Database(manager.path, store, manager.settings, manager.report, on_close=kept.close)

    return Task("Open read-only", work)


def inspect(path: str | Path) -> DatabaseInfo:
    """Look at a database without opening it: takes no lock, changes nothing.

    Raises `DatabaseNotFound` (-14) or `NotADatabase` (-19).
    """
    directory = directory_of(path)
    facts = _inspect(directory)
    if not facts["exists"]:
        raise _missing(directory)
    return DatabaseInfo(
        path=str(directory),
        state=detection.state(facts),
        indicators=detection.indicators(facts),
        page_size=int(facts["page_size"] or 0),
        pages=int(facts["pages"] or 0),
        wal_bytes=int(facts["wal_bytes"] or 0),
        wal_segments=int(facts["wal_segments"] or 0),
        checkpoint_lsn=int(facts["checkpoint_lsn"] or 0),
        checkpoint_at=float(facts["checkpoint_at"] or 0.0),
        holder=detection.opener_text(facts),
        recovery=detection.background_recovery(facts),
    )


def directory_of(path: str | Path) -> Path:
    """The database's directory, absolute; the page file inside it stands for it."""
    chosen = Path(path).expanduser().absolute()
    return chosen.parent if chosen.name == PAGE_FILE and chosen.is_file() else chosen


def ensure_primary(directory: Path) -> None:
    """Raise `DatabaseIsMirror` (-112) or `DatabaseSuperseded` (-113) for what is no primary."""
    standing = bridge.mirror_standing(str(directory))
    role = "primary" if standing is None else standing["role"]
    if standing is None or role == "primary":
        return
    if role == "superseded":
        epoch = standing["epoch"]
        raise DatabaseSuperseded(path=str(directory), successor=standing["other"], epoch=epoch)
    raise DatabaseIsMirror(path=str(directory), primary=standing["other"])


def recovery_needed(directory: Path, found: tuple[Indicator, ...]) -> RecoveryNeeded:
    """The error that says that `directory` was not closed, with the signs of it."""
    error = RecoveryNeeded(path=str(directory), indicators=[indicator.title for indicator in found])
    error.indicators = found
    return error


def _inspect(directory: Path) -> Mapping[str, Any]:
    if directory.exists() and not directory.is_dir():
        raise NotADatabase(path=str(directory), detail="it is a file, and a database is a directory")
    return bridge.inspect(str(directory))


def _missing(directory: Path) -> HoldfastError:
    if directory.is_dir():
        return NotADatabase(path=str(directory), detail="the directory holds no database")
    return DatabaseNotFound(path=str(directory))


def _open_elsewhere(directory: Path, facts: Mapping[str, Any]) -> HoldfastError:
    holder = facts["holder"]
    if recovered_by := detection.recovery_under_way(facts):
        return RecoveryProgress(message=recovered_by)
    return DatabaseOpenElsewhere(
        path=str(directory),
        holder=detection.opener_text(facts),
        since=holder.get("since"),
        pid=holder.get("pid"),
        host=holder.get("host"),
    )


def _create(directory: Path, wanted: bool, settings: Config | None) -> Database:
    if not wanted or not _is_free(directory):
        raise _missing(directory)
    chosen = settings if settings is not None else configuration.load(directory)
    return Database(directory, bridge.create(directory, chosen), chosen)


# What may lie where a database is to be made: its settings, and the lock of a creation that was
# cut off before it had made anything.
_BEFOREHAND = {configuration.FILE_NAME, "LOCK"}


def _is_free(directory: Path) -> bool:
    """True where a database may be made: nothing is there, or what a creation cut off left there."""
    if not directory.exists() or bool(bridge.inspect(str(directory))["half_made"]):
        return True
    return {entry.name for entry in directory.iterdir()} <= _BEFOREHAND
