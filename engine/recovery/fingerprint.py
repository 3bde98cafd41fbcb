"""Whether a database is still the one for which a recovery was planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from engine.config import FILE_NAME as CONFIG_FILE

# What a recovery reads. Not LOCK, the audit log, the history and the state of recoveries: those
# change without changing what a recovery would do.
_FILES = (
    "control",
    "database.holdfast",
    "doublewrite",
    ".clean_shutdown",
    ".recovery_needed",
    "recovery.journal",
    CONFIG_FILE,
)
_WHOLE = ("control", CONFIG_FILE)
"""Small, and decisive: their content counts, not only their size and time."""


def plan_hash(directory: Path, fallback: str = "") -> str:
    """32 hexadecimal digits that change when what a recovery would find, or its `fallback`, changes.

    Made of the size and time of change of every file that a recovery reads, and of the content of
    the small ones.
    """
    found: list[tuple[object, ...]] = [(fallback,)]
    for file in sorted(_present(directory)):
        status = file.stat()
        name = file.relative_to(directory).as_posix()
        content = blake3(file.read_bytes()).hexdigest() if name in _WHOLE else ""
        found.append((name, status.st_size, status.st_mtime_ns, content))
    return blake3(json.dumps(found).encode()).hexdigest()[:32]


def _present(directory: Path) -> Iterator[Path]:
    yield from (directory / name for name in _FILES if (directory / name).is_file())
    yield from (directory / "wal").glob("*.wal")
