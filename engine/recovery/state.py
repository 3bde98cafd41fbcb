"""What a recovery leaves on the disk about itself: its marker and `recovery.state`.

`.recovery_needed` stands from the moment the lock is taken until the last stage has succeeded
or everything was taken back. `recovery.state` tells how far it came, and what each stage would
have to take back; a state "running" whose process is gone is the sign of a recovery that crashed:
the next one begins by taking back what is noted there. Of a completed one it keeps the report.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from engine.errors import (
    HoldfastError,
    InsufficientResources,
    RecoveryDependencyError,
    RecoveryPermissionError,
)
from engine.files import sync_directory, write_atomically
from engine.recovery.report import RecoveryReport, indicator_json
from engine.recovery.rollback import Rollback
from engine.recovery.standing import standing_json
from engine.types import RecoveryStanding

MARKER = ".recovery_needed"
STATE_FILE = "recovery.state"
BEHIND = "behind"
"""The status of a recovery that goes on behind an open database: nothing of it is to be taken back."""

_FORMAT = 1


class RecoveryState:
    """The persisted state of one recovery. Only its lock holder may use it."""

    def __init__(self, directory: Path, rollback: Rollback) -> None:
        self._directory = directory
        self._rollback = rollback
        self._started_at = time.time()

    def begin(self, report: RecoveryReport) -> None:
        """Persist the first state, then set the marker. Raises what `unwritable` gives.

        In this order, so that a crash in between leaves the note of what is to be taken back.
        """
        self.write("running", report)
        try:
            (self._directory / MARKER).touch(mode=0o600)
            sync_directory(self._directory)
        except OSError as error:
            raise unwritable(self._directory / MARKER, error) from error

    def write(
        self,
        status: str,
        report: RecoveryReport,
        stage: str | None = None,
        standing: RecoveryStanding | None = None,
    ) -> None:
        """Replace the state by how things stand. Raises what `unwritable` gives.

        `standing` is how far a recovery behind an opening has come.
        """
        content: dict[str, Any] = {
            "format": _FORMAT,
            "status": status,
            "pid": os.getpid(),
            "host": platform.node(),
            "started_at": self._started_at,
            "at": time.time(),
            "stage": stage,
            "indicators": [indicator_json(indicator) for indicator in report.indicators],
            "stages": [stage.to_json() for stage in report.stages],
            "rollback": self._rollback.to_json(),
        }
        if standing is not None:
            content["standing"] = standing_json(standing)
        if status == "completed":
            content["report"] = report.to_json()
        try:
            write_atomically(self._directory / STATE_FILE, json.dumps(content, default=str, indent=1))
        except OSError as error:
            raise unwritable(self._directory / STATE_FILE, error) from error

    def clear_marker(self) -> None:
        """Take the marker away, durably: the database needs no recovery any more."""
        try:
            (self._directory / MARKER).unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            raise unwritable(self._directory / MARKER, error) from error


_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LEAST = 1 << 16
"""What the small files of a recovery take, generously."""


def unwritable(file: Path, error: OSError) -> HoldfastError:
    """The recovery error for a small file that could not be written: -77, -72, else -78."""
    if error.errno in _NOT_ALLOWED:
        return RecoveryPermissionError(path=str(file), required_permissions="write")
    if error.errno in _FULL:
        return InsufficientResources(resource="disk space", required=_LEAST, available=0, unit="bytes")
    return RecoveryDependencyError(dependency=f"to write {file.name}", issue=error.strerror)
