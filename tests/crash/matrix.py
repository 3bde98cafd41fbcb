"""The validation matrix, from runs: what each way of ending does to consistency, atomicity, durability."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash import seeds
from tests.crash.run import Run
from tests.crash.scenarios import SCENARIOS, NotAsItMustBe, Scenario
from tests.crash.victim import Silent
from tests.crash.workload import Verdict

ROWS: Mapping[str, str] = {
    "normal shutdown": "normal-shutdown",
    "process kill": "simple-crash",
    "disk full": "disk-full",
    "memory exhaustion": "memory-exhaustion",
    "log corruption": "corrupted-log-records",
}
"""What the requirements name, and the scenario that stands for it; power failures have their own disk."""

POWER_FAILURE = "power failure"
_SEEDS_PER_MB = 1
_MOST_SEEDS = 300
_LARGE_BYTES = 200 * 10**6
"""Below, the start of the interpreter is most of a recovery's time."""
_TARGET_BYTES_PER_S, _TARGET_PEAK_BYTES = 100e6, 100e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario that was played."""

    name: str
    words: str
    verdict: Verdict | None
    """None where it could not be played, or did not come to its end."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    missing: str = ""

    @property
    def is_right(self) -> bool:
        return bool(self.missing) or (self.verdict is not None and not self.verdict.problems)

    def cells(self) -> tuple[str, str, str, str]:
        """Consistent, atomic, durable, speed."""
        if self.missing:
            return ("not played", "not played", "not played", self.missing)
        if self.verdict is None:
            return ("no", "no", "no", self.failure)
        durable = str(self.figures.get("durable") or "yes")
        found = (self.verdict.inconsistent, self.verdict.torn, self.verdict.lost)
        held = [("no: " + wrong[0]) if wrong else "yes" for wrong in found]
        return held[0], held[1], held[2] if self.verdict.lost else durable, self.speed()

    def speed(self) -> str:
        """How fast it was recovered, and whether that is as it must be."""
        figures = self.figures
        if "seeds" in figures:
            return "the disk is simulated: not timed"
        if "recovery_s" not in figures:
            return "nothing to recover"
        if "first_query_s" in figures:
            first, through = figures["first_query_s"], figures["through_s"]
            return f"first query after {first} s, all {figures['log_bytes'] / 1e6:.0f} MB after {through} s"
        peak = int(figures["peak_bytes"])
        words = f"{figures['recovery_s']} s"
        if figures["log_bytes"] < _LARGE_BYTES:
            return f"{words}, {peak / 1e6:.0f} MB; too little log for a rate"
        return f"{words}, {figures['mb_per_s']} MB/s, {peak / 1e6:.0f} MB"


def play(
    chosen: Scenario, log_bytes: int, tell: Callable[[str], object], *, opens_early: bool = False
) -> Outcome:
    """One scenario in a folder of its own, which is kept where it did not end as it must."""
    if chosen.missing:
        return Outcome(chosen.name, chosen.words, None, missing=chosen.missing)
    folder = Path(tempfile.mkdtemp(prefix=f"holdfast-{chosen.name}-"))
    run = Run(folder, log_bytes, opens_early=opens_early)
    try:
        verdict = chosen.play(run)
    except (NotAsItMustBe, AssertionError, Silent) as failure:
        tell(f"{chosen.name}: {failure}\n  its database is kept in {folder}")
        return Outcome(chosen.name, chosen.words, None, run.figures, failure=_words(failure))
    outcome = Outcome(chosen.name, chosen.words, verdict, run.figures)
    tell(f"{chosen.name}: {run.figures}")
    if outcome.is_right:
        shutil.rmtree(folder)
    else:
        tell("\n  ".join([f"{chosen.name}: its database is kept in {folder}", *verdict.problems]))
    return outcome


def _words(failure: Exception) -> str:
    return (str(failure) or "a process says nothing any more").splitlines()[0]


def power_failures(log_bytes: int, tell: Callable[[str], object], recovery: str | None) -> Outcome:
    """The kernel's campaign on a disk that loses what was not synced, at any call."""
    count = max(20, min(_MOST_SEEDS, _SEEDS_PER_MB * log_bytes // 10**6))
    words = f"a simulated disk loses power at any call, {count} seeds"
    try:
        outcome = seeds.run(seeds.build(), 1, count, recovery=recovery, tell=lambda _outcome: None)
    except seeds.CampaignBroken as broken:
        return Outcome(POWER_FAILURE, words, None, failure=str(broken).splitlines()[0])
    verdict = Verdict(lost=[f"seed {seed}: {what}" for seed, what in outcome.failed.items()])
    for line in verdict.problems:
        tell(line)
    return Outcome(POWER_FAILURE, words, verdict, {"seeds": count, **outcome.figures})


def matrix(log_bytes: int, tell: Callable[[str], object], *, opens_early: bool = False) -> list[Outcome]:
    """The outcomes of the matrix, in its order."""
    outcomes = []
    for row, name in ROWS.items():
        tell(f"{row} ...")
        outcomes.append(play(SCENARIOS[name], log_bytes, tell, opens_early=opens_early))
        if row == "normal shutdown":
            tell(f"{POWER_FAILURE} ...")
            outcomes.append(power_failures(log_bytes, tell, "early" if opens_early else None))
    return outcomes


def matrix_markdown(outcomes: Iterable[Outcome]) -> str:
    """The matrix as a table."""
    rows = {name: row for row, name in ROWS.items()}
    lines = ["| | consistent | atomic | durable | recovery |", "| --- | --- | --- | --- | --- |"]
    lines += [_line(rows.get(outcome.name, outcome.name), outcome.cells()) for outcome in outcomes]
    return "\n".join(lines)


def scenarios_markdown(outcomes: Iterable[Outcome]) -> str:
    """Every scenario, with what was done and what came of it, as a table."""
    head = "| scenario | made by | consistent | atomic | durable | recovery |"
    lines = [head, "| --- | --- | --- | --- | --- | --- |"]
    lines += [_line(outcome.name, (outcome.words, *outcome.cells())) for outcome in outcomes]
    return "\n".join(lines)


def _line(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
