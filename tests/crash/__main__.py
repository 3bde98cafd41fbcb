"""Crash campaigns, from the root of the repository:

    python -m tests.crash --kills 100                  processes killed at random
    python -m tests.crash --takeovers 30               primaries killed; their mirrors take over
    python -m tests.crash --memory 20                  processes that run out of memory in all they do
    python -m tests.crash --seeds 1000 --minutes 5     power failures of a simulated disk
    python -m tests.crash --sabotage log-sync          the same with a safeguard left out
    python -m tests.crash --campaign kills --minutes 5 processes killed within any call of a simulated disk
    python -m tests.crash --campaign races --minutes 5 orders of threads, drawn from seeds
    python -m tests.crash --long 5000000               transactions of so many changes, against their limits
    python -m tests.crash --matrix --size "1 GiB"      the validation matrix, from runs
    python -m tests.crash --scenario all               every scenario; or the names of some
    python -m tests.crash --aborts --size "1 GiB"      how soon a recovery answers an abort

With `--recovery early` databases open after analysis and are recovered in the background, with
`--recovery whole` they are recovered first; without it campaigns take turns, scenarios recover first.

Exit status 0 only if nothing went wrong; with a sabotage only if it was noticed.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.units import parse_size
from tests.crash import aborts, long, matrix, scarcity, seeds
from tests.crash.kills import Campaign, Violation
from tests.crash.scenarios import SCENARIOS
from tests.crash.takeovers import LIMIT_S, Takeovers

_EXAMPLES = 3
_console = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one campaign; the exit status says whether all was well."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.aborts:
        return abort(options.size)
    if options.matrix or options.scenario:
        opens_early = options.recovery == "early"
        return play(options.scenario or [], options.size, as_matrix=options.matrix, opens_early=opens_early)
    if options.long is not None:
        return long.run(options.long, lambda line: _console.print(line, markup=False))
    simulated = (options.seeds, options.minutes, options.first, options.sabotage, options.campaign)
    if all(option is None for option in simulated):
        seed = secrets.randbelow(10**9) if options.seed is None else options.seed
        if options.takeovers is not None:
            return take_over(options.takeovers, seed)
        if options.memory is not None:
            return starve(options.memory, seed)
        return kill(10 if options.kills is None else options.kills, seed, options.recovery)
    of_processes = (options.kills, options.takeovers, options.memory, options.seed)
    if any(option is not None for option in of_processes):
        parser.error(
            "--kills, --takeovers, --memory and --seed belong to processes, the others to a campaign"
        )
    count = options.seeds or (10**9 if options.minutes is not None else 400)
    first = secrets.randbelow(10**12) if options.first is None else options.first
    campaign = options.campaign or "power"
    if campaign != "power" and (options.sabotage or options.recovery):
        parser.error("--sabotage and --recovery belong to the campaign of power failures")
    return simulate(
        first, count, options.minutes, options.sabotage, recovery=options.recovery, campaign=campaign
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recovery", choices=list(seeds.RECOVERIES), help="before or behind the opening")
    kills = parser.add_argument_group("processes killed at random")
    kills.add_argument("--kills", type=_positive, metavar="N", help="how many to kill (10)")
    kills.add_argument("--seed", type=int, help="what they write and when they are killed (random)")
    kills.add_argument(
        "--takeovers", type=_positive, metavar="N", help="kill so many primaries; their mirrors take over"
    )
    kills.add_argument(
        "--memory", type=_positive, metavar="N", help="so many rounds of work with too little memory"
    )
    simulated = parser.add_argument_group("the kernel's own campaigns")
    simulated.add_argument(
        "--campaign", choices=seeds.CAMPAIGNS, help="power failures, kills, or races (power)"
    )
    simulated.add_argument("--seeds", type=_positive, metavar="N", help="how many runs (400)")
    simulated.add_argument("--minutes", type=float, metavar="M", help="end after so long")
    simulated.add_argument("--from", type=int, dest="first", metavar="SEED", help="the first (random)")
    simulated.add_argument("--sabotage", choices=seeds.SABOTAGES, help="leave this safeguard out")
    lasting = parser.add_argument_group("long transactions")
    lasting.add_argument("--long", type=_positive, metavar="CHANGES", help="so many changes in each")
    played = parser.add_argument_group("scenarios, each with a database of its own")
    played.add_argument("--matrix", action="store_true", help="print the validation matrix as Markdown")
    played.add_argument("--aborts", action="store_true", help="ask a recovery to stop in each of its parts")
    names = ["all", *SCENARIOS]
    played.add_argument("--scenario", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    played.add_argument("--size", type=parse_size, default="64 MiB", help="log to be recovered (64 MiB)")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def kill(kills: int, seed: int, recovery: str | None) -> int:
    """A campaign of kills in a directory of its own, which is kept where something went wrong."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-kills-"))
    campaign = Campaign(directory, seed, lambda line: _console.print(line, markup=False), recovery)
    _console.print(f"{kills} kills, seed {seed}")
    try:
        campaign.run(kills)
    except Violation as violation:
        _console.print(campaign.figures.table())
        _console.print(f"VIOLATION: {violation}", markup=False)
        _console.print(f"seed {seed}; the database and what its processes wrote are kept in {directory}")
        return 1
    _console.print(campaign.figures.table())
    shutil.rmtree(directory)
    return 0


def take_over(kills: int, seed: int) -> int:
    """A campaign of lost primaries, in a directory of its own, which is kept where something went wrong."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-takeovers-"))
    campaign = Takeovers(directory, seed, lambda line: _console.print(line, markup=False))
    _console.print(f"{kills} primaries killed, seed {seed}")
    try:
        figures = campaign.run(kills)
    except Violation as violation:
        _console.print(f"VIOLATION: {violation}", markup=False)
        _console.print(f"seed {seed}; what is left is kept in {directory}")
        return 1
    slowest, mean = max(campaign.seconds), sum(campaign.seconds) / len(campaign.seconds)
    _console.print(
        f"{kills} mirrors took over; {figures.commits_acknowledged:,} commits were acknowledged, and all are "
        f"there; a fail over took {mean:.2f} s, the slowest {slowest:.2f} s (limit {LIMIT_S:.0f} s)"
    )
    shutil.rmtree(directory)
    return 0


def starve(rounds: int, seed: int) -> int:
    """Every piece of work in processes with too little memory; what went wrong is kept."""
    if scarcity.MISSING:
        _console.print(scarcity.MISSING)
        return 0
    directory = Path(tempfile.mkdtemp(prefix="holdfast-memory-"))
    _console.print(f"{rounds} rounds of {len(scarcity.EVERY)} pieces of work, seed {seed}")
    try:
        outcome = scarcity.campaign(directory, rounds, seed, lambda line: _console.print(line, markup=False))
    except scarcity.Scarce as wrong:
        _console.print(f"VIOLATION: {wrong}", markup=False)
        _console.print(f"seed {seed}; the database and what its processes wrote are kept in {directory}")
        return 1
    table = Table("Work", "Done", "Told of the memory")
    for work in scarcity.EVERY:
        table.add_row(work, str(outcome.done[work]), str(outcome.refused[work]))
    _console.print(table)
    _console.print(f"{outcome.commits} commits were acknowledged, and all are there")
    shutil.rmtree(directory)
    return 0


def play(names: Sequence[str], log_bytes: int, *, as_matrix: bool, opens_early: bool) -> int:
    """Play the matrix or some scenarios, and print what came of them as Markdown."""

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if as_matrix:
        outcomes = matrix.matrix(log_bytes, tell, opens_early=opens_early)
        print(matrix.matrix_markdown(outcomes))
    else:
        chosen = list(SCENARIOS) if "all" in names else names
        outcomes = []
        for name in chosen:
            tell(f"{name} ...")
            outcomes.append(matrix.play(SCENARIOS[name], log_bytes, tell, opens_early=opens_early))
        print(matrix.scenarios_markdown(outcomes))
    return 0 if all(outcome.is_right for outcome in outcomes) else 1


def abort(log_bytes: int) -> int:
    """Ask recoveries to stop, and print how soon each answered; 1 where one was late."""
    answers = aborts.campaign(log_bytes, lambda line: print(line, file=sys.stderr, flush=True))
    print(aborts.markdown(answers))
    late = [answer for answer in answers if answer.is_late and answer.kind != aborts.CLOSED]
    print(f"\n{len(answers)} aborts, {len(late)} answered later than {aborts.LIMIT_S:g} s")
    return 1 if late else 0


def simulate(
    first: int,
    count: int,
    minutes: float | None,
    sabotage: str | None,
    *,
    recovery: str | None,
    campaign: str,
) -> int:
    """A campaign of the kernel over `count` seeds from `first` on."""
    left_out = "" if sabotage is None else f", without {sabotage}"
    _console.print(f"seeds from {first} on{left_out}")
    told: set[int] = set()

    def tell(outcome: seeds.Outcome) -> None:
        figures = outcome.figures
        done = f"{figures['recoveries']:,} recoveries, {figures['crashed_recoveries']:,} crashed"
        if campaign == "races":
            done = f"{figures['interleavings']:,} interleavings"
        _console.print(f"{outcome.seeds:>7,} seeds: {done}, {len(outcome.failed)} seeds failed")
        for seed, what in outcome.failed.items():
            # What a sabotage broke is shown by example; every other failing seed counts.
            if seed not in told and (sabotage is None or len(told) < _EXAMPLES):
                told.add(seed)
                _console.print(f"seed {seed}: {what}", markup=False)
                _console.print(
                    f"        again: {seeds.how_to_repeat(seed, sabotage, outcome.recoveries[seed])}"
                )

    try:
        outcome = seeds.run(
            seeds.build(campaign),
            first,
            count,
            minutes=minutes,
            sabotage=sabotage,
            recovery=recovery,
            campaign=campaign,
            tell=tell,
        )
    except seeds.CampaignBroken as broken:
        _console.print(str(broken), markup=False)
        return 3
    _console.print(_figures(outcome))
    if sabotage is not None:
        noticed = "was noticed" if outcome.failed else "WAS NOT NOTICED"
        _console.print(f"the sabotage {sabotage} {noticed} in {outcome.seeds} seeds")
        return 0 if outcome.failed else 1
    return 1 if outcome.failed else 0


def _figures(outcome: seeds.Outcome) -> Table:
    table = Table("Figure", "Count", show_header=False)
    table.columns[1].justify = "right"
    table.add_row("seeds", f"{outcome.seeds:,}")
    for name, count in outcome.figures.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    return table


if __name__ == "__main__":
    sys.exit(main())
