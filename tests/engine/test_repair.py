"""Damaged pages: made whole when they are read, planned and repaired from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.integrity.scrubber import scrub_task
from tests.engine.damaged import answer, damage, rows_of

ROWS = 2000


def filled(path: Path, **settings: object) -> Path:
    with engine.open(path, config=Config().changed(**settings)) as db:
        for first in range(0, ROWS, 100):
            with db.transaction() as txn:
                tree = txn.tree("t")
                for i in range(first, first + 100):
                    tree[b"%06d" % i] = b"value %d " % i * 20
    return path


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


def without_history(folder: Path) -> Path:
    """A filled database whose log no longer reaches back to its pages."""
    path = filled(folder / "d.holdfast", segment_size="1 MiB")
    with engine.open(path, create=False) as db:
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
    return path


def test_pages_that_nothing_can_rebuild_are_named_and_the_rest_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = without_history(tmp_path)
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
    path = without_history(tmp_path)
    damage(path, first=10)
    with engine.open(path, create=False, config=Config().changed(corruption_action="halt")) as db:
        with pytest.raises(errors.ChecksumMismatch), db.transaction() as txn:
            list(txn.tree("t", create=False).items())
        with pytest.raises(errors.WritesHalted), db.transaction() as txn:
            txn.tree("t", create=False)[b"new"] = b"value"


def far_from_its_log(path: Path, *, archive: bool) -> dict[bytes, bytes]:
    """A backed up database whose pages have changed since, and whose log is gone; returns its rows."""
    settings = Config().changed(segment_size="1 MiB", archive_log=archive)
    with engine.open(path, create=False, config=settings) as db:
        db.backups.full_task(db.keeper.folder).run()
        with db.transaction() as txn:
            for i in range(ROWS // 4):
                txn.tree("t")[b"%06d" % i] = b"changed %d " % i * 20
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
    return rows_of(path)


def test_pages_whose_history_left_the_log_come_back_from_the_backup_and_the_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    whole = far_from_its_log(path, archive=True)
    damaged = damage(path, first=10, every=5)
    status, plan = answer(capsys, "repair", path, "--plan")
    assert (status, plan["without_source"]) == (1, [])
    sources = {remedy["source"] for remedy in plan["remedies"]}  # type: ignore[index, union-attr]
    assert "backup" in sources
    assert main(["repair", str(path), "--plan"]) == 1
    assert "its copy in the backup full-" in capsys.readouterr().out
    status, report = answer(capsys, "repair", path)
    assert (status, report["ok"], report["failed"]) == (0, True, [])
    assert {remedy["page"] for remedy in report["repaired"]} == set(damaged)  # type: ignore[index, union-attr]
    assert {loss["lost"] for loss in report["losses"]} == {"nothing"}  # type: ignore[index, union-attr]
    assert rows_of(path) == whole


def test_a_backup_without_the_log_since_gives_back_what_has_not_changed_and_says_why_not_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    whole = far_from_its_log(path, archive=False)
    damage(path, first=10)
    status, report = answer(capsys, "repair", path)
    assert status == 1
    assert len(report["repaired"]) > 20  # type: ignore[arg-type]
    assert report["without_source"]
    assert main(["repair", str(path), "--plan"]) == 1
    assert "Looked at: " in (told := capsys.readouterr().out)
    assert "gap" in told or "not kept" in told or "does not reach back" in told
    # Whatever can be read now is right.
    with engine.open(path, create=False) as db, db.transaction() as txn:
        tree = txn.tree("t", create=False)
        found = 0
        for key, value in whole.items():
            try:
                assert tree[key] == value
                found += 1
            except errors.HoldfastError:
                continue
        assert found > ROWS // 2


def test_pages_are_taken_from_a_folder_of_backups_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    far_from_its_log(path, archive=True)
    elsewhere = tmp_path / "another disk"
    (tmp_path / "d backups").rename(elsewhere)
    damaged = damage(path, first=10, every=9)
    assert answer(capsys, "repair", path, "--plan")[1]["without_source"] == damaged
    assert answer(capsys, "repair", path, "--plan", "--from", elsewhere)[1]["without_source"] == []
    assert answer(capsys, "repair", path, "--from", elsewhere)[0] == 0


def test_the_background_check_takes_a_page_from_a_backup_by_itself(tmp_path: Path) -> None:
    path = filled(tmp_path / "d.holdfast", segment_size="1 MiB")
    whole = far_from_its_log(path, archive=True)
    damage(path, first=12, every=40)
    with engine.open(path, create=False) as db:
        scrub_task(db).run()
        assert not db.integrity.findings()
        assert any("backup" in loss.source for loss in db.integrity.losses)
    assert rows_of(path) == whole


def test_an_error_of_a_damaged_page_names_its_tree_and_the_finding_its_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = without_history(tmp_path)
    (page,) = damage(path, first=20, every=100_000)
    with engine.open(path, create=False) as db:
        with db.transaction(read_only=True) as txn, pytest.raises(errors.ChecksumMismatch) as caught:
            list(txn.tree("t", create=False).items())
        assert (caught.value.fields["page_id"], caught.value.fields["tree"]) == (page, "t")
        assert f"Page {page} of t " in caught.value.message
        with db.transaction() as txn, pytest.raises(errors.ChecksumMismatch) as caught:
            txn.tree("t").put_many([(b"%06d" % i, b"new") for i in range(ROWS)])
        assert caught.value.fields["tree"] == "t"
    status, told = answer(capsys, "check", path, "--detailed")
    assert status == 1
    (finding,) = told["findings"]  # type: ignore[misc]
    assert (finding["page"], finding["tree"]) == (page, "t")
    assert finding["rows"] > 0
    assert finding["key_range"].startswith("after 0")
