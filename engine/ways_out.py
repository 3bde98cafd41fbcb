"""The ways out of a database that cannot be recovered as it should: those of recovery, and the copies.

Recovery knows nothing of mirrors and backups; here their offers stand beside its own, each with what it
loses.
"""

from __future__ import annotations

from pathlib import Path

from engine.backups.backup import list_backups
from engine.config import Config, load
from engine.errors import HoldfastError
from engine.mirrors.register import Heir, heirs
from engine.recovery.fallbacks import Fallback, FallbackKind, backup_offer, mirror_offer, offers
from engine.tasks import Task
from engine.types import BackupInfo


def offers_task(path: Path, backups: Path | None = None) -> Task[tuple[Fallback, ...]]:
    """Every way with its cost, the one that loses least first; changes nothing.

    A mirror is offered where the database has one. `backups` is the folder that its backups are in;
    None for the one that its settings name. Work with progress and cancel; start it, or run it.
    """
    folder = backups if backups is not None else folder_of_backups(path)

    def work(task: Task[tuple[Fallback, ...]]) -> tuple[Fallback, ...]:
        mirror, backup = offer_of_mirror(path), offer_of_backup(folder)
        ways = [backup if way.kind is FallbackKind.BACKUP else way for way in offers(path, None, task)]
        return tuple(ways if mirror is None else [mirror, *ways])

    return Task("Ways to recover", work)


def copies(path: Path, backups: Path | None = None) -> tuple[Fallback, ...]:
    """The mirror and the backup that can take its place now, where there are any; reads no page."""
    folder = backups if backups is not None else folder_of_backups(path)
    mirror, backup = offer_of_mirror(path), offer_of_backup(folder)
    return tuple(way for way in (mirror, backup) if way is not None and way.is_possible)


def folder_of_backups(path: Path) -> Path:
    """Where the backups of a database are that need not be open; reads its settings.

    The folder beside it where these cannot be read.
    """
    try:
        settings = load(path)
    except HoldfastError:
        settings = Config()
    return settings.backup_folder_of(path)


def offer_of_mirror(path: Path) -> Fallback | None:
    """The best mirror of a database, with what a fail over to it loses; None where it has none."""
    found = heirs(path)
    if not found:
        return None
    best: Heir = found[0]
    return mirror_offer(best.path, best.outlook, has_taken_over=best.has_taken_over, why_not=best.reason)


def offer_of_backup(folder: Path) -> Fallback:
    """The newest backup in a folder; not possible where there is none."""
    return backup_offer(newest_backup(folder), folder)


def newest_backup(folder: Path) -> BackupInfo | None:
    """None where there is none, or the folder cannot be read."""
    try:
        found = list_backups(folder) if folder.is_dir() else ()
    except HoldfastError:
        return None
    return max(found, key=lambda info: info.taken_at, default=None)
