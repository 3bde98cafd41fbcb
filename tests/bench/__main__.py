"""The same work on Holdfast and its peers, in one run: `python -m tests.bench`.

From the root of the repository. Figures are comparable within a run only; what counts are the
ratios. A peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.bench import catalogue, plot, report, rounds
from tests.bench.bench import Bench
from tests.bench.peers.registry import installed
from tests.bench.settings import Settings

_QUICK = Settings(rows=3_000, rounds=1)

_WIDTH = 150
"""Columns of the table where the output is no terminal."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, help=f"rows of each database (default: {Settings().rows:,})")
    parser.add_argument("--rounds", type=int, help=f"how often all is done (default: {Settings().rounds})")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{_QUICK.rows:,} rows and one round, where no others are named: everything, soon",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a workload, or how some begin; may be repeated",
    )
    parser.add_argument("--peer", action="append", default=[], help="a peer; may be repeated")
    parser.add_argument("--directory", type=Path, help="where the databases go (default: the system's place)")
    parser.add_argument("--verify", action="store_true", help="read all rows back after each change")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios; needs matplotlib")
    parser.add_argument("--list", action="store_true", help="name the workloads and end")
    return parser


def settings_of(arguments: Sequence[str] | None) -> Settings:
    """The size of the work that the arguments ask for."""
    options = _parser().parse_args(arguments)
    usual = _QUICK if options.quick else Settings()
    rows = usual.rows if options.rows is None else options.rows
    rounds_wanted = usual.rounds if options.rounds is None else options.rounds
    return Settings(rows=rows, rounds=rounds_wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    try:
        workloads = catalogue.named(options.only)
    except KeyError as error:
        parser.error(f"there is no workload {error.args[0]!r}; --list names them")
    settings = settings_of(arguments)
    if settings.rows < 1 or settings.rounds < 1:
        parser.error("rows and rounds are at least 1")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    if options.list:
        for workload in workloads:
            console.print(f"{workload.name:20} {workload.title}")
        return 0
    peers, missing = installed()
    if unknown := set(options.peer) - {kind.name for kind in peers} - set(missing):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}")
    chosen = [kind for kind in peers if not options.peer or kind.name in options.peer]
    if not chosen:
        parser.error("no such peer is installed")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=options.directory) as place:
        bench = Bench(settings, Path(place), verifies=options.verify)
        with console.status("preparing") as status:
            results = rounds.run(
                bench, chosen, workloads, status.update, lambda text: console.print(text, style="dim")
            )
    outcome = report.as_json(settings, chosen, missing, results)
    report.show(outcome, console)
    if options.json:
        options.json.write_text(json.dumps(outcome, indent=1), encoding="utf-8")
    if options.plot:
        plot.draw(outcome, options.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
