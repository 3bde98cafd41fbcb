"""What the tests of the recovery guide share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge
from engine.recovery import history, stages
from gui.main_window import MainWindow
from gui.recovery.page import RecoveryPage

Until = Callable[[Callable[[], bool]], None]
ROOT = Path(engine.__file__).resolve().parent.parent
EXCEPTED = ("LOCK", "recovery.state", history.FILE_NAME)

WRITER = """
    import sys, engine
    database = engine.open(sys.argv[1])
    for n in range(200):
        with database.transaction() as txn:
            for part in range(5):
                txn.tree("t")[b"%06d-%d" % (n, part)] = b"v" * 200
    loser = database.begin()
    for n in range(300):
        loser.tree("t")[b"unfinished-%06d" % n] = b"x" * 100
    database.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


def hashes(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): hashlib.blake2b(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in EXCEPTED
    }


def shown(page: RecoveryPage) -> int:
    return page._parts.shown()


def is_idle(page: RecoveryPage, part: int) -> Callable[[], bool]:
    return lambda: shown(page) == part and not page.work.is_busy


def guide(window: MainWindow, page: RecoveryPage, path: Path, until: Until) -> None:
    """Open a database that was not closed, and look until the plan is made or cannot be."""
    window.shell.open(path)
    until(lambda: page.work.path == path and bool(page.work.plan or page.work.trouble))


def fail_in(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Let the stage `name` do its work, then fail."""
    place = next(place for place, stage in enumerate(stages.STAGES) if stage.name == name)
    real = stages.STAGES[place]

    def run(context: stages.RecoveryContext, job: bridge.Job) -> stages.Metrics:
        real.run(context, job)
        raise error

    changed = list(stages.STAGES)
    changed[place] = replace(real, run=run)
    monkeypatch.setattr("engine.recovery.execution.STAGES", tuple(changed))


def card(page: RecoveryPage) -> Any:
    return page.errors._card
