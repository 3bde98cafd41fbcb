"""Databases whose writer was killed, with a backup from before: what the faults of recovery are done to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CHILD_S = 60

ROWS = 3000
COMMITS = 200
"""After the backup, of `PARTS` records each."""
PARTS = 5
LARGE = b"w" * 1000

SHIPS = {
    "name": "ships",
    "columns": [
        {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
        {"name": "name", "type": "text", "declared": "TEXT", "not_null": True},
        {"name": "cargo", "type": "text", "declared": "TEXT", "not_null": True},
    ],
    "primary_key": ["id"],
    "indexes": [{"name": "ships_name", "columns": ["name"], "unique": False}],
}
NAME = "anchor %06d " + "x" * 100

_WRITER = f"""
    import json, sys, time
    import engine
    from engine.config import Config

    db = engine.open(sys.argv[1], config=Config().changed(segment_size="1 MiB", log_buffer="1 MiB"))
    with db.transaction() as txn:
        for number in range({ROWS}):
            txn.tree("t")[b"%06d" % number] = b"v" * 200
    with db.transaction() as txn:
        ships = [(number, {NAME!r} % number, "grain") for number in range(700000, 705000)]
        txn.create_table({json.dumps(json.dumps(SHIPS))}).insert_many(ships)
    db.backups.full_task(sys.argv[2]).run()
    # What the backup lacks of this page is soon in no log any more: it does not bring the page back.
    with db.transaction() as txn:
        txn.tree("t")[b"000001"] = b"after the backup"
    # Log that reaches back to a page's last image would rebuild it.
    for _ in range(3):
        db.checkpoint()
        db.store.rotate_log()
    db.checkpoint()
    with db.transaction() as txn:
        txn.tree("t")[b"000001"] = b"after the checkpoint"
    for number in range({COMMITS}):
        with db.transaction() as txn:
            for part in range({PARTS}):
                txn.tree("later")[b"%06d-%d" % (number, part)] = b"w" * {len(LARGE)}
    loser = db.begin()
    for number in range(300):
        loser.tree("loser")[b"%06d" % number] = b"never committed"
    db.flush()
    print("ready", flush=True)
    time.sleep(600)
"""


class Originals:
    """A database whose writer was killed, made once, and copied for each test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def crashed(self, target: Path, backups: Path) -> Path:
        """A copy at `target`; its backup, taken after `ROWS` records, goes into `backups`."""
        original, kept = self._folder / "original.holdfast", self._folder / "backups"
        if not original.exists():
            process = start(_WRITER, str(original), str(kept))
            process.kill()
            end(process)
        shutil.copytree(kept, backups, dirs_exist_ok=True)
        return Path(shutil.copytree(original, target))


def whole(tree: Mapping[bytes, bytes], later: Mapping[bytes, bytes]) -> bool:
    """Whether all that was committed is there."""
    return (
        len(tree) == ROWS
        and tree[b"000001"] == b"after the checkpoint"
        and len(later) == COMMITS * PARTS
        and all(value == LARGE for value in later.values())
    )


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program, and wait until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        end(process)
        raise AssertionError("the program ended before it was ready")
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Wait for its end, and close what leads to it."""
    process.communicate(timeout=_CHILD_S)
