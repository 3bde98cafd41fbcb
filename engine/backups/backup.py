"""Backups of an open database: taking them, listing them, and proving that they are whole.

A backup target is a directory that holds a chain; each backup in it is a directory of its own,
next to a small record of what it is. A backup gets its name only once it is complete, so that
what is found in a chain can be trusted to have been finished.
"""

from __future__ import annotations

import errno
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
from engine.backups.claim import UNFINISHED, claimed, unfinished_of
from engine.backups.history import MANIFEST, RECORD_ENDING, kept_backup, kept_backups, noted
from engine.backups.keys import BackupKey, key_file, key_of, pair_of
from engine.backups.reading import being_read
from engine.errors import (
    BackupDamaged,
    BackupLocked,
    BackupNotFound,
    DiskFull,
    IncrementRefused,
    InvalidArgument,
    from_exception,
)
from engine.files import sync_directory, write_atomically
from engine.tasks import Task
from engine.types import BackupInfo, BackupOrigin

if TYPE_CHECKING:
    from engine.database import Database

PART_BYTES = 256 << 20
"""Bytes of pages after which a backup that is cut off can go on."""


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
        key: BackupKey | None = None,
    ) -> Task[BackupInfo]:
        """Add a full backup to the chain in `target`, while the database is in use.

        Start the task, or run it. It is verified against its manifest before it counts. Cancel
        and failure leave the chain as it was; what was copied by then is kept aside, where it is
        much, and the next full backup goes on with it. `bytes_per_second` limits how fast the
        database is read; 0 does not. With `key` it is encrypted; without, as the settings say.
        Raises `BackupTargetInUse` (-66) while another backup goes to the same place.
        """
        return self._task(target, origin, None, bytes_per_second, key)

    def increment_task(
        self,
        target: str | Path,
        origin: BackupOrigin = BackupOrigin.MANUAL,
        *,
        bytes_per_second: int = 0,
        key: BackupKey | None = None,
    ) -> Task[BackupInfo]:
        """Add what has changed since the newest backup of the chain in `target`.

        As `full_task`; the whole chain is verified before the increment counts. Raises
        `IncrementRefused` (-90) where there is no backup to add to, or one of another history, and
        `BackupLocked` (-93) where `key` is not that of the backup to add to.
        """
        return self._task(target, origin, self._newest_own, bytes_per_second, key)

    def _task(
        self,
        target: str | Path,
        origin: BackupOrigin,
        parent_in: Callable[[Path], Path] | None,
        bytes_per_second: int,
        key: BackupKey | None,
    ) -> Task[BackupInfo]:
        chain = Path(target).expanduser().absolute()
        if chain == self._database.path or self._database.path in chain.parents:
            raise InvalidArgument(argument="the target", issue="a backup cannot be inside its database")

        def take(task: Task[BackupInfo], unfinished: Path, key: BackupKey | None) -> int:
            job = bridge.Job()
            task.use(job)
            parent = None if parent_in is None else str(parent_in(chain))
            done = self._database.store.backup(
                str(unfinished),
                job,
                parent=parent,
                bytes_per_second=bytes_per_second,
                part_bytes=PART_BYTES,
                key=pair_of(key),
            )
            return int(done["resumed_pages"])

        kind = "full" if parent_in is None else "incr"

        def work(task: Task[BackupInfo]) -> BackupInfo:
            chosen = key or self._set_key() or (None if parent_in is None else key_of(parent_in(chain)))
            info = noted(self._database, origin, lambda: self._take(chain, kind, task, take, chosen))
            self._database.keeper.look(chain)
            return info

        return Task(f"Backup to {chain.name}", work)

    def noted_key(self) -> tuple[str, bytes] | None:
        """What may open backups of this database without anybody being asked: the key file that the
        settings name, or that is noted with the newest backup; None where it cannot be read."""
        try:
            return pair_of(self._set_key() or key_of(self._database.keeper.folder))
        except BackupLocked:
            return None

    def key_for(self, source: str | Path, given: BackupKey | None = None) -> BackupKey | None:
        """What opens backups of this database in `source`: the key that was given, else the key file that
        is noted with them, else the one that the settings name; None where there is none of these.

        Reads small files. Raises `BackupLocked` (-93) where none of those that are named can be read.
        """
        try:
            return key_of(source, given) or self._set_key()
        except BackupLocked:
            # The file may have moved since, and the settings say where to.
            if (found := self._set_key()) is not None:
                return found
            raise

    def _set_key(self) -> BackupKey | None:
        """The key that the settings name."""
        path = self._database.config.backup_key_file
        return key_file(path) if path else None

    def _take(
        self,
        chain: Path,
        kind: str,
        task: Task[BackupInfo],
        take: Callable[[Task[BackupInfo], Path, BackupKey | None], int],
        key: BackupKey | None,
    ) -> BackupInfo:
        self._database.keeper.check_folder(chain)
        with claimed(chain):
            unfinished = self._begun(chain, kind)
            place = unfinished.with_name(unfinished.name.removesuffix(UNFINISHED))
            may_go_on = False
            try:
                unfinished.mkdir(mode=0o700, exist_ok=True)
                resumed = take(task, unfinished, key)
                # Where cancel came after the last page, what was taken is dropped all the same.
                task.proceed()
                proof = _verify(unfinished, task, pair_of(key))
                info = replace(
                    _info(place, proof, verified_at=time.time()),
                    logs=self.log_places(),
                    resumed_pages=resumed,
                    encryption="" if key is None else key.kind,
                    key_file="" if key is None else key.path,
                )
                unfinished.rename(place)
                sync_directory(chain)
                _write_record(info)
            except (BackupDamaged, DiskFull):
                # What does not prove to be whole is no beginning; and a full disk wants its room back.
                raise
            except OSError as error:
                may_go_on = error.errno != errno.ENOSPC
                raise from_exception(error, "write the backup to") from error
            except BaseException:
                may_go_on = True
                raise
            finally:
                if not (may_go_on and bridge.is_unfinished_backup(str(unfinished))):
                    shutil.rmtree(unfinished, ignore_errors=True)
        self.last = info
        self._database.events.publish(
            "backup_finished", path=info.path, pages=info.pages, bytes=info.bytes, end_lsn=info.end_lsn
        )
        return info

    def _begun(self, chain: Path, kind: str) -> Path:
        """The directory of a backup of this database that was cut off, else of a new one."""
        for left in sorted(chain.glob(f"{kind}-*{UNFINISHED}"), reverse=True):
            if unfinished_of(left) != self._database.keeper.identity():
                continue
            if bridge.is_unfinished_backup(str(left)):
                return left
            shutil.rmtree(left, ignore_errors=True)
        return chain / f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}{UNFINISHED}"

    def _newest_own(self, chain: Path) -> Path:
        """What an increment is added to: others' backups may lie in the same folder."""
        found = self._database.keeper.backups(chain) if chain.is_dir() else ()
        if not found:
            raise IncrementRefused(path=str(chain), reason="there is no backup of this database yet")
        return Path(found[0].info.path)

    def log_places(self) -> tuple[str, ...]:
        """Where the log of this database is kept: itself, and its archive where that lies elsewhere."""
        return self._database.config.log_places_of(self._database.path)


def list_backups(target: str | Path) -> tuple[BackupInfo, ...]:
    """The backups in a chain, newest first. Unfinished ones are not among them."""
    return tuple(kept.info for kept in kept_backups(target))


def newest(target: str | Path) -> Path:
    """The directory of the newest backup in a chain, or `target` itself where it is a backup.

    Raises `BackupNotFound` (-99) where there is no such directory, and where it holds none, or only what
    was not finished.
    """
    found = list_backups(target)
    if found:
        return Path(found[0].path)
    path = Path(target).expanduser().absolute()
    if not path.is_dir():
        raise BackupNotFound(path=str(path), detail="there is no such directory")
    if kept_backup(path) is not None or _has_lost_its_manifest(path):
        return path
    if any(entry.suffix == UNFINISHED for entry in path.iterdir()):
        raise BackupNotFound(path=str(path), detail="it holds only one that was not finished")
    raise BackupNotFound(path=str(path))


def _has_lost_its_manifest(path: Path) -> bool:
    """Whether a directory was a backup: its parts are there, and what they are is not."""
    return any((path / part).exists() for part in (MANIFEST, "pages.zst"))


def verify_task(target: str | Path, key: BackupKey | None = None) -> Task[BackupInfo]:
    """Check the newest backup in a chain (or the one in `target`) without restoring it.

    Start the task, or run it. Raises `BackupDamaged` (-62) that names the file, `BackupNotFound` (-99)
    where there is none, and `BackupLocked` (-93) where it is encrypted, and neither `key` nor the key file
    noted with it opens it.
    """

    def work(task: Task[BackupInfo]) -> BackupInfo:
        with being_read(newest(target).parent):
            path = newest(target)
            proof = _verify(path, task, pair_of(key_of(path, key)))
        info = _info(path, proof, verified_at=time.time())
        if _record_path(path).exists():
            known = kept_backup(path)
            if known is not None:
                logs, lock, file = known.info.logs, known.info.encryption, known.info.key_file
                info = replace(info, logs=logs, encryption=lock, key_file=file)
            with suppress(OSError):
                # A chain on a read-only medium can be verified all the same.
                _write_record(info)
        return info

    return Task("Verify backup", work)


def _verify(path: Path, task: Task[Any], key: tuple[str, bytes] | None) -> dict[str, Any]:
    job = bridge.Job()
    task.use(job)
    return bridge.verify_backup(str(path), job, key=key)


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
