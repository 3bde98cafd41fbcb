"""The page map: what each page is, from the data file, with what the findings know."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine
from engine import errors
from engine.database import Database
from engine.integrity.page_map import PageState, page_map_task

PAGE = 8192


def filled(path: Path) -> Path:
    with engine.open(path) as db, db.transaction() as txn:
        tree = txn.tree("t")
        for i in range(1500):
            tree[b"%06d" % i] = b"v" * 100
        tree[b"long"] = b"x" * 60_000
    return path


def spoil(path: Path, page: int) -> None:
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")


def test_every_page_is_told_by_what_it_is(tmp_path: Path) -> None:
    with engine.open(filled(tmp_path / "d.holdfast")) as db:
        found = page_map_task(db).run()
        counts = found.counts()
        assert sum(counts.values()) == found.pages == db.status().pages
        assert counts[PageState.MAP] == 2
        assert counts[PageState.OVERFLOW] >= 7
        assert counts[PageState.TREE] > 20
        assert found.stride == 1
        assert found.marked == {}
        assert found.state_of(0) is PageState.MAP
        assert dict(found.cell(0, 2)) == {PageState.MAP: 2}


def test_damage_is_seen_on_the_disk_and_stays_as_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast")
    spoil(path, 20)
    with engine.open(path) as db:
        found = page_map_task(db).run()
        assert found.marked == {20: PageState.DAMAGED}
        assert found.state_of(20) is PageState.DAMAGED
        # Looking repairs nothing, though the log reaches this page.
        assert not db.store.page_info(20)["ok"]
        with db.transaction() as txn:
            assert len(list(txn.tree("t").keys())) == 1501
    with engine.open(path) as db:
        assert page_map_task(db).run().marked == {20: PageState.REPAIRED}


def test_looking_at_the_pages_can_be_cancelled(database: Database) -> None:
    task = page_map_task(database)
    task.cancel()
    with pytest.raises(errors.Cancelled):
        task.run()


def test_a_map_takes_in_what_was_found_and_repaired_since(tmp_path: Path) -> None:
    with engine.open(filled(tmp_path / "d.holdfast")) as db:
        first = page_map_task(db).run()
    assert first.with_findings(set(), set()) is first
    damaged = first.with_findings({20, 10**9}, set())
    assert damaged.marked == {20: PageState.DAMAGED}
    assert damaged.states[20] == PageState.DAMAGED
    repaired = damaged.with_findings(set(), {20})
    assert repaired.state_of(20) is PageState.REPAIRED
    assert repaired.counts()[PageState.DAMAGED] == 0
