"""Work that is killed with SIGKILL at a chosen call to the operating system, in a process of its own.

A small library is loaded before libc's own calls: it counts those that change files, and at the chosen one
it writes half of what was to be written and kills the process. One process that has everything imported
forks for each piece of work, so that a kill costs milliseconds and not a start of Python.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["NO_STEPS", "Steps", "steps_counted"]

_PATIENCE_S = 100.0
"""Work that takes longer hangs, and tells where."""
_COMPILER = shutil.which("cc")
_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long count;
static atomic_long limit;

void steps_arm(long at) { atomic_store(&count, 0); atomic_store(&limit, at); }
long steps_counted(void) { return atomic_load(&count); }

static int is_last(void) { return atomic_fetch_add(&count, 1) + 1 == atomic_load(&limit); }
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *) dlsym(RTLD_NEXT, #name)
#define PLAIN(name, parameters, arguments) \
    int name parameters { REAL(name); if (is_last()) die(); return real arguments; }

PLAIN(fsync, (int fd), (fd))
PLAIN(fdatasync, (int fd), (fd))
PLAIN(rename, (const char *a, const char *b), (a, b))
PLAIN(renameat, (int c, const char *a, int d, const char *b), (c, a, d, b))
PLAIN(unlink, (const char *a), (a))
PLAIN(unlinkat, (int c, const char *a, int f), (c, a, f))
PLAIN(rmdir, (const char *a), (a))
PLAIN(mkdir, (const char *a, mode_t m), (a, m))
PLAIN(ftruncate, (int fd, off_t n), (fd, n))
PLAIN(ftruncate64, (int fd, off64_t n), (fd, n))

ssize_t write(int fd, const void *b, size_t n) {
    REAL(write);
    if (is_last()) { real(fd, b, n / 2); die(); }
    return real(fd, b, n);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) {
    REAL(pwrite);
    if (is_last()) { real(fd, b, n / 2, at); die(); }
    return real(fd, b, n, at);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
    REAL(pwrite64);
    if (is_last()) { real(fd, b, n / 2, at); die(); }
    return real(fd, b, n, at);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
        } \
        if ((flags & O_CREAT) && is_last()) die(); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
"""

NO_STEPS = "" if sys.platform == "linux" and _COMPILER else "there is no compiler for calls that kill"


class Steps:
    """Runs work in forked processes, to its end or up to a kill."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def count(self, work: str, *arguments: object) -> int:
        """Run `module:function` to its end; how many calls that change files it made."""
        answer = self._ask(work, arguments, 0)
        assert answer["status"] == 0, f"{work} failed: {answer}"
        return answer["calls"]

    def kill(self, work: str, *arguments: object, at: int) -> bool:
        """Run it up to its call number `at`; False where it had ended before."""
        answer = self._ask(work, arguments, at)
        assert answer["status"] in (0, -signal.SIGKILL), f"{work} failed at {at}: {answer}"
        return answer["status"] != 0

    def _ask(self, work: str, arguments: Sequence[object], at: int) -> dict[str, int]:
        to, of = self._process.stdin, self._process.stdout
        assert to is not None
        assert of is not None
        to.write(json.dumps([work, [str(argument) for argument in arguments], at]) + "\n")
        to.flush()
        line = of.readline()
        assert line, "the process that forks has died"
        answer: dict[str, int] = json.loads(line)
        return answer


@contextmanager
def steps_counted(folder: Path) -> Iterator[Steps]:
    """The process that forks, for as long as the block runs. `folder` takes the library."""
    source, library = folder / "steps.c", folder / "steps.so"
    source.write_text(_SOURCE)
    assert _COMPILER is not None
    subprocess.run(
        [_COMPILER, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "tests.crash.steps", str(library)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            yield Steps(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def _serve(library: ctypes.CDLL, lines: IO[str]) -> None:
    for line in lines:
        work, arguments, at = json.loads(line)
        module, _, name = work.partition(":")
        # Imported before the fork: no work begins with it.
        function = getattr(importlib.import_module(module), name)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            faulthandler.dump_traceback_later(_PATIENCE_S, exit=True)
            try:
                library.steps_arm(at)
                function(*arguments)
                calls = library.steps_counted()
                library.steps_arm(0)
                os.write(writing, b"%d" % calls)
                status = 0
            except BaseException as error:
                library.steps_arm(0)
                print(f"{work}: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "calls": int(told or 0)}), flush=True)


if __name__ == "__main__":
    _serve(ctypes.CDLL(sys.argv[1]), sys.stdin)
