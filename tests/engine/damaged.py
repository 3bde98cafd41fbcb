"""Damage on a closed database, and what the tests of its repair ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine
from engine.cli.__main__ import main

PAGE = 8192


def damage(path: Path, first: int = 3, every: int = 1) -> list[int]:
    """Writes rubbish into pages of the closed database; returns their numbers."""
    data = path / "database.holdfast"
    content = bytearray(data.read_bytes())
    damaged = []
    for page in range(first, len(content) // PAGE, every):
        if any(content[page * PAGE : (page + 1) * PAGE]):
            content[page * PAGE + 300 : page * PAGE + 320] = b"what a disk made up!"
            damaged.append(page)
    data.write_bytes(content)
    return damaged


def rows_of(path: Path) -> dict[bytes, bytes]:
    with engine.open(path, create=False) as db, db.transaction() as txn:
        return dict(txn.tree("t", create=False).items())


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, object]]:
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)
