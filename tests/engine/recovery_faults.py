"""What goes wrong in one stage of a recovery, and how a database is compared with what it was before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge
from engine.recovery import stages

ROOT = Path(engine.__file__).resolve().parent.parent

# Who has it open, who did what, figures over time, and the account of recoveries: all else counts.
EXCEPTED = ("LOCK", "audit.log", "history.db", "recovery.state", "recoveries.jsonl")


def hashes(path: Path) -> dict[str, str]:
    """Every file of a database by its content."""
    return {
        file.relative_to(path).as_posix(): hashlib.blake2b(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in EXCEPTED
    }


def assert_whole(path: Path, commits: int) -> None:
    with engine.open(path, create=False) as db:
        with db.transaction() as txn:
            assert len(txn.tree("t")) == commits * 5
            assert txn.tree("other")[b"last"] == b"commit"
        report = db.check()
        assert report.ok, report.problems


def state_of(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((path / "recovery.state").read_text())
    return value


def replace_stage(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    run: Callable[[stages.Stage, stages.RecoveryContext, bridge.Job], stages.Metrics],
) -> None:
    """Have the stage `name` do something else; `run` is given the real one."""
    place = next(place for place, stage in enumerate(stages.STAGES) if stage.name == name)
    real = stages.STAGES[place]
    changed = list(stages.STAGES)
    changed[place] = replace(real, run=lambda context, job: run(real, context, job))
    monkeypatch.setattr("engine.recovery.execution.STAGES", tuple(changed))


def fail_in(
    monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, *, has_worked: bool = True
) -> None:
    """Let the stage `name` fail, after it has done its work or before."""

    def run(real: stages.Stage, context: stages.RecoveryContext, job: bridge.Job) -> stages.Metrics:
        if has_worked:
            real.run(context, job)
        raise error

    replace_stage(monkeypatch, name, run)


CRASHING = """
    import os, sys
    from engine.recovery import stages
    from engine.recovery.manager import RecoveryManager

    name = sys.argv[2]
    place = next(place for place, stage in enumerate(stages.STAGES) if stage.name == name)
    real = stages.STAGES[place]

    def run(context, job):
        real.run(context, job)
        os._exit(9)

    changed = list(stages.STAGES)
    changed[place] = stages.Stage(real.name, real.does, real.depends_on, real.critical, real.changes, run)
    import engine.recovery.execution
    engine.recovery.execution.STAGES = tuple(changed)
    RecoveryManager(sys.argv[1]).run()
"""


def crash_in(path: Path, stage: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CRASHING), str(path), stage]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=False)
    assert done.returncode == 9
