"""A real cause for each of the fourteen recovery errors: how it comes about, and how it is put right.

The engine's, the command line's and the window's tests of recovery errors all run over `CAUSES`. A
`fault` is a context: inside it the cause is there, and a recovery ends with the error; after it the
cause has been removed, as the person does whom the error has told so. Faults of files alter them as
a disk, a copy program or a person would; limits are those of the operating system.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from unittest import mock

import blake3

from engine import bridge
from engine.config import Config
from engine.recovery.manager import RecoveryManager
from tests.recovery_originals import NAME, end, start

_HOLDER = """
    import sys
    from engine.recovery.manager import RecoveryManager

    manager = RecoveryManager(sys.argv[1])
    manager.prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    manager.install()
    manager.take_store().close()
"""

_CRASHES_IN_RECOVERY = """
    import os, sys
    from engine.recovery.manager import RecoveryManager

    RecoveryManager(sys.argv[1]).prepare()
    print("ready", flush=True)
    os._exit(1)
"""


class Through(StrEnum):
    """What meets the cause."""

    RUN = "run"
    REHEARSE = "rehearse"
    OPEN = "open"


class PutRight(StrEnum):
    """What helps."""

    AGAIN = "again"
    """The same, once the cause is gone."""
    BACKUP = "backup"
    """The newest backup, restored into a new directory."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One error with a cause that really brings it about."""

    code: int
    words: str
    fault: Callable[[Path], AbstractContextManager[None]]
    answers: tuple[bool, bool, bool]
    """A person has to act; it can be tried again; there is another way. As this failure answers."""
    fields: Mapping[str, Callable[[Any], bool]]
    """What each field of the error holds here."""
    through: Through = Through.RUN
    put_right: PutRight = PutRight.AGAIN
    caused_by: int = 0
    """The code of the error behind it, where that is another recovery error."""
    missing: str = field(default="")
    """Why it cannot be brought about on this system; empty where it can."""

    def __str__(self) -> str:
        return str(self.code)


# Faults


@contextmanager
def control_overwritten(path: Path) -> Iterator[None]:
    file = path / "control"
    file.write_bytes(b"\xff" * file.stat().st_size)
    yield


@contextmanager
def log_damaged(path: Path) -> Iterator[None]:
    segment, place = middle_of_the_log(path)
    with segment.open("r+b") as file:
        file.seek(place)
        file.write(b"\xa5" * 64)
    yield


_HEADER = 512


def middle_of_the_log(path: Path) -> tuple[Path, int]:
    """The segment and the place in it where the middle is of what a recovery reads."""
    used = [file for file in (path / "wal").glob("*.wal") if begins_at(file)]
    last = max(used, key=begins_at)
    end = begins_at(last) + len(last.read_bytes().rstrip(b"\0")) - _HEADER
    middle = (int(bridge.inspect(str(path))["redo_lsn"]) + end) // 2
    segment = max((file for file in used if begins_at(file) <= middle), key=begins_at)
    return segment, _HEADER + middle - begins_at(segment)


def begins_at(segment: Path) -> int:
    """Where in the log a segment begins: `start_lsn` of its header. 0 for one that is not in use."""
    with segment.open("rb") as file:
        head = file.read(64)
    # magic 8, version 4, database id 16, incarnation 4, number 8
    return int.from_bytes(head[40:48], "little")


@contextmanager
def _few_handles(path: Path) -> Iterator[None]:
    """This process may open only twenty more files."""
    import resource

    import psutil

    # What earlier work has let go of is closed now, not in the middle.
    gc.collect()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def held_by_a_recovery(path: Path) -> Iterator[None]:
    """Another process recovers it, and goes on once the cause is to be gone."""
    process = start(_HOLDER, str(path))
    try:
        yield
    finally:
        end(process)
    assert process.returncode == 0


@contextmanager
def _files_may_not_grow(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond 256 KiB: as where a quota is used up."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def page_damaged(path: Path, key: bytes) -> Iterator[None]:
    """A bit of the leaf that holds a key is flipped, and no double-write copy of it is left."""

    def flip(page: bytearray) -> None:
        page[len(page) // 2] ^= 1

    _change(path, lambda page: key in page, flip)
    yield


def _change(path: Path, is_wanted: Callable[[bytes], bool], change: Callable[[bytearray], None]) -> None:
    """Change the first leaf that is wanted, and leave no double-write copy of it."""
    size = int(bridge.inspect(str(path))["page_size"])
    content = bytearray((path / "database.holdfast").read_bytes())
    pages = ((at, bytes(content[at : at + size])) for at in range(0, len(content), size))
    leaf, page = next((at, bytearray(page)) for at, page in pages if page[20] == 1 and is_wanted(page))
    change(page)
    content[leaf : leaf + size] = page
    (path / "database.holdfast").write_bytes(content)
    (path / "doublewrite").write_bytes(bytes((path / "doublewrite").stat().st_size))


@contextmanager
def _wrong_setting(path: Path) -> Iterator[None]:
    (path / "reliability.toml").write_text('recovery_timeout = "soon"\n')
    yield
    # The window takes the line out itself.
    (path / "reliability.toml").write_text("")


@contextmanager
def _no_access(path: Path) -> Iterator[None]:
    """The account of this process has no right to the directory."""
    if os.geteuid() == 0:
        # No mode keeps root out. Whose process it is decides what the account may do.
        os.setreuid(65534, 0)
        try:
            yield
        finally:
            os.setreuid(0, 0)
        return
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(0o700)


@contextmanager
def _state_in_the_way(path: Path) -> Iterator[None]:
    """What is to be written has the name of a folder that is not empty."""
    (path / "recovery.state" / "kept").mkdir(parents=True)
    yield
    shutil.rmtree(path / "recovery.state")


@contextmanager
def _no_progress_in_time(path: Path) -> Iterator[None]:
    """The time limit is below what any disk can keep.

    The settings allow no limit under a second, and a disk that stands still for a second is not to be
    had in a test; so the settings are replaced. The pauses that are measured are real.
    """
    hurried = replace(Config(), recovery_timeout=0.001)
    with mock.patch("engine.config.load", return_value=hurried):
        yield


@contextmanager
def _cannot_be_taken_back(path: Path) -> Iterator[None]:
    """A recovery crashed, and what it had noted to remove has become a folder that is not empty."""
    end(start(_CRASHES_IN_RECOVERY, str(path)))
    marker = path / ".recovery_needed"
    marker.unlink()
    (marker / "kept").mkdir(parents=True)
    yield
    shutil.rmtree(marker)


@contextmanager
def _no_room_to_rebuild_an_index(path: Path) -> Iterator[None]:
    """An index says something else than its table, as faulty memory leaves it, and there is room for redo
    and undo, but not for another index.

    Once there is room the index is rebuilt: what it says stays wrong until then.
    """
    import resource

    needed = RecoveryManager(path).rehearse().overlay_bytes
    entry = (NAME % 702500).encode()[-100:]

    def misstate(page: bytearray) -> None:
        page[page.index(entry) + 50] -= 1
        page[:16] = blake3.blake3(bytes(16) + page[16:]).digest(length=16)

    _change(path, lambda page: entry in page and b"grain" not in page, misstate)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (needed + (128 << 10), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _is(value: Any) -> Callable[[Any], bool]:
    return lambda found: bool(found == value)


def _has(text: str) -> Callable[[Any], bool]:
    return lambda found: text in str(found)


_ON_WINDOWS = "it has no such limit" if os.name == "nt" else ""
_ACCOUNTS = "permissions of Windows are not those of Unix" if os.name == "nt" else ""
_SOME = bool
_LOCK, _TRANSACTIONS = "Lock Acquisition", "Transaction Recovery"

CAUSES: tuple[Cause, ...] = (
    Cause(
        -70,
        "both slots of the control file are overwritten",
        control_overwritten,
        (True, False, False),
        {"reason": _has("control file"), "suggested_action": _has("backup")},
        put_right=PutRight.BACKUP,
    ),
    Cause(
        -71,
        "the log is damaged before its end",
        log_damaged,
        (True, False, True),
        {"details": _SOME, "suggested_action": _has("backup")},
        put_right=PutRight.BACKUP,
    ),
    Cause(
        -72,
        "this process may open too few files",
        _few_handles,
        (False, True, True),
        {"resource": _is("file handles"), "required": _SOME, "available": lambda found: 0 < found < 64},
        missing=_ON_WINDOWS,
    ),
    Cause(
        -73,
        "another process recovers it, and so does this one",
        held_by_a_recovery,
        (False, True, True),
        {"lock_holder": _has("process "), "suggested_action": _SOME},
    ),
    Cause(
        -74,
        "no file may grow any more, in the middle of redo",
        _files_may_not_grow,
        (False, True, True),
        {
            "completed_stages": lambda found: found[-1] == "WAL Validation",
            "failed_stage": _is(_TRANSACTIONS),
            "cause": _has("-72"),
            "rollback_available": _is(True),
        },
        caused_by=-72,
        missing=_ON_WINDOWS,
    ),
    Cause(
        -75,
        "a page that redo needs is damaged, and no log, mirror or backup brings it back",
        lambda path: page_damaged(path, b"000001"),
        (True, False, True),
        {
            "description": _has("could not be redone"),
            "diagnostics": _has("page "),
            "recovery_suggestions": _has("backup"),
        },
        through=Through.REHEARSE,
        put_right=PutRight.BACKUP,
    ),
    Cause(
        -76,
        "a value in reliability.toml is wrong",
        _wrong_setting,
        (False, True, True),
        {"setting": _is("recovery_timeout"), "issue": _SOME, "fix": _SOME},
    ),
    Cause(
        -77,
        "the account may not use the directory",
        _no_access,
        (False, True, True),
        {"path": _SOME, "required_permissions": _is("read and write")},
        missing=_ACCOUNTS,
    ),
    Cause(
        -78,
        "a folder has the name of the file that the state goes into",
        _state_in_the_way,
        (True, True, True),
        {"dependency": _has("recovery.state"), "issue": _SOME},
    ),
    Cause(
        -79,
        "there is no progress within the limit",
        _no_progress_in_time,
        (False, True, True),
        {"stage": _SOME, "timeout_seconds": _is(0.001), "progress": lambda found: found is not None},
    ),
    Cause(
        -80,
        "another process recovers it, and this one opens it",
        held_by_a_recovery,
        (False, True, True),
        {"message": _has("process ")},
        through=Through.OPEN,
    ),
    Cause(
        -81,
        "what a crashed recovery had made cannot be removed",
        _cannot_be_taken_back,
        (True, True, True),
        {
            "stage": _is(_LOCK),
            "reason": _has(".recovery_needed"),
            "manual_intervention_needed": _is(True),
        },
        put_right=PutRight.BACKUP,
    ),
    Cause(
        -82,
        "a damaged index cannot be rebuilt, for no file may grow any more: nothing is left to check by",
        _no_room_to_rebuild_an_index,
        (True, True, True),
        {
            "stage": _is("Consistency Validation"),
            "dependency": _is("Index Reconstruction"),
            "dependency_error": _SOME,
        },
        through=Through.REHEARSE,
        caused_by=-72,
        missing=_ON_WINDOWS,
    ),
    Cause(
        -83,
        "a page that redo does not touch is damaged",
        lambda path: page_damaged(path, b"002000"),
        (True, False, True),
        {"check_name": _is("Consistency Validation"), "details": _SOME, "critical": _is(True)},
        through=Through.REHEARSE,
        put_right=PutRight.BACKUP,
    ),
)
