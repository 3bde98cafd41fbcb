"""What is done to a database, its disk, its clock between a crash and its recovery."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import bridge
from tests.recovery_causes import held_by_a_recovery, log_damaged, middle_of_the_log

__all__ = [
    "clock_a_day_back",
    "held_by_a_recovery",
    "log_damaged",
    "segment_missing",
    "small_disk",
    "tear_pages",
]

_COMPILER = shutil.which("cc")
_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, now);
    if (answer == 0 && clock == CLOCK_REALTIME) now->tv_sec -= 86400;
    return answer;
}
"""


_MAY_MOUNT = 21
"""The capability of Linux, CAP_SYS_ADMIN: root in a container may lack it."""


def _cannot_mount() -> str:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return "small disks are mounted on Linux only"
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), "0")
    if not int(held, 16) >> _MAY_MOUNT & 1 or shutil.which("mount") is None:
        return "this account may not mount a small disk"
    return ""


NO_SMALL_DISK = _cannot_mount()
NO_OTHER_CLOCK = "" if os.name == "posix" and _COMPILER else "there is no compiler for a clock of its own"


def tear_pages(path: Path) -> int:
    """Tear every page in its place whose copy in the double-write file is the same; returns how many."""
    size = int(bridge.inspect(str(path))["page_size"])
    copies = (path / "doublewrite").read_bytes()
    torn = 0
    with (path / "database.holdfast").open("r+b") as file:
        for at in range(0, len(copies) - size + 1, size):
            copy = copies[at : at + size]
            place = int.from_bytes(copy[16:20], "little") * size
            file.seek(place)
            if any(copy) and file.read(size) == copy:
                file.seek(place + size // 2)
                file.write(os.urandom(size // 2))
                torn += 1
    return torn


@contextmanager
def segment_missing(path: Path) -> Iterator[None]:
    """The segment in the middle of what recovery reads is gone."""
    segment, _place = middle_of_the_log(path)
    segment.unlink()
    yield


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system in memory, with a size of its own."""

    folder: Path

    def grow(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """A real file system of `size` bytes at `folder`, gone afterwards."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # A process that died a moment ago may still hold a file of it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def clock_a_day_back(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment of processes whose clock is a day behind; the clock of the machine stays."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK)
    assert _COMPILER is not None
    subprocess.run([_COMPILER, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    yield {"LD_PRELOAD": str(library)}
