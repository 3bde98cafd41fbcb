"""One writer at a time in a folder of backups, and what a writer that was killed left behind.

The claim is a file that says who holds it. One whose holder no longer runs on this machine is
taken over, so that a killed backup never blocks those after it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
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
ELSEWHERE_S = 7 * 86_400.0
"""What another machine holds, of which nothing else can be known, it holds no longer than this."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS = 19
"""Its place in /proc/PID/stat, behind the name of the program."""
_SMALL_FILES = (f"{CLAIM}.*", ".*.backup.json.*", ".*.proof.json.*")
"""What the small files of a folder are called until they are whole."""


@contextmanager
def claimed(chain: Path) -> Iterator[None]:
    """Hold the folder `chain` for one writer; it is made where it is missing.

    What a killed writer left unfinished goes first. Raises `BackupTargetInUse` (-66), and what the
    file system says. Others may read what is whole meanwhile.
    """
    claim = chain / CLAIM
    try:
        chain.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not take_claim(claim):
            raise BackupTargetInUse(path=str(chain), use=_use(claim))
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
        if _written(claim):
            return True
        if not _is_cleared(claim):
            break
    return False


def _written(claim: Path) -> bool:
    """Make the claim, unless there is one."""
    text = json.dumps(holder_of(os.getpid()))
    handle, name = tempfile.mkstemp(prefix=f"{claim.name}.", dir=claim.parent)
    whole = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # It has its words before it has its name: a claim of nobody would hold the place for long.
        os.link(whole, claim)
    except FileExistsError:
        return False
    except OSError:
        if claim.exists():
            return False
        # Not every file system has links.
        return _written_in_place(claim, text)
    finally:
        whole.unlink(missing_ok=True)
    return True


def _written_in_place(claim: Path, text: str) -> bool:
    try:
        with claim.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _is_cleared(claim: Path) -> bool:
    """Take away a claim whose holder no longer runs; False where it stands."""
    try:
        text = claim.read_bytes()
        if not _is_abandoned(claim, text):
            return False
        aside = claim.with_name(f"{claim.name}.{os.getpid()}-{threading.get_ident()}")
        claim.rename(aside)
        is_the_same = aside.read_bytes() == text
        if not is_the_same:
            # Another one was faster, and this is its claim.
            with suppress(OSError):
                os.link(aside, claim)
        aside.unlink(missing_ok=True)
    except FileNotFoundError:
        # It was given back, or cleared away by another one.
        return True
    return is_the_same


def holder_of(pid: int) -> dict[str, object]:
    """Who a running process is, on this machine and since its start, whatever is done to the clock.

    Raises `psutil.NoSuchProcess` where there is none of that number.
    """
    boot = ""
    if psutil.LINUX:
        with suppress(OSError):
            boot = _BOOT_ID.read_text("ascii").strip()
    # A process id comes again; together with its start it does not.
    return {"host": socket.gethostname(), "pid": pid, "started": _start_of(pid), "boot": boot}


def _start_of(pid: int) -> float:
    """When a process started; on Linux in the ticks of the machine since its own start.

    There a time of the calendar is made of these by the clock of now: once that is set, or drifts over a
    second, a process that runs would be taken for another one.
    """
    process = psutil.Process(pid)
    if not psutil.LINUX:
        return float(process.create_time())
    try:
        # The name of the program comes before, in brackets, and may hold anything.
        _, _, told = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    return float(told.split()[_START_TICKS])


def is_gone(told: Mapping[str, object]) -> bool:
    """Whether the holder that a file names ran on this machine and runs no more.

    Raises `LookupError`, `TypeError` or `ValueError` where it names none.
    """
    if told["host"] != socket.gethostname():
        return False
    try:
        return holder_of(int(str(told["pid"]))) != dict(told)
    except psutil.NoSuchProcess:
        return True


def _is_abandoned(claim: Path, text: bytes) -> bool:
    try:
        # Whichever way the clock was set meanwhile.
        age_s = abs(time.time() - claim.stat().st_mtime)
        try:
            told = json.loads(text)
            return is_gone(told) or (told["host"] != socket.gethostname() and age_s > ELSEWHERE_S)
        except (ValueError, TypeError, LookupError, AttributeError):
            return age_s > _NAMELESS_S
    except (OSError, psutil.Error):
        return False


def _use(claim: Path) -> str:
    """What is going on where a claim stands, in words."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        told = json.loads(claim.read_bytes())
        return f"process {told['pid']} on {told['host']} writes a backup there, or removes old ones"
    return "another backup goes there at this moment"


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
    for pattern in _SMALL_FILES:
        for left in chain.glob(pattern):
            # One that is being written is younger.
            with suppress(OSError):
                if abs(time.time() - left.stat().st_mtime) > _NAMELESS_S:
                    left.unlink()


def _is_fresh(left: Path) -> bool:
    """Whether a backup that was cut off may still go on."""
    try:
        newest = max(path.stat().st_mtime for name in _JOURNALS if (path := left / name).exists())
    except (OSError, ValueError):
        return False
    return bool(unfinished_of(left)) and abs(time.time() - newest) < _UNFINISHED_S
