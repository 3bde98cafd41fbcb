"""Files as the benchmark needs them: synced, and out of the system's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sync_file(path: Path) -> None:
    """Put a file on the medium."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_all(directory: Path) -> None:
    """Put every file of a directory on the medium."""
    for path in directory.rglob("*"):
        if path.is_file():
            sync_file(path)


def copy(source: Path, target: Path) -> Path:
    """Copy a closed database, on the medium when this returns: nothing is left for later to write."""
    shutil.copytree(source, target)
    sync_all(target)
    return target


def forget_cached(directory: Path) -> bool:
    """Take the files of a directory out of the system's cache; False where that cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True
