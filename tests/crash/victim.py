"""The writing process as its parent sees it: what it says, and its end."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
SILENCE_S = 90.0
"""A process that says nothing for so long hangs."""

KILLED = 1 if sys.platform == "win32" else -9
"""The exit status of a process that was killed."""

Message = list[Any]


class Silent(Exception):
    """The process lives and says nothing any more."""


class Victim:
    """A child process at work on a database. Its lines are read on a thread until it is dead."""

    def __init__(self, program: str, arguments: Sequence[str], log: Path, **environment: str) -> None:
        """Run the module `program`; `log` takes its standard error, tracebacks of all threads."""
        modules = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": modules, **environment},
            )
        self._lines: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._timer: threading.Timer | None = None
        self.was_killed = False
        self._reader = threading.Thread(target=self._read, name="holdfast-crash-reader", daemon=True)
        self._reader.start()

    def messages(self) -> Iterator[Message]:
        """What it says, until it is dead and everything it said has been read.

        Raises `Silent` where nothing comes for `SILENCE_S`.
        """
        while True:
            try:
                message = self._lines.get(timeout=SILENCE_S)
            except queue.Empty:
                raise Silent from None
            if message is None:
                self._process.wait()
                return
            yield message

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(word.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            # It is dead already, which its messages end with.
            assert self.was_killed, "the process ended by itself"

    def kill_after(self, delay_s: float) -> None:
        """End it without a warning (SIGKILL, TerminateProcess), so long from now."""
        self._timer = threading.Timer(delay_s, self._kill)
        self._timer.start()

    @property
    def lives(self) -> bool:
        """False once it is dead, or about to be."""
        return not self.was_killed and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.poll()

    def _kill(self) -> None:
        self.was_killed = True
        self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # A kill may cut the last line.
            if line.endswith(b"\n"):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # What was still to be written has nobody to read it.
                    continue
