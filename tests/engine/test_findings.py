"""Findings: opened by whoever meets damage, kept over a close, closed by repairs and by later checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.database import Database
from engine.integrity import findings as kept
from engine.integrity.extent import extent_at_once, extent_task
from engine.integrity.findings import Checker, Ledger, Priority
from engine.integrity.plan import plan_task
from engine.integrity.repair import rehearse_task, repair_task

PAGE = 8192
ROWS = 5000
SHIPS = {
    "name": "ships",
    "columns": [
        {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
        {"name": "name", "type": "text", "declared": "TEXT", "not_null": False},
    ],
    "primary_key": ["id"],
    "indexes": [],
}


def harbour(path: Path, *, forget_log: bool = True) -> Path:
    """A closed database with a table, its index, and a plain tree; its log does not reach back."""
    config = Config().changed(segment_size="1 MiB") if forget_log else Config()
    with engine.open(path, config=config) as db:
        with db.transaction() as txn:
            txn.create_table(json.dumps(SHIPS))
        with db.transaction() as txn:
            txn.table("ships").insert_many([(i, f"ship {i:06d} " + "x" * 40) for i in range(ROWS)])
            txn.create_index("ships", "ships_name", ["name"])
        with db.transaction() as txn:
            plain = txn.tree("plain")
            for i in range(2000):
                plain[b"%06d" % i] = b"v" * 100
        if forget_log:
            for _ in range(3):
                db.store.rotate_log()
                db.checkpoint()
    return path


def leaves(path: Path) -> list[list[int]]:
    """The leaf pages of each tree, in the order in which the trees were made."""
    trees: dict[int, list[int]] = {}
    with engine.open(path, create=False) as db:
        for page in range(db.status().pages):
            info = db.store.page_info(page)
            if info["ok"] and info["kind"] == "leaf":
                trees.setdefault(info["tree"], []).append(page)
    return [trees[tree] for tree in sorted(trees)]


TABLE, INDEX, PLAIN = 1, 2, 3


def spoil(path: Path, tree: int) -> int:
    """Writes rubbish into the middle leaf of one tree; returns its number."""
    pages = leaves(path)[tree]
    page = pages[len(pages) // 2]
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")
    return page


def told(until: Callable[[], object]) -> None:
    """Wait for the thread that tells events."""
    import threading

    wake = threading.Event()
    for _ in range(200):
        if until():
            return
        wake.wait(0.05)
    pytest.fail("it was never told")


def test_a_check_opens_a_finding_that_names_page_tree_rows_and_keys(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, TABLE)
    with engine.open(path, create=False) as db:
        assert not db.check().ok
        (found,) = db.integrity.findings()
        assert (found.page, found.tree, found.code) == (page, "ships", errors.ChecksumMismatch.code)
        assert (found.priority, found.checker) == (Priority.P0, Checker.CHECK)
        extent = extent_task(db, found).run()
        assert extent is not None
        assert 0 < extent.unreadable < 200
        assert extent.before + extent.after + extent.unreadable == ROWS
        assert extent.last_before == f"id {extent.before - 1}"
        assert extent.first_after == f"id {extent.before + extent.unreadable}"
        assert db.integrity.findings()[0].rows == extent.unreadable


def test_findings_outlive_a_close_and_hold_no_stored_keys(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        db.check()
        extent = extent_task(db, db.integrity.findings()[0]).run()
        assert extent is not None
        low, high = extent.last_before, extent.first_after
    content = (path / kept.FILE_NAME).read_text()
    assert (path / kept.FILE_NAME).stat().st_mode & 0o077 == 0
    assert low.strip()
    assert low not in content
    assert high not in content
    with engine.open(path, create=False) as db:
        (found,) = db.integrity.findings()
        assert (found.page, found.tree) == (page, "plain")
        assert db.integrity.last_check is not None
        assert not db.integrity.last_check.ok


def test_a_page_that_is_set_apart_becomes_a_finding(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        with db.transaction() as txn, pytest.raises(errors.ChecksumMismatch):
            list(txn.tree("plain").items())
        told(lambda: db.integrity.findings())
        (found,) = db.integrity.findings()
        assert (found.page, found.checker) == (page, Checker.READ)


def test_a_finding_about_a_long_value_names_its_tree_its_row_and_its_key_as_the_read_knew_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d.holdfast"
    with engine.open(path, config=Config().changed(segment_size="1 MiB")) as db:
        with db.transaction() as txn:
            txn.create_table(json.dumps(SHIPS))
        with db.transaction() as txn:
            rows = [(i, "x" * 40_000 if i == 7 else f"ship {i}") for i in range(20)]
            txn.table("ships").insert_many(rows)
        for _ in range(3):
            db.store.rotate_log()
            db.checkpoint()
        infos = [(page, db.store.page_info(page)) for page in range(db.status().pages)]
        page = next(page for page, info in infos if info["ok"] and info["kind"] == "overflow")
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")
    with engine.open(path, create=False) as db:
        with db.transaction(read_only=True) as txn, pytest.raises(errors.ChecksumMismatch):
            txn.table("ships").get(7)
        told(lambda: [finding for finding in db.integrity.findings() if finding.tree])
        (found,) = db.integrity.findings()
        assert (found.page, found.tree, found.rows) == (page, "ships", 1)
        assert (found.priority, found.checker) == (Priority.P0, Checker.READ)
        extent = extent_at_once(db, found)
        assert extent is not None
        assert (extent.last_before, extent.first_after, extent.unreadable) == ("id 6", "id 8", 1)
        content = (path / kept.FILE_NAME).read_text()
        assert "id 7" not in content, "keys are kept nowhere"
        with db.transaction(read_only=True) as txn:
            assert txn.table("ships").get(8) == (8, "ship 8"), "the rest stays in use"


def test_a_page_that_is_repaired_by_a_read_becomes_a_closed_finding_with_its_loss(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast", forget_log=False)
    page = spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        with db.transaction() as txn:
            assert len(list(txn.tree("plain").items())) == 2000
        told(lambda: db.integrity.findings(closed=True))
        (found,) = db.integrity.findings(closed=True)
        (loss,) = db.integrity.losses
        assert db.integrity.findings() == ()
        assert (found.page, loss.finding, loss.lost) == (page, found.id, "nothing")
        assert (path / loss.kept).stat().st_size == PAGE


def test_a_repair_closes_its_findings_and_is_in_the_ledger_once(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast", forget_log=False)
    page = spoil(path, TABLE)
    with engine.open(path, create=False) as db:
        plan = plan_task(db).run()
        assert [remedy.page for remedy in plan.remedies] == [page]
        report = repair_task(db, plan).run()
        assert report.check.ok
        db.events.drain()
    with engine.open(path, create=False) as db:
        assert db.integrity.findings() == ()
        (found,) = db.integrity.findings(closed=True)
        (loss,) = db.integrity.losses
        assert (found.page, loss.finding, loss.verified) == (page, found.id, True)
        assert (path / loss.kept).stat().st_size == PAGE


def test_an_index_that_nothing_reaches_is_rehearsed_and_built_anew_from_its_table(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, INDEX)
    with engine.open(path, create=False) as db:
        plan = plan_task(db).run()
        assert [(new.table, new.index, new.rows) for new in plan.indexes] == [("ships", "ships_name", ROWS)]
        assert all(finding.priority is Priority.P2 for finding in plan.findings)
        rehearse_task(db, plan).run()
        assert any(problem.tree == "ships_name" for problem in db.check().problems)
        report = repair_task(db, plan).run()
        assert [new.index for new in report.rebuilt] == ["ships_name"]
        assert not any(problem.tree == "ships_name" for problem in report.check.problems)
        with db.transaction() as txn:
            assert txn.table("ships").by_index("ships_name", f"ship {77:06d} " + "x" * 40) == [
                (77, f"ship {77:06d} " + "x" * 40)
            ]
        assert db.integrity.findings() == ()
        assert [loss.verified for loss in db.integrity.losses] == [True] * len(report.losses)


def test_an_index_that_is_taken_back_sets_no_page_apart(tmp_path: Path) -> None:
    with engine.open(harbour(tmp_path / "d.holdfast"), create=False) as db:
        for _ in range(2):
            txn = db.begin()
            txn.create_index("ships", "ships_other", ["name"])
            txn.abort()
        db.events.drain()
        assert db.store.pages_set_apart() == []
        assert db.integrity.findings() == ()


def test_a_rebuilt_index_leaves_no_finding_behind_and_stops_no_giving_back_of_space(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, INDEX)
    with engine.open(path, create=False) as db:
        with db.transaction() as txn:
            tree = txn.tree("more")
            for number in range(5000):
                tree[b"%06d" % number] = b"x" * 200
        report = repair_task(db, plan_task(db).run()).run()
        assert [new.index for new in report.rebuilt] == ["ships_name"]
        assert report.check.ok
        assert db.integrity.findings() == ()
        assert list((path / "quarantine").glob(f"{page:010d}-*.page")), "what was damaged is kept"
        before = db.status().free_pages
        with db.transaction() as txn:
            txn.drop_tree("more")
        db.store.give_back()
        assert db.status().free_pages > before + 100
        assert db.check().ok
        assert not [event for event in db.events.recent(1000) if event.kind == "background_error"]
    with engine.open(path, create=False) as db:
        assert db.check().ok


def test_a_finding_that_a_later_check_does_not_meet_is_closed(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    data = path / "database.holdfast"
    whole = data.read_bytes()
    page = spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        db.check()
        assert len(db.integrity.findings()) == 1
    # This page alone: maps of the space may have changed while pages were given back.
    with data.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(whole[page * PAGE : (page + 1) * PAGE])
    with engine.open(path, create=False) as db:
        assert db.check().ok
        assert db.integrity.findings() == ()
        assert "did not find" in db.integrity.findings(closed=True)[0].outcome


def test_a_finding_can_be_closed_by_hand_and_opens_again_when_it_is_met_again(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, PLAIN)
    with engine.open(path, create=False) as db:
        db.check()
        (first,) = db.integrity.findings()
        db.integrity.dismiss(first.id, "closed by hand")
        assert db.integrity.findings() == ()
        with pytest.raises(errors.InvalidArgument):
            db.integrity.dismiss(first.id, "twice")
        db.check()
        (again,) = db.integrity.findings()
        assert again.id != first.id


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": 9}',
        b"\xff\xfe",
        b'{"version": 1, "next_id": "x"}',
        b"[" * 9000,
    ],
)
def test_a_damaged_list_is_kept_aside_and_told(database: Database, content: bytes) -> None:
    (database.path / kept.FILE_NAME).write_bytes(content)
    ledger = kept.load(database.path)
    assert ledger.findings == []
    assert "damaged" in ledger.note
    (aside,) = database.path.glob(f"{kept.FILE_NAME}.damaged-*")
    assert aside.read_bytes() == content
    assert kept.load(database.path).note == ""


def test_a_list_that_was_forged_is_not_believed(database: Database) -> None:
    database.check()
    path = database.path / kept.FILE_NAME
    raw = json.loads(path.read_text())
    raw["check"]["at"] = "yesterday"
    path.write_text(json.dumps(raw))
    assert "damaged" in kept.load(database.path).note


def test_the_list_is_bounded() -> None:
    ledger = Ledger()
    for page in range(kept.MOST_OPEN + 7):
        ledger.report(
            priority=Priority.P0,
            code=-21,
            page=page,
            tree=None,
            table=None,
            summary="",
            checker=Checker.CHECK,
            at=1.0,
        )
    assert (len(ledger.findings), ledger.left_out) == (kept.MOST_OPEN, 7)
    for number, finding in enumerate(list(ledger.findings)):
        ledger.close(finding, "gone", float(number))
    assert len(ledger.findings) == kept.MOST_CLOSED
    assert min(f.closed_at or 0 for f in ledger.findings) == kept.MOST_OPEN - kept.MOST_CLOSED


def test_a_read_only_database_tells_findings_and_writes_nothing(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, PLAIN)
    with engine.open(path, create=False, read_only=True) as db:
        db.check()
        assert len(db.integrity.findings()) == 1
    assert not (path / kept.FILE_NAME).exists()


def test_damage_in_a_read_only_database_stays_a_finding_and_is_not_repaired(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast", forget_log=False)
    page = spoil(path, TABLE)
    with engine.open(path, create=False, read_only=True) as db:
        plan = plan_task(db).run()
        assert [remedy.page for remedy in plan.remedies] == [page]
        with pytest.raises(errors.ReadOnlyDatabase):
            repair_task(db, plan).run()
        with db.transaction(read_only=True) as txn:
            assert txn.table("ships").skip(10**9)[0] == ROWS
        told(lambda: "in memory" in db.integrity.findings()[0].summary)
        assert db.integrity.losses == ()


def test_the_command_line_lists_closes_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = harbour(tmp_path / "d.holdfast")
    page = spoil(path, TABLE)

    def answer(*arguments: object) -> tuple[int, dict[str, object]]:
        status = main([*map(str, arguments), "--json"])
        return status, json.loads(capsys.readouterr().out)

    status, report = answer("check", path, "--detailed")
    (found,) = report["findings"]  # type: ignore[misc]
    assert (status, found["page"], found["tree"]) == (1, page, "ships")
    assert found["rows"] > 0
    assert found["key_range"].startswith("after ")
    status, listed = answer("findings", path)
    assert (status, len(listed["findings"])) == (1, 1)  # type: ignore[arg-type]
    answer("findings", path, "--export-losses", tmp_path / "losses.json")
    assert len(json.loads((tmp_path / "losses.json").read_text())["open_findings"]) == 1
    assert main(["findings", str(path)]) == 1
    assert "ships" in capsys.readouterr().out
    assert answer("findings", path, "--close", found["id"])[0] == 0
    assert answer("findings", path)[0] == 0
    assert len(answer("findings", path, "--closed")[1]["findings"]) == 1  # type: ignore[arg-type]


def test_the_command_line_rehearses_and_rebuilds_an_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = harbour(tmp_path / "d.holdfast")
    spoil(path, INDEX)
    status = main(["repair", str(path), "--rehearse", "--json"])
    rehearsed = json.loads(capsys.readouterr().out)
    assert (status, rehearsed["rehearsed"], len(rehearsed["indexes"])) == (1, True, 1)
    assert main(["repair", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [index["index"] for index in report["rebuilt"]] == ["ships_name"]
    assert report["failed"] == []


def test_an_index_that_lost_a_write_is_found_and_rebuilt_though_every_checksum_holds(tmp_path: Path) -> None:
    path = harbour(tmp_path / "d.holdfast", forget_log=False)
    pages = leaves(path)[INDEX]
    page = pages[len(pages) // 2]
    data = path / "database.holdfast"
    before = data.read_bytes()[page * PAGE : (page + 1) * PAGE]
    with engine.open(path, create=False) as db, db.transaction() as txn:
        for key in range(2480, 2520):
            txn.table("ships").delete(key)
    assert data.read_bytes()[page * PAGE : (page + 1) * PAGE] != before, "these rows are on another page"
    with data.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(before)
    with engine.open(path, create=False) as db:
        plan = plan_task(db).run()
        assert plan.check is not None
        assert not plan.check.ok
        assert [(new.table, new.index) for new in plan.indexes] == [("ships", "ships_name")]
        report = repair_task(db, plan).run()
        assert report.check.ok
        assert [new.abandoned for new in report.rebuilt] == [()]
        assert db.integrity.findings() == ()
        assert {loss.lost for loss in db.integrity.losses} == {"nothing"}
        assert all(loss.verified for loss in db.integrity.losses)
