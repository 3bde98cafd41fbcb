"""Backups of an open database: taking them, listing them, and proving that they are whole.

A backup target is a directory that holds a chain; each backup in it is a directory of its own,
next to a small record of what it is. A backup gets its name only once it is complete, so that
what is found in a chain can be trusted to have been finished.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.claim import UNFINISHED, claimed
from engine.backups.history import RECORD_ENDING, kept_backup, kept_backups, noted
from engine.errors import BackupDamaged, IncrementRefused, InvalidArgument, IoError, from_exception
from engine.files import sync_directory, write_atomically
from engine.tasks import Task
from engine.types import BackupInfo, BackupOrigin

if TYPE_CHECKING:
    from engine.database import Database


class Backups:
    """Backups of one open database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.last: BackupInfo | None = None
        """The latest one taken since the database was opened."""

    def full_task(
        self,
        target: str | Path,
        origin: BackupOrigin = BackupOrigin.MANUAL,
        *,
        bytes_per_second: int = 0,
    ) -> Task[BackupInfo]:
        """Add a full backup to the chain in `target`, while the database is in use.

        Start the task, or run it. It is verified against its manifest before it counts. Cancel
        and failure leave the chain as it was. `bytes_per_second` limits how fast the database is
        read; 0 does not. Raises `BackupTargetInUse` (-66) while another backup goes to the same
        place.
        """
        return self._task(target, origin, None, bytes_per_second)

    def increment_task(
        self,
        target: str | Path,
        origin: BackupOrigin = BackupOrigin.MANUAL,
        *,
        bytes_per_second: int = 0,
    ) -> Task[BackupInfo]:
        """Add what has changed since the newest backup of the chain in `target`.

        As `full_task`; the whole chain is verified before the increment counts. Raises
        `IncrementRefused` (-90) where there is no backup to add to, or one of another history.
        """
        return self._task(target, origin, self._newest_own, bytes_per_second)

    def _task(
        self,
        target: str | Path,
        origin: BackupOrigin,
        parent_in: Callable[[Path], Path] | None,
        bytes_per_second: int,
    ) -> Task[BackupInfo]:
        chain = Path(target).expanduser().absolute()
        if chain == self._database.path or self._database.path in chain.parents:
            raise InvalidArgument(argument="the target", issue="a backup cannot be inside its database")

        def take(task: Task[BackupInfo], unfinished: Path) -> None:
            job = bridge.Job()
            task.use(job)
            parent = None if parent_in is None else str(parent_in(chain))
            store = self._database.store
            store.backup(str(unfinished), job, parent=parent, bytes_per_second=bytes_per_second)

        kind = "full" if parent_in is None else "incr"

        def work(task: Task[BackupInfo]) -> BackupInfo:
            info = noted(self._database, origin, lambda: self._take(chain, kind, task, take))
            self._database.keeper.look(chain)
            return info

        return Task(f"Backup to {chain.name}", work)

    def _take(
        self,
        chain: Path,
        kind: str,
        task: Task[BackupInfo],
        take: Callable[[Task[BackupInfo], Path], None],
    ) -> BackupInfo:
        name = f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        unfinished = chain / f"{name}{UNFINISHED}"
        self._database.keeper.check_folder(chain)
        with claimed(chain):
            try:
                unfinished.mkdir(mode=0o700)
                take(task, unfinished)
                # Where cancel came after the last page, what was taken is dropped all the same.
                task.proceed()
                proof = _verify(unfinished, task)
                info = replace(_info(chain / name, proof, verified_at=time.time()), logs=self.log_places())
                unfinished.rename(chain / name)
                sync_directory(chain)
                _write_record(info)
            except OSError as error:
                raise from_exception(error, "write the backup to") from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        self.last = info
        self._database.events.publish(
            "backup_finished", path=info.path, pages=info.pages, bytes=info.bytes, end_lsn=info.end_lsn
        )
        return info

    def _newest_own(self, chain: Path) -> Path:
        """What an increment is added to: others' backups may lie in the same folder."""
        found = self._database.keeper.backups(chain) if chain.is_dir() else ()
        if not found:
            raise IncrementRefused(path=str(chain), reason="there is no backup of this database yet")
        return Path(found[0].info.path)

    def log_places(self) -> tuple[str, ...]:
        """Where the log of this database is kept: itself, and its archive where that lies elsewhere."""
        elsewhere = self._database.config.archive_location
        archive = (str(Path(elsewhere).expanduser().absolute()),) if elsewhere else ()
        return (str(self._database.path), *archive)


def list_backups(target: str | Path) -> tuple[BackupInfo, ...]:
    """The backups in a chain, newest first. Unfinished ones are not among them."""
    return tuple(kept.info for kept in kept_backups(target))


def newest(target: str | Path) -> Path:
    """The directory of the newest backup in a chain, or `target` itself where it is a backup.

    Raises `IoError` (-10) where there is no such directory, `BackupDamaged` (-62) where it
    holds only what was not finished.
    """
    found = list_backups(target)
    if found:
        return Path(found[0].path)
    path = Path(target).expanduser().absolute()
    if not path.is_dir():
        raise IoError(operation="read", path=str(path), os_error="there is no such directory")
    if any(entry.suffix == UNFINISHED for entry in path.iterdir()):
        raise BackupDamaged(path=str(path), detail="it holds only a backup that was not finished")
    return path


def verify_task(target: str | Path) -> Task[BackupInfo]:
    """Check the newest backup in a chain (or the one in `target`) without restoring it.

    Start the task, or run it. Raises `BackupDamaged` (-62) that names the file.
    """

    def work(task: Task[BackupInfo]) -> BackupInfo:
        path = newest(target)
        info = _info(path, _verify(path, task), verified_at=time.time())
        if _record_path(path).exists():
            known = kept_backup(path)
            info = replace(info, logs=() if known is None else known.info.logs)
            with suppress(OSError):
                # A chain on a read-only medium can be verified all the same.
                _write_record(info)
        return info

    return Task("Verify backup", work)


def _verify(path: Path, task: Task[Any]) -> dict[str, Any]:
    job = bridge.Job()
    task.use(job)
    return bridge.verify_backup(str(path), job)


def _info(path: Path, proof: dict[str, Any], verified_at: float) -> BackupInfo:
    return BackupInfo(
        path=str(path),
        taken_at=float(proof["taken_at"]),
        end_lsn=int(proof["end_lsn"]),
        pages=int(proof["pages"]),
        bytes=int(proof["bytes"]),
        verified_at=verified_at,
        parent=proof["parent"] or "",
        sequence=int(proof["sequence"]),
    )


def _record_path(backup: Path) -> Path:
    return backup.with_name(f"{backup.name}{RECORD_ENDING}")


def _write_record(info: BackupInfo) -> None:
    # The chain may be moved as a whole, so the record names only the backup's own directory.
    content = asdict(replace(info, path=Path(info.path).name))
    write_atomically(_record_path(Path(info.path)), json.dumps(content, indent=1))
