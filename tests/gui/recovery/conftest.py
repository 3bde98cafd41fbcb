"""Databases that crashed, and the page that guides through their recovery."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from engine import bridge
from gui.main_window import MainWindow
from gui.recovery.page import RecoveryPage
from tests.gui.recovery.guide import ROOT, WRITER


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A killed database: 200 commits of five records, and one transaction that never ended."""
    path = tmp_path / "harbour.holdfast"
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        child.kill()
    return path


@pytest.fixture
def damaged(crashed: Path) -> Path:
    """The same with its log damaged in the middle."""
    segment = min((crashed / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    facts = bridge.inspect(str(crashed))
    place = (facts["redo_lsn"] + facts["last_lsn"]) // 2
    content[place : place + 64] = b"\xa5" * 64
    segment.write_bytes(content)
    return crashed


@pytest.fixture
def page(window: MainWindow) -> RecoveryPage:
    made = window.pages["recovery"]
    assert isinstance(made, RecoveryPage)
    return made
