"""The outcome of a run as a picture. Needs matplotlib (the optional extra `bench`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COLOURS = {"SQLite": "#4c78a8", "LMDB": "#54a24b", "Berkeley DB": "#b279a2", "RocksDB": "#e45756"}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw how many times better Holdfast is than each peer, by workload, on a logarithmic scale.

    Raises ImportError where matplotlib is missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    compared = {name: found for name, found in report["workloads"].items() if found["ratios"]}
    figure = Figure(figsize=(9, 1.2 + 0.42 * max(len(compared), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(compared))
    for peer, colour in _COLOURS.items():
        points = [
            (found["ratios"][peer], -at)
            for at, found in zip(places, compared.values(), strict=True)
            if peer in found["ratios"]
        ]
        if points:
            ratios, heights = zip(*points, strict=True)
            axes.scatter(ratios, heights, label=peer, color=colour, zorder=3)
    axes.axvline(1.0, color="#333333", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks([-at for at in places], list(compared))
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.set_xlabel("times better than the peer (right of the line Holdfast is ahead)")
    rows, rounds = report["settings"]["rows"], report["settings"]["rounds"]
    axes.set_title(f"Holdfast against each peer: {rows:,} rows, medians of {rounds} rounds")
    axes.legend(loc="best")
    figure.savefig(path, dpi=120)
