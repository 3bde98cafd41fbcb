"""The recovery guide over databases whose process was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import engine
from engine.types import RecoveryStanding
from gui.main_window import MainWindow
from gui.recovery.page import EVIDENCE, PROOF, RecoveryPage

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]

STANDING = RecoveryStanding(
    stage="redo",
    pages=20,
    pages_left=10,
    losers=0,
    losers_left=0,
    damaged=(),
    log_bytes=1 << 20,
    applied=9,
    seconds=1.0,
    problems=None,
)

WRITER = """
import sys, engine
database = engine.open(sys.argv[1])
with database.transaction() as txn:
    for n in range(2000):
        txn.tree("kept")[b"%06d" % n] = b"value %d" % n
loser = database.begin()
for n in range(300):
    loser.tree("kept")[b"%06d" % n] = b"never committed"
database.flush()
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A database whose process was killed with one transaction committed and one open."""
    path = tmp_path / "crashed.holdfast"
    command = [sys.executable, "-c", WRITER, str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"written"
        child.kill()
    return path


@pytest.fixture
def page(window: MainWindow) -> RecoveryPage:
    made = window.pages["recovery"]
    assert isinstance(made, RecoveryPage)
    return made


def test_a_killed_database_is_guided_back_to_all_that_was_committed(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, watch: object
) -> None:
    with watch.watching():  # type: ignore[attr-defined]
        window.shell.open(crashed)
        until(lambda: page.work.plan is not None)
        assert window.current_page_id() == "recovery"
        assert page._parts.shown() == EVIDENCE
        assert len(page.work.plan.losers) == 1
        assert window.opening.session is None
        page.start()
        until(lambda: window.opening.session is not None and page._parts.shown() == PROOF)
    assert window.current_page_id() == "recovery"
    report = window.opening.session.database.recovery_report
    assert report.undo["transactions"] == 1
    assert report.lost == ()
    assert "complete" in page.proof._banner.title()
    with window.opening.session.database.transaction(read_only=True) as txn:
        tree = txn.tree("kept")
        assert len(tree) == 2000
        assert all(tree[b"%06d" % n] == b"value %d" % n for n in range(0, 2000, 37))


def test_looking_changes_nothing_and_leaving_keeps_it_recoverable(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    window.shell.open(crashed)
    until(lambda: page.work.plan is not None)
    page.leave()
    assert window.current_page_id() == "welcome"
    with engine.open(crashed) as database, database.transaction() as txn:
        assert len(txn.tree("kept")) == 2000


def test_what_the_page_says_is_needed_follows_the_recovery_behind_the_open_database(
    page: RecoveryPage,
) -> None:
    def words() -> str:
        empty = page.past._empty
        return f"{empty._title.text()} {empty._text.text()} {page.past._hint.text()}".lower()

    page.behind.show_standing(None)
    assert "no recovery is needed now" in words()
    page.behind.show_standing(STANDING)
    assert "no recovery" not in words()
    assert "is shown above" in words()
    page.behind.show_standing(replace(STANDING, stage="done", pages_left=0, problems=0))
    assert "no recovery is needed now" in words()


def test_a_database_that_was_closed_shows_that_nothing_is_needed(
    window: MainWindow, page: RecoveryPage, tmp_path: Path, until: Until
) -> None:
    window.shell.create_requested.emit(tmp_path / "new.holdfast")
    until(lambda: window.opening.session is not None)
    window.show_page("recovery")
    assert page._parts.shown() == 0
