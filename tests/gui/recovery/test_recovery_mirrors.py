"""The guide offers a mirror where recovery fails, and leads to the dialog that lets it take over."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from engine import bridge
from engine.recovery.choices import ChoiceKind
from gui.main_window import MainWindow
from gui.mirrors.takeover import TakeoverDialog
from gui.recovery.page import RecoveryPage
from tests.gui.recovery.guide import ROOT, Until, guide

WITH_A_MIRROR = """
    import sys, engine
    database = engine.open(sys.argv[1])
    for n in range(100):
        with database.transaction() as txn:
            txn.tree("t")[b"%06d" % n] = b"v" * 1000
    database.mirrors.add(sys.argv[2])
    database.mirrors.level_task(sys.argv[2]).run()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def mirrored(tmp_path: Path) -> Path:
    """A killed database whose log is damaged, and whose mirror has all of it."""
    path = tmp_path / "harbour.holdfast"
    command = [sys.executable, "-c", textwrap.dedent(WITH_A_MIRROR), str(path), str(tmp_path / "b.holdfast")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        child.kill()
    facts = bridge.inspect(str(path))
    segment = min((path / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    # Where redo begins: the first entry of all that it needs.
    content[facts["redo_lsn"] + 8 : facts["redo_lsn"] + 24] = b"what a disk does"
    segment.write_bytes(content)
    return path


def test_a_mirror_is_among_the_ways_and_its_button_leads_to_the_dialog_that_lets_it_take_over(
    window: MainWindow, page: RecoveryPage, mirrored: Path, until: Until
) -> None:
    guide(window, page, mirrored, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.MIRROR)
    chosen = page.ways.current()
    assert chosen is not None
    assert chosen.kind is ChoiceKind.MIRROR
    assert chosen.cost
    assert page.foot.start.text() == "Let the mirror take over…"
    page.start()
    until(lambda: page.findChild(TakeoverDialog) is not None)
    dialog = page.findChild(TakeoverDialog)
    assert dialog is not None
    heir = dialog.chosen()
    assert heir is not None
    assert heir.path == mirrored.with_name("b.holdfast")
    dialog.close()
