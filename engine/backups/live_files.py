"""The files of a database that is open, copied so that a recovery of the copies finds one moment.

The same as for any backup while in use: the log is held first, and the control file is that of this moment;
then come the pages, and the log last, up to where it is durable then. So each page is at least as new as the
control file says, and the log reaches beyond the newest of them; what was under way is undone by the recovery
of the copy, as after a crash. Log that is being written is left out: half of it would look like damage.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine import bridge
from engine.errors import HoldfastError

if TYPE_CHECKING:
    from engine.database import Database

CONTROL = "control"
_HEADER_BYTES, _START_AT, _START_BYTES = 512, 40, 8
"""Of a segment of the log (engine/kernel/src/log/segments.rs)."""
_LOOKS = 20
_PAUSE_S = 0.002

Reader = Callable[[int, int, int], bytes]
"""As `os.pread`: descriptor, bytes, offset."""


class LiveFiles:
    """How an emergency backup reads the files of `database`, which this process has open.

    `looks_whole` says of the bytes of a page whether they are what was once written.
    """

    def __init__(self, database: Database, read: Reader, looks_whole: Callable[[bytes], bool]) -> None:
        self._database, self._read, self._looks_whole = database, read, looks_whole
        self.page_size = int(bridge.inspect(str(database.path))["page_size"])
        self._first_segment = 0
        self._control = b""
        self._end: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile no log goes that the copy needs."""
        with bridge.held_log(self._database.store) as (first, control):
            self._first_segment, self._control = first, control
            yield

    def is_wanted(self, name: str) -> bool:
        """Whether a file is part of the copy: older log may go at any time, and newer is not needed."""
        if not _is_segment(name):
            return True
        start = self._start_of(name)
        is_older = int(Path(name).stem) < self._first_segment
        return not is_older and (start is None or start < self._log_end())

    def reader_of(self, name: str, data_name: str) -> Reader:
        """How the file of this name is read while somebody writes to it."""
        if name == CONTROL:
            return self._read_control
        if name == data_name:
            return self._read_pages
        start = self._start_of(name) if _is_segment(name) else None
        return self._read if start is None else self._read_log_to(_HEADER_BYTES + self._log_end() - start)

    def _log_end(self) -> int:
        """Where the copy of the log ends: all before it is durable, and is written no more."""
        if self._end is None:
            with suppress(HoldfastError):
                # A log that failed is durable as far as it is.
                self._database.flush()
            self._end = self._database.status().log.durable_lsn
        return self._end

    def _start_of(self, name: str) -> int | None:
        """The position of the first byte of a segment, as its header says; none where that is no header."""
        try:
            with (self._database.path / name).open("rb") as file:
                header = file.read(_START_AT + _START_BYTES)
        except OSError:
            return None
        if not any(header):
            # Prepared, and not begun.
            return sys.maxsize
        return int.from_bytes(header[_START_AT:], "little")

    def _read_log_to(self, limit: int) -> Reader:
        def read(descriptor: int, count: int, offset: int) -> bytes:
            data = self._read(descriptor, count, offset)
            return data[: max(0, limit - offset)].ljust(len(data), b"\0")

        return read

    def _read_control(self, _descriptor: int, count: int, offset: int) -> bytes:
        return self._control[offset : offset + count]

    def _read_pages(self, descriptor: int, count: int, offset: int) -> bytes:
        """Pages, each read again where it looks damaged: it may be on its way to the disk."""
        data, size = self._read(descriptor, count, offset), self.page_size
        if offset % size:
            return data
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        for place, part in enumerate(parts):
            for _ in range(_LOOKS):
                if len(part) < size or self._looks_whole(part):
                    break
                time.sleep(_PAUSE_S)
                part = self._read(descriptor, size, offset + place * size)
            parts[place] = part
        return b"".join(parts)


def _is_segment(name: str) -> bool:
    return name.startswith("wal/") and Path(name).stem.isdigit()
