"""Damage on one side of a mirror is made good from the other."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.integrity.advice import Source, options
from engine.integrity.plan import plan_task
from engine.integrity.scrubber import scrub_task
from engine.mirrors.failover import fail_over_task
from engine.mirrors.outlook import verify_task
from engine.tasks import Task
from tests.engine.damaged import answer, damage, rows_of

ROWS = 2000


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A closed database whose log no longer has the history of its pages, and its mirror."""
    path, mirror = tmp_path / "d.holdfast", tmp_path / "m.holdfast"
    with engine.open(path, config=Config().changed(segment_size="1 MiB")) as db:
        db.mirrors.add(mirror)
        for first in range(0, ROWS, 100):
            with db.transaction() as txn:
                tree = txn.tree("t")
                for i in range(first, first + 100):
                    tree[b"%06d" % i] = b"value %d " % i * 20
        for _ in range(3):
            db.mirrors.level_task(mirror).run()
            db.store.rotate_log()
            db.checkpoint()
    return path, mirror


def test_pages_whose_history_left_the_log_come_back_from_the_mirror(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, mirror = pair
    whole = rows_of(path)
    damaged = damage(path, first=10, every=5)
    status, plan = answer(capsys, "repair", path, "--plan")
    assert (status, plan["without_source"]) == (1, [])
    assert {remedy["source"] for remedy in plan["remedies"]} == {"mirror"}  # type: ignore[index, union-attr]
    assert {remedy["place"] for remedy in plan["remedies"]} == {str(mirror)}  # type: ignore[index, union-attr]
    assert main(["repair", str(path), "--plan"]) == 1
    assert "its copy in the mirror m.holdfast" in capsys.readouterr().out
    status, report = answer(capsys, "repair", path)
    assert (status, report["ok"], report["failed"]) == (0, True, [])
    assert {remedy["page"] for remedy in report["repaired"]} == set(damaged)  # type: ignore[index, union-attr]
    assert {loss["lost"] for loss in report["losses"]} == {"nothing"}  # type: ignore[index, union-attr]
    assert rows_of(path) == whole


def test_the_repair_guide_lists_the_mirror_with_what_it_restores_and_loses(pair: tuple[Path, Path]) -> None:
    path, _ = pair
    damage(path, first=12, every=40)
    with engine.open(path, create=False) as db:
        plan = plan_task(db).run()
        for finding in plan.findings:
            chosen = next(option for option in options(plan, finding) if option.is_chosen)
            assert (chosen.source, chosen.lost) == (Source.MIRROR, "nothing")
            assert "from m.holdfast" in chosen.restores


def test_the_background_check_takes_a_page_from_the_mirror_by_itself(pair: tuple[Path, Path]) -> None:
    path, _ = pair
    whole = rows_of(path)
    damage(path, first=12, every=40)
    with engine.open(path, create=False) as db:
        scrub_task(db).run()
        assert not db.integrity.findings()
        assert any("mirror" in loss.source for loss in db.integrity.losses)
    assert rows_of(path) == whole


def test_a_page_stays_damaged_with_its_own_error_where_the_mirror_is_gone(pair: tuple[Path, Path]) -> None:
    path, mirror = pair
    mirror.rename(mirror.with_name("away"))
    damaged = damage(path, first=12, every=40)
    with engine.open(path, create=False) as db:
        assert plan_task(db).run().without_source == tuple(damaged)
        with pytest.raises(errors.HoldfastError), db.transaction() as txn:
            dict(txn.tree("t", create=False).items())


def test_damaged_pages_of_a_mirror_are_mended_without_a_full_copy(pair: tuple[Path, Path]) -> None:
    path, mirror = pair
    damaged = damage(mirror, first=3, every=4)
    with engine.open(path, create=False) as db:
        db.mirrors.level_task(mirror).run()
        db.mirrors.mend_task(mirror).run()
        info = db.mirrors.find(mirror)
        assert (info.copies, info.mended) == (0, len(damaged))
        assert db.mirrors.mend_task(mirror).run() == 0
        assert db.mirrors.verify_task(mirror, path.parent).run().ok


def test_the_command_line_mends_a_mirror(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path, mirror = pair
    whole = {"mirror": str(mirror), "mended": 0, "log_mended": 0, "copies": 0}
    assert answer(capsys, "mirror", path, "mend", mirror) == (0, whole)
    damage(mirror, first=3, every=4)
    assert answer(capsys, "mirror", path, "mend", mirror)[0] == 0
    assert answer(capsys, "mirror", path, "verify", mirror, "--scratch", path.parent)[1]["ok"]


def test_a_mirror_whose_log_is_damaged_is_whole_again_without_a_full_copy(pair: tuple[Path, Path]) -> None:
    path, mirror = pair
    newest = sorted((mirror / "wal").glob("*.wal"))[-1]
    log = bytearray(newest.read_bytes())
    used = max(place for place, byte in enumerate(log) if byte)
    log[used // 2] ^= 1
    newest.write_bytes(log)
    with engine.open(path, create=False) as db:
        db.mirrors.level_task(mirror).run()
        assert db.mirrors.mend_task(mirror).run() == 0
        info = db.mirrors.level_task(mirror).run()
        assert info.copies == 0
        assert not info.error
    assert verify_task(mirror).run().ok
    assert fail_over_task(mirror, path).run().outlook.is_without_loss


def test_a_first_copy_that_a_damaged_page_stops_each_time_is_told_and_not_waited_for(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    path, mirror = pair
    with engine.open(path) as db:
        db.mirrors.remove(mirror, remove_files=True)
    [page] = damage(path, first=10, every=1_000_000)
    place = tmp_path / "n.holdfast"
    with engine.open(path) as db:
        db.mirrors.add(place)
        with pytest.raises(errors.ChecksumMismatch) as told:
            Task("wait", lambda task: db.mirrors.wait_level(place, task, patience_s=0.2)).run()
    assert told.value.fields["page_id"] == page


def test_a_proof_of_a_mirror_whose_log_is_damaged_says_so_and_what_makes_it_whole(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, mirror = pair
    newest = sorted((mirror / "wal").glob("*.wal"))[-1]
    log = bytearray(newest.read_bytes())
    used = max(place for place, byte in enumerate(log) if byte)
    log[used // 2] ^= 1
    newest.write_bytes(log)
    proof = verify_task(mirror).run()
    assert not proof.ok
    assert "log is damaged" in proof.problems[0]
    assert main(["mirror", str(path), "verify", str(mirror)]) == 1
    command = shlex.split(capsys.readouterr().out.strip().splitlines()[-1].partition(": ")[2])
    assert command[0] == "holdfast"
    assert main(command[1:]) == 0
    assert verify_task(mirror).run().ok
