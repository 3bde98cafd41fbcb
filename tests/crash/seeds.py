"""The kernel's own campaigns over as many seeds as one likes.

They are tests of the kernel: a simulated disk that loses, tears and keeps what was not synced, crashes
and kills within calls and within recoveries (`engine/kernel/tests/crash/`), and threads whose order is
drawn from the seed (`race_tests.rs`). Here one is run in batches, until all seeds are done or the time
is up.
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
KILLS = "a_kill_within_any_call_and_a_power_failure_after_it_lose_nothing"
RACES = "race_tests"
"""What the names of all races of the kernel have in common."""
CAMPAIGNS = ("power", "kills", "races")
"""Power failures at any call; kills within any call, with power failures after them; orders of threads."""
_BATCH = 50
_BATCH_TIMEOUT_S = 300
_FIGURE = re.compile(r"^\s+(\w+): (\d+),$", re.MULTILINE)
_FAILED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)
_RACED = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;", re.MULTILINE)
_WENT_WRONG = re.compile(r"^seed (\d+) went wrong$", re.MULTILINE)
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
        if greatest:
            # Not every campaign counts pages.
            self.figures[_GREATEST] = greatest
        self.failed.update(batch.failed)
        self.recoveries.update(batch.recoveries)


def build(campaign: str = "power") -> Path:
    """Build the campaign; the program that runs it."""
    target = ["--lib"] if campaign == "races" else ["--test", "crash"]
    command = ["cargo", "test", "--locked", *target, "--no-run", "--message-format=json"]
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
    campaign: str = "power",
    tell: Callable[[Outcome], None],
) -> Outcome:
    """Run `count` seeds from `first` on, or as many as `minutes` allow; `tell` hears after each batch.

    `recovery` is one of `RECOVERIES`; without it batches take turns. Other campaigns than that of power
    failures go through all ways to recover by themselves.
    With a sabotage it ends after the first batch in which a violation was found.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    outcome = Outcome()
    by_power = RECOVERIES if recovery is None else [recovery]
    turns = itertools.cycle(by_power if campaign == "power" else [campaign])
    while outcome.seeds < count and (deadline is None or time.monotonic() < deadline):
        batch = min(_BATCH, count - outcome.seeds)
        outcome.add(_run_batch(program, first + outcome.seeds, batch, sabotage, next(turns)))
        tell(outcome)
        if sabotage is not None and outcome.failed:
            break
    return outcome


def _run_batch(program: Path, first: int, count: int, sabotage: str | None, turn: str) -> Outcome:
    """`turn` is a way to recover, or a campaign."""
    environment = {**os.environ, "HOLDFAST_FIRST_SEED": str(first)}
    environment |= {"HOLDFAST_SEEDS": str(count), "HOLDFAST_SCHEDULES": str(count)}
    chosen = [RACES] if turn == "races" else [RECOVERIES.get(turn, KILLS), "--exact"]
    environment.pop("HOLDFAST_SABOTAGE", None)
    if sabotage is not None:
        environment["HOLDFAST_SABOTAGE"] = sabotage
    try:
        done = subprocess.run(
            [program, *chosen, "--nocapture"],
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
    understands = understand_races if turn == "races" else understand
    outcome = understands(done.stdout, count, done.returncode, done.stderr)
    outcome.recoveries = dict.fromkeys(outcome.failed, turn)
    return outcome


def understand(output: str, count: int, status: int, errors: str = "") -> Outcome:
    """The outcome of one batch, from what it printed. Raises `CampaignBroken` where it says nothing clear."""
    figures: Counter[str] = Counter()
    for name, value in _FIGURE.findall(output):
        # One test may print several.
        figures[name] = max(figures[name], int(value)) if name == _GREATEST else figures[name] + int(value)
    failed = {int(seed): what for seed, what in _FAILED.findall(output)}
    if not set(figures) >= _EXPECTED or (status != 0) != bool(failed):
        raise CampaignBroken(f"status {status} and output that is not understood:\n{output}\n{errors}")
    return Outcome(count, figures, failed)


def understand_races(output: str, count: int, status: int, errors: str = "") -> Outcome:
    """As `understand`, for what the races print."""
    ended = _RACED.search(output)
    failed = {int(seed): "see what it prints" for seed in _WENT_WRONG.findall(output + "\n" + errors)}
    is_clear = ended is not None and int(ended[1]) + int(ended[2]) > 0
    if ended is None or not is_clear or (status != 0) != bool(failed) or (int(ended[2]) > 0) != bool(failed):
        raise CampaignBroken(f"status {status} and output that is not understood:\n{output}\n{errors}")
    return Outcome(count, Counter(interleavings=count * int(ended[1])), failed)


def how_to_repeat(seed: int, sabotage: str | None, turn: str) -> str:
    """The command that runs one seed again, with its way to recover or in its campaign."""
    left_out = "" if sabotage is None else f" --sabotage {sabotage}"
    option = f"--campaign {turn}" if turn in CAMPAIGNS else f"--recovery {turn}"
    return f"python -m tests.crash --from {seed} --seeds 1 {option}{left_out}"
