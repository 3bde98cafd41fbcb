"""The sample: a small SQLite file made from `resources/samples/harbour.sql` when it is asked for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from engine.files import write_atomically

SAMPLE_NAME = "harbour"


def build_sample(folder: Path) -> Path:
    """Make the SQLite file in `folder` and return its path.

    There is one file, however often the sample is tried: nothing is left to be cleared away. It is left
    alone where it is right, as another window may be reading it. Raises `OSError`.
    """
    script = (files("resources") / "samples" / f"{SAMPLE_NAME}.sql").read_text("utf-8")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        content = connection.serialize()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SAMPLE_NAME}.sqlite"
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)
    return path
