"""Emergency backups: what can still be read of a database, byte for byte, before anything is tried on it.

An ordinary backup refuses a damaged database, for it promises one that is whole. An emergency backup
promises nothing: it copies the files as they are, goes on where a part cannot be read, and names what is
missing in its manifest. A database that is open is copied by the process that has it open (`live_files`). It
lies beside the other backups, is no link of their chain, and is never taken for one: who restores it is told
what it lacks and has to agree.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from blake3 import blake3

from engine import bridge
from engine.backups.claim import UNFINISHED, claimed
from engine.backups.emergency_manifest import (
    MANIFEST,
    SEALED,
    CopiedFile,
    EmergencyBackup,
    content_of,
    read_emergency,
    signed,
    vault_of,
)
from engine.backups.keys import BackupKey, key_file, pair_of
from engine.backups.live_files import LiveFiles, Reader
from engine.backups.place import filling
from engine.config import load
from engine.errors import (
    BackupDamaged,
    BackupIncomplete,
    Cancelled,
    DatabaseNotFound,
    DatabaseOpenElsewhere,
    HoldfastError,
    InvalidArgument,
    from_exception,
)
from engine.files import sync_directory, write_atomically
from engine.integrity.checksums import Verdict, verify_block, verify_stream
from engine.tasks import Task
from engine.units import counted

if TYPE_CHECKING:
    from engine.database import Database

_DATA = "database.holdfast"
_LEFT_OUT = ("LOCK", "archive", "snapshots", "quarantine")
_CHUNK = 1 << 20
_SECTOR = 4096
_MOST_NAMED = 1000
"""Damaged pages that the manifest names."""


@dataclass(frozen=True, slots=True)
class EmergencyRestored:
    """Files that were put into a new directory, and what became of their recovery."""

    path: Path
    source: EmergencyBackup
    end_lsn: int | None
    """Of the recovered log; None where it could not be recovered."""
    problem: HoldfastError | None
    """Why the recovery failed: then the files lie there as they are, for its ways out."""


def emergency_task(
    database: str | Path,
    target: str | Path,
    *,
    key: BackupKey | None = None,
    read: Reader | None = None,
    opened: Database | None = None,
) -> Task[EmergencyBackup]:
    """Copy what can be read of a database into a new folder in `target`; start the task, or run it.

    The database is neither opened nor changed, and may be beyond opening; one that this process has open is
    given as `opened` too, and stays in use: the copy holds all that was committed when the task began. Cancel
    and failure leave `target` as it was. With `key` it is encrypted; without, as the settings of the database
    say. Raises `DatabaseNotFound` (-14), `BackupTargetInUse` (-66), `BackupLocked` (-93) where the key file
    of the settings cannot be read, and `DatabaseOpenElsewhere` (-16) where somebody else has it open: files
    of different moments are no database, and only who has it open can keep the log of all of them.
    """
    source, chain = Path(database).expanduser().absolute(), Path(target).expanduser().absolute()
    if chain == source or source in chain.parents:
        raise InvalidArgument(argument="the target", issue="a backup cannot be inside its database")
    reader = read or _pread

    def work(task: Task[EmergencyBackup]) -> EmergencyBackup:
        if not source.is_dir():
            raise DatabaseNotFound(path=str(source))
        live = None if opened is None else LiveFiles(opened, reader, _looks_whole)
        page_size = _page_size_of_idle(source) if live is None else live.page_size
        chosen = key or _set_key(source)
        with claimed(chain), nullcontext() if live is None else live.held():
            return _Taking(source, chain, reader, task, chosen, live).take(page_size)

    return Task(f"Emergency backup to {chain.name}", work)


def _page_size_of_idle(source: Path) -> int | None:
    """The size of its pages, where that can be told."""
    try:
        found = bridge.inspect(str(source))
    except HoldfastError:
        return None  # what cannot even be looked at is what this is for
    holder = found["holder"]
    if holder is not None and holder["alive"]:
        raise DatabaseOpenElsewhere(path=str(source), holder=f"process {holder['pid']} on {holder['host']}")
    # Nothing says it where the control file is gone.
    return int(found["page_size"]) or None


def _set_key(source: Path) -> BackupKey | None:
    """The key that the settings name; none where they cannot be read."""
    try:
        path = load(source).backup_key_file
    except HoldfastError:
        return None
    return key_file(path) if path else None


class _Taking:
    """One emergency backup under way."""

    def __init__(
        self,
        source: Path,
        chain: Path,
        read: Reader,
        task: Task[Any],
        key: BackupKey | None,
        live: LiveFiles | None,
    ) -> None:
        self._source, self._read, self._task, self._key, self._live = source, read, task, key, live
        self._place = chain / f"emergency-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        pair = pair_of(key)
        self._vault = None if pair is None else bridge.Vault.create(pair)
        self._missing: list[str] = []

    def take(self, page_size: int | None) -> EmergencyBackup:
        place = self._place
        unfinished = place.with_name(f"{place.name}{UNFINISHED}")
        try:
            unfinished.mkdir(mode=0o700)
            files = self._copy_all(unfinished)
            backup = EmergencyBackup(
                path=str(unfinished),
                database=str(self._source),
                taken_at=time.time(),
                files=files,
                damaged_pages=(),
                missing=tuple(self._missing),
                encryption="" if self._key is None else self._key.kind,
                key_file="" if self._key is None else self._key.path,
                locks="" if self._vault is None else self._vault.locks,
            )
            damaged, words = self._look_at_pages(backup, page_size)
            missing = (*backup.missing, *words)
            backup = replace(backup, path=str(place), damaged_pages=damaged, missing=missing)
            self._task.proceed()
            # The manifest is last: without it, this is no backup.
            write_atomically(unfinished / MANIFEST, signed(backup, self._vault))
            unfinished.rename(place)
            sync_directory(place.parent)
        except OSError as error:
            raise from_exception(error, "write the backup to") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return backup

    def _copy_all(self, place: Path) -> tuple[CopiedFile, ...]:
        self._task.stage("Copying what can be read", step=1, steps=2, unit="bytes")
        # The log is listed once the pages are copied: it has to reach beyond them.
        copied = tuple(
            file
            for name in _names(self._source, self._missing)
            if self._is_wanted(name) and (file := self._copy_one(place, name)) is not None
        )
        there = {file.name for file in copied}
        self._missing += [f"{name} is not there." for name in ("control", _DATA) if name not in there]
        return copied

    def _is_wanted(self, name: str) -> bool:
        return self._live is None or self._live.is_wanted(name)

    def _copy_one(self, place: Path, name: str) -> CopiedFile | None:
        source = self._source / name
        try:
            before = _stamp(source)
            descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            # Files beside those of the database come and go while it is open.
            if self._live is None or not isinstance(error, FileNotFoundError):
                self._missing.append(f"{name} could not be opened: {error.strerror}.")
            return None
        try:
            file = self._copy(descriptor, place, name)
        finally:
            os.close(descriptor)
        if file.unreadable:
            lost = sum(length for _, length in file.unreadable)
            self._missing.append(f"{counted(lost, 'byte')} of {name} could not be read.")
        try:
            has_changed = _stamp(source) != before
        except OSError:
            has_changed = True
        if has_changed and self._live is None:
            self._missing.append(f"{name} changed while it was copied.")
        return file

    def _copy(self, descriptor: int, place: Path, name: str) -> CopiedFile:
        sealer = None if self._vault is None else self._vault.sealer(name)
        to = place / (name if sealer is None else name + SEALED)
        size, seal, holes = os.fstat(descriptor).st_size, blake3(), list[tuple[int, int]]()
        read = self._read if self._live is None else self._live.reader_of(name, _DATA)
        to.parent.mkdir(mode=0o700, exist_ok=True)
        with to.open("wb") as copy:
            to.chmod(0o600)
            at = 0
            while at < size:
                self._task.proceed()
                data = b"".join(_readable(descriptor, at, min(_CHUNK, size - at), read, holes))
                stored = data if sealer is None else sealer.push(data)
                copy.write(stored)
                seal.update(stored)
                at += len(data)
                self._task.advance(len(data))
            if sealer is not None:
                copy.write(end := sealer.finish())
                seal.update(end)
            copy.flush()
            os.fsync(copy.fileno())
        return CopiedFile(name, size, seal.hexdigest(), tuple(_joined(holes)))

    def _look_at_pages(
        self, backup: EmergencyBackup, page_size: int | None
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The damaged pages of the copy, the first ones by number; and what is to be said of them."""
        data = next((file for file in backup.files if file.name == _DATA), None)
        if data is None or page_size is None:
            return (), ("The pages could not be looked at.",)
        self._task.stage("Looking at the pages", step=2, steps=2, total=data.bytes, unit="bytes")
        verdict = verify_stream(self._followed(content_of(backup, data, self._vault)), page_size)
        if not verdict.damaged_in_all:
            return (), ()
        pages = tuple(page for page, _ in verdict.damaged[:_MOST_NAMED])
        if verdict.damaged_in_all == 1:
            return pages, (f"Page {pages[0]} is damaged.",)
        return pages, (
            f"{counted(verdict.damaged_in_all, 'page is', 'pages are')} damaged, page {pages[0]} the first.",
        )

    def _followed(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._task.proceed()
            yield part
            self._task.advance(len(part))


def _readable(
    descriptor: int, at: int, count: int, read: Reader, holes: list[tuple[int, int]]
) -> Iterator[bytes]:
    """`count` bytes from `at` on, with zeros for the sectors that cannot be read."""
    try:
        data = read(descriptor, count, at)
        if len(data) == count:
            yield data
            return
    except OSError:
        pass
    for sector in range(at, at + count, _SECTOR):
        wanted = min(_SECTOR, at + count - sector)
        try:
            data = read(descriptor, wanted, sector)
        except OSError:
            data = b""
        if len(data) < wanted:
            holes.append((sector + len(data), wanted - len(data)))
        yield data.ljust(wanted, b"\0")


def _looks_whole(page: bytes) -> bool:
    return verify_block(page) in (Verdict.WHOLE, Verdict.ZEROED)


def _joined(holes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Neighbouring holes as one."""
    first, length = 0, 0
    for start, count in holes:
        if length and start == first + length:
            length += count
            continue
        if length:
            yield first, length
        first, length = start, count
    if length:
        yield first, length


def _pread(descriptor: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def _names(source: Path, missing: list[str]) -> Iterator[str]:
    """The files of a database, relative to it."""
    for folder in (source, source / "wal"):
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            missing.append(f"{folder.name} could not be listed: {error.strerror}.")
            continue
        for entry in entries:
            name = entry.relative_to(source).as_posix()
            # A folder under the name of a file is told when it is opened.
            is_own_folder = entry.is_dir() and folder == source and entry.name != _DATA
            if not is_own_folder and name not in _LEFT_OUT:
                yield name


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def verify_emergency_task(path: str | Path, key: BackupKey | None = None) -> Task[EmergencyBackup]:
    """Check the files of an emergency backup against its manifest; start the task, or run it.

    Raises `BackupDamaged` (-62) that names the file, and `BackupLocked` (-93) where it is encrypted, and
    neither `key` nor the key file noted with it opens it. What it lacks is in `missing`.
    """

    def work(task: Task[EmergencyBackup]) -> EmergencyBackup:
        backup = read_emergency(path)
        _check(backup, vault_of(backup, key), task, None)
        return backup

    return Task("Verify emergency backup", work)


def restore_emergency_task(
    path: str | Path, target: str | Path, *, accept_incomplete: bool, key: BackupKey | None = None
) -> Task[EmergencyRestored]:
    """Put the files of an emergency backup into the missing or empty `target`, and recover them there.

    Start the task, or run it. Without `accept_incomplete`, raises `BackupIncomplete` (-92), which says
    what is missing, and `BackupLocked` (-93) as verifying does. Where the recovery fails the files stay
    there, for its other ways: up to the last valid record, read-only, salvage.
    """
    place = Path(target).expanduser().absolute()

    def work(task: Task[EmergencyRestored]) -> EmergencyRestored:
        backup = read_emergency(path)
        if not accept_incomplete:
            missing = backup.missing or ("Nothing is known to be missing.",)
            raise BackupIncomplete(path=backup.path, missing=" ".join(missing))
        vault = vault_of(backup, key)
        with filling(place):
            place.mkdir(mode=0o700, exist_ok=True)
            _check(backup, vault, task, place)
            # Whatever it was when it was copied: it is to be looked at in full.
            (place / ".clean_shutdown").unlink(missing_ok=True)
            (place / ".recovery_needed").touch(mode=0o600)
            sync_directory(place)
        return _recovered(place, backup, task)

    return Task(f"Restore to {place.name}", work)


def _recovered(place: Path, backup: EmergencyBackup, task: Task[Any]) -> EmergencyRestored:
    # Imported here: the database owns the backups.
    from engine.opening import recover_task

    task.stage("Recovering")
    try:
        database = task.carry(recover_task(place))
    except Cancelled:
        raise
    except HoldfastError as error:
        return EmergencyRestored(place, backup, None, error)
    end = database.status().log.last_lsn
    database.close()
    return EmergencyRestored(place, backup, end, None)


def _check(backup: EmergencyBackup, vault: bridge.Vault | None, task: Task[Any], target: Path | None) -> None:
    """Read every file, compare it with the manifest and, where there is a target, copy it there."""
    task.stage("Checking the files", total=backup.bytes, unit="bytes")
    for file in backup.files:
        name = Path(file.name)
        if name.is_absolute() or ".." in name.parts:
            raise BackupDamaged(path=backup.path, file=file.name, detail="it leads out of the backup")
        with ExitStack() as open_files:
            copy = None if target is None else open_files.enter_context(_created(target / name))
            for part in content_of(backup, file, vault):
                task.proceed()
                task.advance(len(part))
                if copy is not None:
                    copy.write(part)
            if copy is not None:
                copy.flush()
                os.fsync(copy.fileno())


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    return path.open("wb")
