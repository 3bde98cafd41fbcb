"""Damaged pages: made whole when they are read, planned and repaired from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config

PAGE = 8192
ROWS = 2000


def filled(path: Path, **settings: object) -> Path:
    with engine.open(path, config=Config().changed(**settings)) as db:
        for first in range(0, ROWS, 100):
            with db.transaction() as txn:
                tree = txn.tree("t")
                for i in range(first, first + 100):
                    tree[b"%06d" % i] = b"value %d " % i * 20
    return path


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


def test_damage_whose_history_is_in_the_log_is_mended_by_reading(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    whole = rows_of(path)
    assert len(whole) == ROWS
    damaged = damage(path)
    assert len(damaged) > 20
    told: list[str] = []
    with engine.open(path, create=False) as db:
        db.events.subscribe(lambda event: told.append(event.kind))
        with db.transaction() as txn:
            assert dict(txn.tree("t", create=False).items()) == whole
        assert db.check().ok
    assert len(list((path / "quarantine").iterdir())) >= len(damaged) - 5
    assert "page_repaired" in told


def test_the_command_line_finds_plans_and_repairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = filled(tmp_path / "d.holdfast")
    whole = rows_of(path)
    damaged = damage(path, every=3)
    status, plan = answer(capsys, "repair", path, "--plan")
    assert status == 1
    planned = {remedy["page"] for remedy in plan["remedies"]}  # type: ignore[index, union-attr]
    assert planned == set(damaged)
    assert plan["without_source"] == []
    status, report = answer(capsys, "repair", path)
    assert (status, report["ok"], report["failed"]) == (0, True, [])
    assert {remedy["page"] for remedy in report["repaired"]} == set(damaged)  # type: ignore[index, union-attr]
    assert answer(capsys, "scan-corruption", path)[0] == 0
    assert rows_of(path) == whole


def test_pages_that_nothing_can_rebuild_are_named_and_the_rest_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    with engine.open(path, create=False) as db:
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
    damaged = damage(path, first=10, every=7)
    status, plan = answer(capsys, "scan-corruption", path)
    assert status == 1
    assert plan["without_source"] == damaged
    status, report = answer(capsys, "repair", path)
    assert status == 1
    assert report["repaired"] == []
    with engine.open(path, create=False) as db:
        with db.transaction() as txn:
            tree = txn.tree("t", create=False)
            with pytest.raises(errors.ChecksumMismatch):
                list(tree.items())
            txn.tree("other")[b"k"] = b"v"
        assert [found["page"] for found in db.store.pages_set_apart()]


def test_damage_stops_all_changes_where_the_setting_says_halt(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    with engine.open(path, create=False) as db:
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
    damage(path, first=10)
    db = engine.open(path, create=False, config=Config().changed(corruption_action="halt"))
    with pytest.raises(errors.HoldfastError), db.transaction() as txn:
        list(txn.tree("t", create=False).items())
    with pytest.raises(errors.StoreFailed), db.transaction() as txn:
        txn.tree("t", create=False)[b"new"] = b"value"
    with pytest.raises(errors.StoreFailed):
        db.close()
