"""The outcome of a run, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench.peers.base import Peer
from tests.bench.rounds import HOLDFAST, Result
from tests.bench.settings import Settings, stated


def machine() -> dict[str, Any]:
    """What the run ran on, and how busy that was."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
    }


def as_json(
    settings: Settings,
    peers: Sequence[type[Peer]],
    missing: Mapping[str, str],
    results: Sequence[Result],
) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "settings": {
            "rows": settings.rows,
            "rounds": settings.rounds,
            "for_all": stated(settings),
            "by_peer": {kind.name: kind.settings_stated for kind in peers},
        },
        "machine": machine(),
        "peers": {kind.name: kind.version() for kind in peers},
        "missing": dict(missing),
        "workloads": {result.workload.name: _workload_json(result) for result in results},
    }


def _workload_json(result: Result) -> dict[str, Any]:
    workload, best = result.workload, result.best_peer()
    has_holdfast = HOLDFAST in result.rounds
    others = [name for name in result.rounds if name != HOLDFAST]
    found: dict[str, Any] = {
        "title": workload.title,
        "unit": workload.unit,
        "more_is_better": workload.more_is_better,
        "medians": {name: result.median(name) for name in result.rounds},
        "rounds": {name: [m.value for m in measured] for name, measured in result.rounds.items()},
        "facts": {name: dict(measured[-1].facts) for name, measured in result.rounds.items()},
        "extras": {name: result.extras(name) for name in result.rounds},
        "without": result.without,
        "ratios": {name: result.ratio(name) for name in others if has_holdfast},
        "best_peer": best,
    }
    if workload.limit and result.limits:
        limit = {"title": workload.limit.title, "rounds": result.limits, "ratio": result.limit_ratio()}
        found["limit"] = limit
    if goals := result.goals():
        found["goals"] = [
            {"figure": name or workload.unit, "value": value, "most": most, "reached": value <= most}
            for name, value, most in goals
        ]
    return found


def number(value: float) -> str:
    """A figure with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the report: settings, a table of medians, then the further figures."""
    console.print(f"\n[bold]{report['settings']['rows']:,} rows, {report['settings']['rounds']} rounds[/]")
    for line in report["settings"]["for_all"]:
        console.print(f"  {line}")
    for name, version in report["peers"].items():
        console.print(f"  {name} ({version}): {report['settings']['by_peer'][name]}")
    for name, reason in report["missing"].items():
        console.print(f"  [bold]{name} is left out[/]: {reason}")
    about = report["machine"]
    console.print(
        f"  {about['processors']} processors, {about['memory_gib']} GiB, load {about['load_average'][0]}, "
        f"Python {about['python']}, {about['system']}\n"
    )
    console.print(_table(report))
    console.print(
        "× says how many times better Holdfast is than the peer: above 1 it is ahead. Medians of the rounds, "
        "and of the rounds' ratios. The limit is what the machine could do without any database."
    )
    _show_extras(report, console)


def _table(report: Mapping[str, Any]) -> Table:
    peers = list(report["peers"])
    table = Table(show_lines=False, pad_edge=False)
    table.add_column("workload")
    table.add_column("unit")
    for name in peers:
        table.add_column(name, justify="right")
    table.add_column("best peer", justify="right")
    table.add_column("limit", justify="right")
    for name, found in report["workloads"].items():
        cells = [_cell(found, peer) for peer in peers]
        best = found["best_peer"]
        ratio = f"{number(found['ratios'][best])}×" if best in found["ratios"] else ""
        limit = f"{number(found['limit']['ratio'])}×" if "limit" in found else ""
        table.add_row(name, found["unit"], *cells, ratio, limit)
    return table


def _cell(found: Mapping[str, Any], peer: str) -> str:
    if peer not in found["medians"]:
        return "–"
    figure = number(found["medians"][peer])
    return f"{figure} ({number(found['ratios'][peer])}×)" if peer in found["ratios"] else figure


def _show_extras(report: Mapping[str, Any], console: Console) -> None:
    for name, found in report["workloads"].items():
        console.print(f"\n[bold]{name}[/]: {found['title']}")
        for peer, extras in found["extras"].items():
            if extras:
                console.print(f"  {peer}: " + ", ".join(f"{key} {number(v)}" for key, v in extras.items()))
        for peer, reason in found["without"].items():
            console.print(f"  {peer}: {reason}")
        if "limit" in found:
            limit = found["limit"]
            figures = ", ".join(number(value) for value in limit["rounds"])
            console.print(f"  limit, {limit['title']}: {figures} {found['unit']}")
        for goal in found.get("goals", ()):
            verdict = "reached" if goal["reached"] else "[bold]not reached[/]"
            most, value = number(goal["most"]), number(goal["value"])
            console.print(f"  to reach, {goal['figure']}: at most {most}, and it is {value}: {verdict}")
