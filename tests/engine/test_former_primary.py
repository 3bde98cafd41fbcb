"""A former primary that went on alone: what only it holds is told, brought over, and then given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.backups.former import former_task
from engine.backups.past import difference_task
from engine.cli.__main__ import main
from engine.mirrors.failover import fail_over_task
from engine.types import MirrorPhase
from tests.engine.damaged import answer


def fill(database: Any, numbers: range, value: bytes = b"v") -> None:
    with database.transaction() as txn:
        tree = txn.tree("t")
        for number in numbers:
            tree[f"{number:06}".encode()] = value * 50


def keys(database: Any) -> set[int]:
    with database.transaction(read_only=True) as txn:
        return {int(key) for key in txn.tree("t")}


@pytest.fixture
def parted(tmp_path: Path) -> tuple[Path, Path]:
    """A successor, and the former primary, which has gone on alone; both are closed."""
    former, successor = tmp_path / "a.holdfast", tmp_path / "b.holdfast"
    with engine.open(former) as database:
        fill(database, range(200))
        database.mirrors.add(successor)
        database.mirrors.level_task(successor).run()
        database.mirrors.remove(successor)
        fill(database, range(500, 520))
        fill(database, range(5), b"w")
    fail_over_task(successor).run()
    with engine.open(successor, create=False) as database:
        fill(database, range(700, 710))
    return successor, former


def test_what_only_a_former_primary_holds_is_told_and_it_stays_as_it_is(parted: tuple[Path, Path]) -> None:
    successor, former = parted
    before = {item.name: item.read_bytes() for item in former.iterdir() if item.is_file()}
    with (
        engine.open(successor, create=False) as database,
        former_task(former, database).run() as past,
    ):
        (found,) = difference_task(past, database).run()
        assert (found.removed, found.changed, found.added) == (20, 5, 10)
        with pytest.raises(errors.DatabaseOpenElsewhere):
            engine.open(former, create=False)
    after = {item.name: item.read_bytes() for item in former.iterdir() if item.is_file()}
    assert {name: after[name] for name in before if name != "LOCK"} == {
        name: before[name] for name in before if name != "LOCK"
    }
    assert not list(successor.parent.glob(".holdfast-former-*"))


def test_rows_of_a_former_primary_are_brought_over_and_it_becomes_a_mirror_anew(
    parted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    successor, former = parted
    status, told = answer(capsys, "mirror", successor, "compare", former)
    assert status == 0
    assert [(t["name"], t["removed"], t["changed"]) for t in told["tables"]] == [("t", 20, 5)]  # type: ignore[attr-defined]
    # What would be lost is said first, and nothing is done.
    status, told = answer(capsys, "mirror", successor, "renew", former)
    assert (status, told["renewed"], len(told["lost"])) == (1, False, 1)  # type: ignore[arg-type]
    with engine.open(successor, create=False) as database:
        database.mirrors.list()
        assert keys(database) == {*range(200), *range(700, 710)}
    status, told = answer(capsys, "mirror", successor, "rescue", former, "--table", "t")
    assert (status, told["rescued"]) == (0, True)
    status, told = answer(capsys, "mirror", successor, "renew", former, "--accept-loss")
    assert (status, told["renewed"]) == (0, True)
    with pytest.raises(errors.DatabaseIsMirror):
        engine.open(former)
    assert main(["mirror", str(successor), "fail-back", str(former)]) == 0
    with engine.open(former, create=False) as back:
        assert keys(back) == {*range(200), *range(500, 520), *range(700, 710)}
        assert back.check().ok


def test_a_rescue_without_a_table_says_what_is_missing(
    parted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    successor, former = parted
    assert main(["mirror", str(successor), "rescue", str(former)]) in (2, 3)
    assert "--table" in capsys.readouterr().err
    assert main(["mirror", str(successor), "compare", str(former)]) == 0
    words = capsys.readouterr().out
    assert f"holdfast mirror {successor} rescue {former} --table t" in words
    assert "--accept-loss" in words


def test_a_mirror_that_follows_is_not_made_anew(parted: tuple[Path, Path], tmp_path: Path) -> None:
    successor, _ = parted
    mirror = tmp_path / "c.holdfast"
    with engine.open(successor, create=False) as database:
        database.mirrors.add(mirror)
        database.mirrors.level_task(mirror).run()
        with pytest.raises(errors.InvalidArgument):
            database.mirrors.renew_task(mirror).run()
        assert database.mirrors.find(mirror).phase is MirrorPhase.FOLLOWING
