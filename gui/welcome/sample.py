"""The sample: a small SQLite file made from `resources/samples/harbour.sql` when it is asked for."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from importlib.resources import files
from pathlib import Path

SAMPLE_NAME = "harbour"


def build_sample() -> Path:
    """Make the SQLite file in the system's temporary folder and return its path."""
    script = (files("resources") / "samples" / f"{SAMPLE_NAME}.sql").read_text("utf-8")
    path = Path(tempfile.mkdtemp(prefix="holdfast-sample-")) / f"{SAMPLE_NAME}.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path
