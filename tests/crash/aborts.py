"""How soon a recovery answers an abort, asked in every part of it: at its beginning, middle and end.

A database is left by a killed process. Each time its recovery runs in this process and is asked to stop at
another moment; the time is from the call to the answer, by the clock and by the processor time that this
process spent meanwhile. An abort leaves the database as it was, so that the next one finds the same.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine
from engine.config import load
from engine.errors import Cancelled
from engine.recovery.manager import RecoveryManager
from engine.tasks import Task, TaskState
from engine.types import DatabaseState
from tests.crash.run import MIB, Run

LIMIT_S = 1.0
_SHARES = (0.0, 0.5, 0.9)
_LOOK_S = 0.002
_TIMEOUT_S = 600.0
_PART_S = 0.05
"""A part that is over sooner is asked at its beginning only."""

_INSTALLED = "installation"
"""A recovery that is carried to its end, on a copy; only its last stages are asked."""
CLOSED = "close behind an early opening"
"""It finishes the recovery first: no abort, and only told."""
_PREPARED = 10

Part = tuple[int, str]
"""The number of a stage, 1 to 12, and what the kernel is at in it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One abort."""

    kind: str
    """rehearsal | recovery | installation | early opening; and a close that finishes, which is no abort"""
    part: str
    share: float
    seconds: float
    processor_s: float
    outcome: str
    """cancelled; "the next opening does the rest" where it was being installed, or an early opening was left;
    "finished" where it was through before it was heard"""

    @property
    def is_late(self) -> bool:
        """Beyond the limit by both clocks: by that of the wall alone the machine was busy."""
        return self.seconds > LIMIT_S and self.processor_s > LIMIT_S


_LEFT = "the next opening does the rest"


def _part_of(task: Task[Any]) -> tuple[Part, float, float]:
    """Where a task is: the part, and its share that is done, of a known total."""
    step, job = task._step, task._job
    told = job.progress() if job is not None else {"stage": "", "done": 0, "total": 0}
    return (step, str(told["stage"])), float(told["done"]), float(told["total"])


def _started(path: Path, kind: str) -> tuple[Task[Any], Callable[[], None]]:
    """A recovery at work, and what lets go of what it leaves where it comes to its end."""
    manager = RecoveryManager(path)
    if kind == "rehearsal":
        return manager.rehearse_task().start(), lambda: None

    def let_go() -> None:
        if manager.is_prepared:
            manager.roll_back()
        elif manager.report.recovered:
            manager.take_store().close()

    # The database is to be asked again, unless it is a copy.
    task = manager.run_task() if kind == _INSTALLED else manager.prepare_task()
    return task.start(), let_go


def parts_of(path: Path, kind: str) -> dict[Part, float]:
    """Every part of a recovery, in order, with the seconds that it took."""
    task, let_go = _started(path, kind)
    seen: dict[Part, list[float]] = {}
    while task.progress().state is not TaskState.ENDED:
        now, part = time.monotonic(), _part_of(task)[0]
        seen.setdefault(part, [now, now])[1] = now
        time.sleep(_LOOK_S)
    task.wait(_TIMEOUT_S)
    let_go()
    return {part: last - first for part, (first, last) in seen.items() if part[0]}


def _is_there(now: tuple[Part, float, float], wanted: Part, share: float, parts: list[Part]) -> bool:
    part, done, total = now
    if part not in parts:
        return False
    if part != wanted:
        return parts.index(part) > parts.index(wanted)
    return share == 0.0 or (total > 0 and done >= share * total)


def asked(path: Path, kind: str, wanted: Part, share: float, parts: list[Part]) -> Answer:
    """Begin, ask to stop when so much of a part is done, and wait for the answer."""
    task, let_go = _started(path, kind)
    while not _is_there(_part_of(task), wanted, share, parts):
        if task.progress().state is TaskState.ENDED:
            break
        time.sleep(_LOOK_S)
    began, used = time.monotonic(), time.process_time()
    task.cancel()
    outcome = "finished"
    try:
        task.wait(_TIMEOUT_S)
    except Cancelled as error:
        outcome = _LEFT if error.fields.get("left") else "cancelled"
    seconds, processor_s = time.monotonic() - began, time.process_time() - used
    let_go()
    if outcome == _LEFT:
        _complete(path)
    name = f"{wanted[0]}. {wanted[1] or 'begin'}"
    return Answer(kind, name, share, seconds, processor_s, outcome)


def _complete(path: Path) -> None:
    """Open what was left to the next opening; raises `AssertionError` where something is wrong with it."""
    with engine.open(path, create=False) as database:
        report = database.check()
    if not report.ok:
        raise AssertionError(f"after an abort: {report.problems}")


def closed(path: Path, share: float, *, finish_recovery: bool = False) -> Answer:
    """Open early, and close when so much of the pages is redone."""
    settings = load(path).changed(recover_on_demand=True, enable_continuous_validation=False)
    database = engine.open(path, config=settings, create=False)
    while (standing := database.status().recovery) is not None and standing.stage == "redo":
        if standing.pages - standing.pages_left >= share * standing.pages:
            break
        time.sleep(_LOOK_S)
    stage = standing.stage if standing is not None else "done"
    began, used = time.monotonic(), time.process_time()
    database.close(finish_recovery=finish_recovery)
    seconds, processor_s = time.monotonic() - began, time.process_time() - used
    kind = CLOSED if finish_recovery else "early opening"
    outcome = "finished" if engine.inspect(path).state is DatabaseState.CLEAN else _LEFT
    _complete(path)
    return Answer(kind, stage, share, seconds, processor_s, outcome)


def campaign(log_bytes: int, tell: Callable[[str], object]) -> list[Answer]:
    """Every abort of every kind on one database with so much log."""
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-aborts-") as scratch:
        run = Run(Path(scratch), log_bytes)
        changes = max(1000, min(200_000, log_bytes // (5 * 1024)))
        run.work(run.orders(losers=1, loser_changes=changes))
        tell(f"a killed database with {log_bytes // MIB:,} MiB of log")
        for kind in ("rehearsal", "recovery"):
            parts = parts_of(run.path, kind)
            for part, seconds in parts.items():
                for share in _SHARES if seconds >= _PART_S else _SHARES[:1]:
                    answers.append(asked(run.path, kind, part, share, list(parts)))
                    tell(line(answers[-1]))
        copy = Path(scratch) / "copy.holdfast"

        def copied() -> Path:
            shutil.rmtree(copy, ignore_errors=True)
            return shutil.copytree(run.path, copy)

        parts = parts_of(copied(), _INSTALLED)
        last = [part for part in parts if part[0] > _PREPARED]
        for part in last:
            for share in _SHARES if parts[part] >= _PART_S else _SHARES[:1]:
                answers.append(asked(copied(), _INSTALLED, part, share, list(parts)))
                tell(line(answers[-1]))
        for share in (0.0, 0.1, 0.5, 0.9):
            answers.append(closed(copied(), share))
            tell(line(answers[-1]))
        answers.append(closed(copied(), 0.1, finish_recovery=True))
        tell(line(answers[-1]))
    return answers


def line(answer: Answer) -> str:
    """One row of the table."""
    return (
        f"| {answer.kind} | {answer.part} | {answer.share:.0%} | {answer.seconds:.3f} s | "
        f"{answer.processor_s:.3f} s | {answer.outcome} |"
    )


def markdown(answers: Iterable[Answer]) -> str:
    """The answers as a table, the slowest first, and the slowest abort in words."""
    ranked = sorted(answers, key=lambda answer: -answer.seconds)
    head = "| asked in | at | done | answered after | processor time | outcome |\n"
    return head + "\n".join(["| --- | --- | --- | --- | --- | --- |", *map(line, ranked)])
