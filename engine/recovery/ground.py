"""Where a recovery writes, and the folder that a rehearsal gets for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path

from engine.errors import RecoveryPermissionError
from engine.files import scratch_folder, scratch_parent


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
    parent = scratch_parent(database)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(parent, f".{database.name}.rehearsal-"))
        except OSError as error:
            raise RecoveryPermissionError(path=str(parent), required_permissions="write") from error
        yield folder
