"""Who reads the backups of a folder: none of them is removed meanwhile.

Each reader leaves a small file in the folder for as long as it reads. One of a reader that no longer runs
goes with the next look. On a medium that cannot be written to there is none, and nothing to be removed.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from engine.backups.claim import ELSEWHERE_S, holder_of, is_gone

_PREFIX = ".being-read-by-"
_numbers = itertools.count()


@contextmanager
def being_read(folder: Path) -> Iterator[None]:
    """Let everybody know that the backups in `folder` are read, for as long as the block runs."""
    note = folder / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    with suppress(OSError):
        note.write_text(json.dumps(holder_of(os.getpid())), "utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def is_being_read(folder: Path) -> bool:
    """Whether somebody reads backups in `folder` at this moment."""
    # Each is looked at: those that are over go.
    reading = [note for note in folder.glob(f"{_PREFIX}*") if _reads(note)]
    return bool(reading)


def _reads(note: Path) -> bool:
    try:
        age_s = abs(time.time() - note.stat().st_mtime)
        try:
            is_over = is_gone(json.loads(note.read_bytes())) or age_s > ELSEWHERE_S
        except (ValueError, TypeError, LookupError, AttributeError):
            # One that was cut off while it was written: its reader has long begun, or never will.
            is_over = age_s > ELSEWHERE_S
        if is_over:
            note.unlink(missing_ok=True)
        return not is_over
    except FileNotFoundError:
        return False
    except (OSError, psutil.Error):
        return True
