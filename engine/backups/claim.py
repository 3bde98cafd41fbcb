"""One writer at a time in a folder of backups, and what a writer that was killed left behind.

The claim is a file that says who holds it. One whose holder no longer runs on this machine is
taken over, so that a killed backup never blocks those after it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from engine.errors import BackupTargetInUse, DiskFull, from_exception

CLAIM = ".backup-under-way"
UNFINISHED = ".partial"
REMOVING = ".removing"
"""What a backup is called while it is written, and while it is removed."""
EMERGENCY = "emergency.json"
"""The manifest of an emergency backup: a folder with it is one."""

_JOURNALS = ("unfinished.0", "unfinished.1")
"""Where the kernel notes how far a backup is."""
_UNFINISHED_S = 7 * 86_400.0
"""A backup that was cut off longer ago is begun anew."""
_NAMELESS_S = 3600.0
"""A claim that names no holder, of this age, is nobody's."""


@contextmanager
def claimed(chain: Path) -> Iterator[None]:
    """Hold the folder `chain` for one writer; it is made where it is missing.

    What a killed writer left unfinished goes first. Raises `BackupTargetInUse` (-66), and what the
    file system says.
    """
    claim = chain / CLAIM
    try:
        chain.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not take_claim(claim):
            raise BackupTargetInUse(path=str(chain))
    except OSError as error:
        raise from_exception(error, "write the backup to") from error
    try:
        _sweep(chain)
        yield
    except DiskFull as error:
        advice = "Free space on the disk that holds the backups, or choose another folder for them."
        raise DiskFull(**{**error.fields, "suggested_action": advice}) from error
    finally:
        claim.unlink(missing_ok=True)


def take_claim(claim: Path) -> bool:
    """Write the file that says that this process holds something; False where another one does, that runs."""
    for _ in range(2):
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(json.dumps(_holder(os.getpid())))
            return True
        except FileExistsError:
            if not _is_abandoned(claim):
                break
            claim.unlink(missing_ok=True)
    return False


def _holder(pid: int) -> dict[str, object]:
    # A process id comes again; together with its start it does not.
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def _is_abandoned(claim: Path) -> bool:
    try:
        told = json.loads(claim.read_text("utf-8"))
        if told["host"] != socket.gethostname():
            return False
        return bool(_holder(int(told["pid"])) != told)
    except psutil.NoSuchProcess:
        return True
    except (ValueError, TypeError, LookupError):
        return time.time() - claim.stat().st_mtime > _NAMELESS_S
    except (OSError, psutil.Error):
        return False


def unfinished_of(left: Path) -> str:
    """The identity of the database whose backup in `left` was cut off and may go on; else empty."""
    for name in _JOURNALS:
        with suppress(OSError, ValueError, LookupError, TypeError):
            return str(json.loads((left / name).read_text("utf-8"))["backup"]["database"])
    return ""


def _sweep(chain: Path) -> None:
    for ending in (UNFINISHED, REMOVING):
        for left in chain.glob(f"*{ending}"):
            if ending == REMOVING or not _is_fresh(left):
                shutil.rmtree(left, ignore_errors=True)


def _is_fresh(left: Path) -> bool:
    """Whether a backup that was cut off may still go on."""
    try:
        newest = max(path.stat().st_mtime for name in _JOURNALS if (path := left / name).exists())
    except (OSError, ValueError):
        return False
    return bool(unfinished_of(left)) and time.time() - newest < _UNFINISHED_S
