"""The kernel's simulated campaign over as many seeds as one likes.

The campaign itself is the kernel's own (`engine/kernel/tests/crash/`): a simulated disk that
loses, tears and keeps what was not synced, crashes within calls and within recoveries. Here it
is run in batches, until all seeds are done or the time is up.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "engine" / "kernel"
SABOTAGES = ("log-sync", "data-sync", "doublewrite", "compensation")
"""Safeguards that a campaign can leave out, which it then has to notice."""

RECOVERIES = {
    "whole": "every_acknowledged_commit_survives_crashes_and_nothing_else_does",
    "early": "databases_that_open_before_their_recovery_is_through_survive_crashes_at_any_step_too",
}
"""What opens a database after a crash, and the campaign of the kernel that does it so: a recovery that is
through before anybody reads, or one that goes on behind an open database."""
_BATCH = 50
_BATCH_TIMEOUT_S = 300
_FIGURE = re.compile(r"^\s+(\w+): (\d+),$", re.MULTILINE)
_FAILED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)
_GREATEST = "most_pages"
_EXPECTED = {"evictions", "splits", "rotations", "checkpoints", "recoveries", "crashed_recoveries"}


class CampaignBroken(Exception):
    """The campaign could not be built or run, or its output is not understood."""


@dataclass(slots=True)
class Outcome:
    """What the seeds so far came to."""

    seeds: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)
    """What each failing seed said."""
    recoveries: dict[int, str] = field(default_factory=dict)
    """How the failing seeds were recovered."""

    def add(self, batch: Outcome) -> None:
        greatest = max(self.figures[_GREATEST], batch.figures[_GREATEST])
        self.seeds += batch.seeds
        self.figures.update(batch.figures)
        self.figures[_GREATEST] = greatest
        self.failed.update(batch.failed)
        self.recoveries.update(batch.recoveries)


def build() -> Path:
    """Build the campaign; the program that runs it."""
    command = ["cargo", "test", "--locked", "--test", "crash", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=KERNEL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CampaignBroken(f"cargo ended with status {done.returncode}")
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [message["executable"] for message in messages if message.get("executable")]
    if not programs:
        raise CampaignBroken("cargo built no program")
    return Path(programs[-1])


def run(
    program: Path,
    first: int,
    count: int,
    *,
    minutes: float | None = None,
    sabotage: str | None = None,
    recovery: str | None = None,
    tell: Callable[[Outcome], None],
) -> Outcome:
    """Run `count` seeds from `first` on, or as many as `minutes` allow; `tell` hears after each batch.

    `recovery` is one of `RECOVERIES`; without it batches take turns.
    With a sabotage it ends after the first batch in which a violation was found.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    outcome = Outcome()
    turns = itertools.cycle(RECOVERIES if recovery is None else [recovery])
    while outcome.seeds < count and (deadline is None or time.monotonic() < deadline):
        batch = min(_BATCH, count - outcome.seeds)
        outcome.add(_run_batch(program, first + outcome.seeds, batch, sabotage, next(turns)))
        tell(outcome)
        if sabotage is not None and outcome.failed:
            break
    return outcome


def _run_batch(program: Path, first: int, count: int, sabotage: str | None, recovery: str) -> Outcome:
    environment = {**os.environ, "HOLDFAST_FIRST_SEED": str(first), "HOLDFAST_SEEDS": str(count)}
    environment.pop("HOLDFAST_SABOTAGE", None)
    if sabotage is not None:
        environment["HOLDFAST_SABOTAGE"] = sabotage
    try:
        done = subprocess.run(
            [program, RECOVERIES[recovery], "--exact", "--nocapture"],
            cwd=KERNEL,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_BATCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        last = first + count - 1
        raise CampaignBroken(f"seeds {first} to {last} do not end: one of them hangs") from None
    outcome = understand(done.stdout, count, done.returncode, done.stderr)
    outcome.recoveries = dict.fromkeys(outcome.failed, recovery)
    return outcome


def understand(output: str, count: int, status: int, errors: str = "") -> Outcome:
    """The outcome of one batch, from what it printed. Raises `CampaignBroken` where it says nothing clear."""
    figures = Counter({name: int(value) for name, value in _FIGURE.findall(output)})
    failed = {int(seed): what for seed, what in _FAILED.findall(output)}
    if not set(figures) >= _EXPECTED or (status != 0) != bool(failed):
        raise CampaignBroken(f"status {status} and output that is not understood:\n{output}\n{errors}")
    return Outcome(count, figures, failed)


def how_to_repeat(seed: int, sabotage: str | None, recovery: str) -> str:
    """The command that runs one seed again."""
    left_out = "" if sabotage is None else f" --sabotage {sabotage}"
    return f"python -m tests.crash --from {seed} --seeds 1 --recovery {recovery}{left_out}"
