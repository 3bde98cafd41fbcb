"""The time line: commits that can be restored to, what a gap hides, moments with names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.backups.line import commits_task, rows_before, time_line_task
from engine.backups.named import FILE_NAME, named_in
from engine.backups.point import at_lsn, at_name, restore_point_task
from engine.config import Config
from engine.database import Database

SCHEMA = (
    '{"name": "people", "columns": [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}],'
    ' "primary_key": ["id"], "indexes": [{"name": "by_name", "columns": ["name"], "unique": true}]}'
)


@pytest.fixture
def archived(tmp_path: Path, config: Config) -> Iterator[Database]:
    """A database with a table, that keeps its closed log segments."""
    chain = str(tmp_path / "chain")
    settings = config.changed(archive_log=True, backup_folder=chain)
    with engine.open(tmp_path / "archived.holdfast", config=settings) as opened:
        with opened.transaction() as txn:
            txn.create_table(SCHEMA)
        yield opened


def add(database: Database, *ids: int) -> None:
    with database.transaction() as txn:
        txn.table("people").insert_many([(i, f"name {i}") for i in ids])


def rows_in(path: Path) -> int:
    with engine.open(path, create=False, recovery="never") as database:
        return database.tables.info("people").rows


def test_each_commit_after_a_backup_is_on_the_line_with_the_rows_there_were(
    archived: Database, tmp_path: Path
) -> None:
    add(archived, 0)
    info = archived.backups.full_task(tmp_path / "chain").run()
    for number in range(1, 6):
        add(archived, number * 10, number * 10 + 1)
    line = time_line_task(archived).run()
    own = [bin_ for bin_ in line.bins if bin_.lsn > info.end_lsn]
    assert [bin_.commits for bin_ in own] == [1] * 5
    assert all(bin_.is_reachable and bin_.rows == {"people": 2} for bin_ in own)
    assert not any(bin_.is_reachable for bin_ in line.bins if bin_.lsn < info.end_lsn)
    counts = [line.rows_at(bin_.lsn) for bin_ in own]
    assert [rows and rows["people"] for rows in counts] == [3, 5, 7, 9, 11]
    # What is told of a point is what is there once it is restored.
    place = tmp_path / "back.holdfast"
    restore_point_task(tmp_path / "chain", place, at_lsn(own[2].lsn)).run()
    assert rows_in(place) == 7


def test_a_long_line_is_bins_and_each_bin_is_read_commit_by_commit(
    archived: Database, tmp_path: Path
) -> None:
    archived.backups.full_task(tmp_path / "chain").run()
    for number in range(60):
        add(archived, number)
    line = time_line_task(archived, most=16).run()
    assert len(line.bins) <= 16
    place = next(
        place
        for place, bin_ in enumerate(line.bins)
        if bin_.commits > 1 and bin_.rows == {"people": bin_.commits}
    )
    bin_ = line.bins[place]
    commits = commits_task(archived, bin_).run()
    assert len(commits) == bin_.commits
    assert all(commit.touched["people"].inserted == 1 and commit.is_whole for commit in commits)
    after = line.rows_at(bin_.lsn)
    assert after is not None
    assert after["people"] == 60 - sum(later.commits for later in line.bins[place + 1 :])
    assert rows_before(after, commits)["people"] == after["people"] - bin_.commits
    assert rows_before(after, commits[-1:])["people"] == after["people"] - 1


def test_a_gap_in_the_archive_hides_what_is_behind_it(archived: Database, tmp_path: Path) -> None:
    archived.backups.full_task(tmp_path / "chain").run()
    add(archived, 1)
    for number in range(60):
        txn = archived.begin()
        for part in range(200):
            txn.tree("t")[b"%06d-%d" % (number, part)] = b"v" * 1000
        txn.commit()
    archived.checkpoint()
    kept = sorted((archived.path / "archive").iterdir())
    assert len(kept) > 3
    kept[2].unlink()
    line = time_line_task(archived).run()
    assert len(line.stretches) == 2
    early, late = line.bins[0], line.bins[-1]
    assert line.can_reach(early.lsn)
    assert not line.can_reach(late.lsn)
    assert line.rows_at(early.lsn) is None
    # A backup on this side of the gap begins anew.
    archived.backups.full_task(tmp_path / "chain").run()
    add(archived, 2)
    line = time_line_task(archived).run()
    assert line.can_reach(line.bins[-1].lsn)


def test_a_moment_with_a_name_is_restored_by_it_even_without_the_database(
    archived: Database, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    archived.backups.full_task(chain).run()
    add(archived, 1)
    point = archived.points.mark("before the  migration", "just to be sure")
    add(archived, 2, 3)
    assert archived.points.all() == (point,)
    assert point.name == "before the migration"
    for name in ("before the migration", "", "x" * 200):
        with pytest.raises(errors.InvalidArgument):
            archived.points.mark(name)
    assert at_name("before the migration", chain) == at_lsn(point.lsn)
    restore_point_task(chain, tmp_path / "back.holdfast", at_name(point.name, chain)).run()
    assert rows_in(tmp_path / "back.holdfast") == 1
    identity = archived.keeper.identity()
    archived.close()
    (archived.path / FILE_NAME).unlink()
    assert at_name("before the migration", chain) == at_lsn(point.lsn), "the copy beside the backups"
    assert named_in([chain], "of another database") == {}
    (chain / f"{identity}.{FILE_NAME}").write_text("no json")
    with pytest.raises(errors.InvalidArgument):
        at_name("before the migration", chain)


def test_a_folder_of_backups_that_comes_later_knows_the_names_too(archived: Database, tmp_path: Path) -> None:
    archived.backups.full_task(tmp_path / "chain").run()
    point = archived.points.mark("early")
    other = tmp_path / "other chain"
    archived.backups.full_task(other).run()
    assert named_in([other], archived.keeper.identity()) == {"early": point}


def test_a_name_is_forgotten_and_its_moment_is_not(archived: Database, tmp_path: Path) -> None:
    archived.backups.full_task(tmp_path / "chain").run()
    point = archived.points.mark("here")
    add(archived, 1)
    assert archived.points.remove("here") == point
    assert archived.points.all() == ()
    with pytest.raises(errors.InvalidArgument):
        archived.points.get("here")
    assert time_line_task(archived).run().can_reach(point.lsn)


def test_a_table_that_was_made_anew_since_is_not_told_as_the_one_there_was(
    archived: Database, tmp_path: Path
) -> None:
    add(archived, 1, 2, 3)
    info = archived.backups.full_task(tmp_path / "chain").run()
    with archived.transaction() as txn:
        txn.drop_table("people")
    with archived.transaction() as txn:
        txn.create_table(SCHEMA).insert_many([(9, "nine")])
    line = time_line_task(archived).run()
    then, now = line.rows_at(info.end_lsn), line.rows_at(line.bins[-1].lsn)
    assert then is not None
    assert "people" not in then, "the one of now has come later"
    assert now is not None
    assert now["people"] == 1


def test_a_tree_with_the_name_of_a_table_is_not_counted_as_its_rows(
    archived: Database, tmp_path: Path
) -> None:
    add(archived, 1, 2, 3)
    info = archived.backups.full_task(tmp_path / "chain").run()
    with archived.transaction() as txn:
        txn.tree("people")[b"a"] = b"1"
    line = time_line_task(archived).run()
    then = line.rows_at(info.end_lsn)
    assert then is not None
    assert then["people"] == 3
