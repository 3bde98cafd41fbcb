"""The one way in which Python writes a file that must never be seen half written, and its scratch folders."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import psutil

_TRIES = 20
_PAUSE_S = 0.05


def write_atomically(path: Path, content: str | bytes, *, private: bool = True) -> None:
    """Replace `path` by `content`: afterwards it holds either the old or the new, in full.

    The content is on the medium before it gets the name (Pillai et al. 2014). `private`
    leaves the file readable to its owner only. Raises `OSError`; the old file is then intact.
    """
    with replacing(path, private=private) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[BinaryIO]:
    """As `write_atomically`, for what is written bit by bit: an error in the block leaves the old file."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not private and os.name != "nt":
            temporary.chmod(0o644)
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def scratch_parent(database: Path) -> Path:
    """Where scratch folders of a database go: beside it, on its disk, where that can be written to."""
    return database.parent if os.access(database.parent, os.W_OK) else Path(tempfile.gettempdir())


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A private folder in `parent` that goes afterwards; so do those that crashed programs left.

    Raises `OSError` where none can be made.
    """
    for left in parent.glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(source: Path, target: Path) -> None:
    # On Windows a scanner or indexer may hold the target open for a moment.
    for attempt in range(_TRIES):
        try:
            source.replace(target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S)
