"""Emergency backups: what can still be read of a database, byte for byte, before anything is tried on it.

An ordinary backup refuses a damaged database, for it promises one that is whole. An emergency backup
promises nothing: it copies the files as they are, goes on where a part cannot be read, and names what is
missing in its manifest. It lies beside the other backups, is no link of their chain, and is never taken
for one: who restores it is told what it lacks and has to agree.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from engine import bridge
from engine.backups.claim import UNFINISHED, claimed
from engine.backups.place import filling
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
from engine.integrity.checksums import verify_file_task
from engine.tasks import Task

MANIFEST = "emergency.json"
_FORMAT = 1
_DATA = "database.holdfast"
_LEFT_OUT = ("LOCK", "archive", "snapshots", "quarantine")
_CHUNK = 1 << 20
_SECTOR = 4096

Reader = Callable[[int, int, int], bytes]
"""As `os.pread`: descriptor, bytes, offset."""


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file as it was copied."""

    name: str
    bytes: int
    blake3: str
    unreadable: tuple[tuple[int, int], ...] = ()
    """Stretches that could not be read, as first byte and length; the copy has zeros there."""


@dataclass(frozen=True, slots=True)
class EmergencyBackup:
    """What an emergency backup holds and lacks."""

    path: str
    database: str
    taken_at: float
    files: tuple[CopiedFile, ...]
    damaged_pages: tuple[int, ...]
    """Pages whose checksum is wrong in the copy: the first thousand of them."""
    missing: tuple[str, ...]
    """What is lacking, in sentences; empty where everything could be read."""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


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
    database: str | Path, target: str | Path, *, read: Reader | None = None
) -> Task[EmergencyBackup]:
    """Copy what can be read of a database into a new folder in `target`; start the task, or run it.

    The database is neither opened nor changed, and may be beyond opening. Cancel and failure leave
    `target` as it was. Raises `DatabaseNotFound` (-14), `BackupTargetInUse` (-66), and
    `DatabaseOpenElsewhere` (-16) where somebody has it open: files of different moments are no
    database, and one that is open can be backed up or has to be closed.
    """
    source, chain = Path(database).expanduser().absolute(), Path(target).expanduser().absolute()
    if chain == source or source in chain.parents:
        raise InvalidArgument(argument="the target", issue="a backup cannot be inside its database")
    reader = read or _pread

    def work(task: Task[EmergencyBackup]) -> EmergencyBackup:
        if not source.is_dir():
            raise DatabaseNotFound(path=str(source))
        _ensure_idle(source)
        with claimed(chain):
            return _take(source, chain, reader, task)

    return Task(f"Emergency backup to {chain.name}", work)


def _ensure_idle(source: Path) -> None:
    try:
        holder = bridge.inspect(str(source))["holder"]
    except HoldfastError:
        return  # what cannot even be looked at is what this is for
    if holder is not None and holder["alive"]:
        raise DatabaseOpenElsewhere(path=str(source), holder=f"process {holder['pid']} on {holder['host']}")


def _take(source: Path, chain: Path, read: Reader, task: Task[Any]) -> EmergencyBackup:
    place = chain / f"emergency-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    unfinished = place.with_name(f"{place.name}{UNFINISHED}")
    try:
        unfinished.mkdir(mode=0o700)
        files, missing = _copy_all(source, unfinished, read, task)
        damaged, words = _damaged_pages(unfinished, task)
        backup = EmergencyBackup(
            str(place), str(source), time.time(), tuple(files), damaged, (*missing, *words)
        )
        task.proceed()
        # The manifest is last: without it, this is no backup.
        write_atomically(unfinished / MANIFEST, _sealed(backup))
        unfinished.rename(place)
        sync_directory(chain)
    except OSError as error:
        raise from_exception(error, "write the backup to") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return backup


def _copy_all(source: Path, place: Path, read: Reader, task: Task[Any]) -> tuple[list[CopiedFile], list[str]]:
    task.stage("Copying what can be read", step=1, steps=2, unit="bytes")
    missing: list[str] = []
    copied = [
        file
        for name in list(_names(source, missing))
        if (file := _copy_one(source, place, name, read, task, missing)) is not None
    ]
    there = {file.name for file in copied}
    missing += [f"{name} is not there." for name in ("control", _DATA) if name not in there]
    return copied, missing


def _copy_one(
    source: Path, place: Path, name: str, read: Reader, task: Task[Any], missing: list[str]
) -> CopiedFile | None:
    try:
        before = _stamp(source / name)
        descriptor = os.open(source / name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        missing.append(f"{name} could not be opened: {error.strerror}.")
        return None
    try:
        file = _copy(descriptor, place / name, name, read, task)
    finally:
        os.close(descriptor)
    if file.unreadable:
        lost = sum(length for _, length in file.unreadable)
        missing.append(f"{lost:,} bytes of {name} could not be read.")
    try:
        has_changed = _stamp(source / name) != before
    except OSError:
        has_changed = True
    if has_changed:
        missing.append(f"{name} changed while it was copied.")
    return file


def _copy(descriptor: int, to: Path, name: str, read: Reader, task: Task[Any]) -> CopiedFile:
    to.parent.mkdir(mode=0o700, exist_ok=True)
    size, seal, holes = os.fstat(descriptor).st_size, blake3(), list[tuple[int, int]]()
    with to.open("wb") as copy:
        to.chmod(0o600)
        at = 0
        while at < size:
            task.proceed()
            data = b"".join(_readable(descriptor, at, min(_CHUNK, size - at), read, holes))
            copy.write(data)
            seal.update(data)
            at += len(data)
            task.advance(len(data))
        copy.flush()
        os.fsync(copy.fileno())
    return CopiedFile(name, size, seal.hexdigest(), tuple(_joined(holes)))


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


def _damaged_pages(place: Path, task: Task[Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    task.stage("Looking at the pages", step=2, steps=2)
    try:
        size = int(bridge.inspect(str(place))["page_size"])
        verdict = task.carry(verify_file_task(place / _DATA, size))
    except Cancelled:
        raise
    except (HoldfastError, OSError):
        return (), ("The pages could not be looked at.",)
    if not verdict.damaged_in_all:
        return (), ()
    pages = tuple(page for page, _ in verdict.damaged)
    return pages, (f"{verdict.damaged_in_all:,} pages are damaged, page {pages[0]} the first.",)


def _sealed(backup: EmergencyBackup) -> str:
    value: dict[str, Any] = {"format": _FORMAT, **asdict(backup), "path": Path(backup.path).name}
    value["seal"] = blake3(json.dumps(value).encode()).hexdigest()
    return json.dumps(value, indent=1)


def emergency_backups(target: str | Path) -> tuple[EmergencyBackup, ...]:
    """The emergency backups in a folder whose manifests can be believed, newest first."""
    found = []
    for manifest in Path(target).expanduser().absolute().glob(f"emergency-*/{MANIFEST}"):
        with suppress(BackupDamaged):
            found.append(read_emergency(manifest.parent))
    return tuple(sorted(found, key=lambda backup: backup.taken_at, reverse=True))


def is_emergency(path: str | Path) -> bool:
    return (Path(path).expanduser() / MANIFEST).is_file()


def read_emergency(path: str | Path) -> EmergencyBackup:
    """What the emergency backup in `path` says of itself; raises `BackupDamaged` (-62)."""
    place = Path(path).expanduser().absolute()
    try:
        value = json.loads((place / MANIFEST).read_text("utf-8"))
        seal = value.pop("seal")
        if blake3(json.dumps(value).encode()).hexdigest() != seal or value["format"] != _FORMAT:
            raise ValueError("changed")
        files = tuple(
            CopiedFile(
                file["name"],
                file["bytes"],
                file["blake3"],
                tuple((first, length) for first, length in file["unreadable"]),
            )
            for file in value["files"]
        )
        return EmergencyBackup(
            path=str(place),
            database=value["database"],
            taken_at=value["taken_at"],
            files=files,
            damaged_pages=tuple(value["damaged_pages"]),
            missing=tuple(value["missing"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        detail = "its manifest is missing, cut off or changed"
        raise BackupDamaged(path=str(place), file=MANIFEST, detail=detail) from None


def verify_emergency_task(path: str | Path) -> Task[EmergencyBackup]:
    """Check the files of an emergency backup against its manifest; start the task, or run it.

    Raises `BackupDamaged` (-62) that names the file. What it lacks is in `missing`.
    """
    return Task("Verify emergency backup", lambda task: _checked(read_emergency(path), task, None))


def restore_emergency_task(
    path: str | Path, target: str | Path, *, accept_incomplete: bool
) -> Task[EmergencyRestored]:
    """Put the files of an emergency backup into the missing or empty `target`, and recover them there.

    Start the task, or run it. Without `accept_incomplete`, raises `BackupIncomplete` (-92), which says
    what is missing. Where the recovery fails the files stay there, for its other ways: up to the last
    valid record, read-only, salvage.
    """
    place = Path(target).expanduser().absolute()

    def work(task: Task[EmergencyRestored]) -> EmergencyRestored:
        backup = read_emergency(path)
        if not accept_incomplete:
            missing = backup.missing or ("Nothing is known to be missing.",)
            raise BackupIncomplete(path=backup.path, missing=" ".join(missing))
        with filling(place):
            place.mkdir(mode=0o700, exist_ok=True)
            _checked(backup, task, place)
            # Whatever it was when it was copied: it is to be looked at in full.
            (place / ".clean_shutdown").unlink(missing_ok=True)
            (place / ".recovery_needed").touch(mode=0o600)
            sync_directory(place)
        return _recovered(place, backup, task)

    return Task(f"Restore to {place.name}", work)


def _recovered(place: Path, backup: EmergencyBackup, task: Task[Any]) -> EmergencyRestored:
    # Imported here: the database owns the backups.
    from engine.database import recover_task

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


def _checked(backup: EmergencyBackup, task: Task[Any], target: Path | None) -> EmergencyBackup:
    """Read every file, compare it with the manifest and, where there is a target, copy it there."""
    place = Path(backup.path)
    task.stage("Checking the files", total=backup.bytes, unit="bytes")
    for file in backup.files:
        name = Path(file.name)
        if name.is_absolute() or ".." in name.parts:
            raise BackupDamaged(path=backup.path, file=file.name, detail="it leads out of the backup")
        try:
            seal, size = blake3(), 0
            with ExitStack() as open_files:
                source = open_files.enter_context((place / name).open("rb"))
                copy = None if target is None else open_files.enter_context(_created(target / name))
                while data := source.read(_CHUNK):
                    task.proceed()
                    seal.update(data)
                    size += len(data)
                    task.advance(len(data))
                    if copy is not None:
                        copy.write(data)
                if copy is not None:
                    copy.flush()
                    os.fsync(copy.fileno())
        except FileNotFoundError:
            raise BackupDamaged(path=backup.path, file=file.name, detail="it is missing") from None
        if (size, seal.hexdigest()) != (file.bytes, file.blake3):
            detail = "its content is not what was written"
            raise BackupDamaged(path=backup.path, file=file.name, detail=detail)
    return backup


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    return path.open("wb")
