"""Where a recovery writes, and the folder that a rehearsal gets for that."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import psutil

from engine.errors import RecoveryPermissionError


class Ground(StrEnum):
    """The values are those of the kernel."""

    IN_PLACE = "in_place"
    """To the originals: less room; what was done before a failure stays."""
    OVERLAY = "overlay"
    """Beside the originals until all is done: all or nothing."""
    REHEARSAL = "rehearsal"
    """To a folder beside the database that goes afterwards."""


@contextmanager
def rehearsal_folder(database: Path) -> Iterator[Path]:
    """A private folder for a rehearsal, on the disk of the database where that can be written to.

    Removed afterwards; so are those that crashed rehearsals of this database left.
    """
    prefix = f".{database.name}.rehearsal-"
    parent = database.parent if os.access(database.parent, os.W_OK) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise RecoveryPermissionError(path=str(parent), required_permissions="write") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
