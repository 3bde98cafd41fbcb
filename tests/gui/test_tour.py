"""The guided tour plays to its end in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("engine._kernel")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tour_creates_works_crashes_recovers_and_loses_nothing(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "gui", "tour", "--offscreen", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "acknowledged commits are there; nothing else is" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "too wide" not in ended.stdout, ended.stdout
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) >= 17
    assert any("repaired" in name for name in pictures)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)
