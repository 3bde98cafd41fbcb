"""The ways out of a database that cannot be recovered as it should: those of recovery, and the copies.

Recovery knows nothing of mirrors and backups; here their offers stand beside its own, each with what it
loses.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine import bridge
from engine.backups.history import kept_backups
from engine.backups.standing import read_memory
from engine.config import Config, load
from engine.errors import HoldfastError
from engine.mirrors.register import Heir, heirs
from engine.recovery.fallbacks import Fallback, FallbackKind, backup_offer, mirror_offer, offers
from engine.tasks import Task
from engine.types import BackupInfo


def offers_task(path: Path, backups: Path | None = None) -> Task[tuple[Fallback, ...]]:
    """Every way with its cost, the one that loses least first; changes nothing.

    A mirror is offered where the database has one. `backups` is the folder that its backups are in;
    None for `known_folders`. Work with progress and cancel; start it, or run it.
    """

    def work(task: Task[tuple[Fallback, ...]]) -> tuple[Fallback, ...]:
        mirror, backup = offer_of_mirror(path), offer_of_backup(path, backups)
        ways = [backup if way.kind is FallbackKind.BACKUP else way for way in offers(path, None, task)]
        return tuple(ways if mirror is None else [mirror, *ways])

    return Task("Ways to recover", work)


def copies(path: Path, backups: Path | None = None) -> tuple[Fallback, ...]:
    """The mirror and the backup that can take its place now, where there are any; reads no page."""
    mirror, backup = offer_of_mirror(path), offer_of_backup(path, backups)
    return tuple(way for way in (mirror, backup) if way is not None and way.is_possible)


def folder_of_backups(path: Path, chosen: Path | None = None) -> Path:
    """Where the backups of a database go that need not be open: as its settings say.

    Where these name no folder, or cannot be read: `chosen`, else the folder beside it.
    """
    try:
        settings = load(path)
    except HoldfastError:
        settings = Config()
    return settings.backup_folder_of(path, chosen)


def known_folders(path: Path, *more: Path) -> tuple[Path, ...]:
    """Every folder that backups of a database may be in: of its settings, `more`, and where it remembers
    some; whether they are there or not."""
    remembered = (Path(name) for name in read_memory(path).folders)
    return tuple(dict.fromkeys((folder_of_backups(path), *more, *remembered)))


def offer_of_mirror(path: Path) -> Fallback | None:
    """The best mirror of a database, with what a fail over to it loses; None where it has none."""
    found = heirs(path)
    if not found:
        return None
    best: Heir = found[0]
    return mirror_offer(best.path, best.outlook, has_taken_over=best.has_taken_over, why_not=best.reason)


def offer_of_backup(path: Path, folder: Path | None = None) -> Fallback:
    """The newest backup of a database, in `folder` or wherever one is known; not possible without one."""
    folders = known_folders(path) if folder is None else (folder,)
    return backup_offer(newest_backup(path, folders), folders[0])


def newest_backup(path: Path, folders: Iterable[Path]) -> BackupInfo | None:
    """The newest backup of a database in any of these folders; None where they have none.

    Others' backups may lie beside it. They are told apart by the identity of the database, as long as its
    control file can be read. A folder that cannot be read has none.
    """
    identity = _identity(path)
    found = [
        next((info for info, of in _in(folder) if not identity or of in ("", identity)), None)
        for folder in folders
    ]
    # Within a folder they are in order, whatever the clock said; between folders only the clock can tell.
    return max((info for info in found if info is not None), key=lambda info: info.taken_at, default=None)


def source_of(backup: BackupInfo) -> Path:
    """What to roll forward: the folder of a backup, whose older ones may do where it is damaged; or the
    backup alone, where others of another database lie beside it."""
    folder = Path(backup.path).parent
    return Path(backup.path) if len({of for _info, of in _in(folder)}) > 1 else folder


def _in(folder: Path) -> list[tuple[BackupInfo, str]]:
    """Every backup in a folder, newest first, with the identity of its database; empty if unknown."""
    try:
        return [(kept.info, kept.database) for kept in kept_backups(folder)]
    except HoldfastError:
        return []


def _identity(path: Path) -> str:
    try:
        return str(bridge.inspect(str(path)).get("database_id") or "")
    except HoldfastError:
        return ""
