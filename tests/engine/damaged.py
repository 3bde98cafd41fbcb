"""Damage on a closed database, and what the tests of its repair ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine
from engine import Config
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


def spoil_leaf(path: Path, config: Config | None = None) -> int:
    """Writes rubbish into a page with rows of the closed database; returns its number."""
    with engine.open(path, create=False, config=config) as db:
        infos = ((page, db.store.page_info(page)) for page in range(db.status().pages))
        leaf = next(page for page, info in infos if info["kind"] == "leaf" and info["tree"] > 1)
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(leaf * PAGE + 300)
        file.write(b"what a disk made up!")
    return leaf


def rows_of(path: Path) -> dict[bytes, bytes]:
    with engine.open(path, create=False) as db, db.transaction() as txn:
        return dict(txn.tree("t", create=False).items())


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, object]]:
    status = main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)
