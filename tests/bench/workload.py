"""What a workload is, apart from what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench import limits
from tests.bench.bench import Bench, Measurement
from tests.bench.peers.base import Peer

Measure = Callable[[Bench, type[Peer]], Measurement]
LimitOf = Callable[[Bench, Measurement], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the machine could do at best, in the unit of the workload."""

    title: str
    measure: LimitOf
    """Given what Holdfast came to in the same round: the same bytes are moved."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure of Holdfast is to stay below."""

    figure: str
    """One of the further figures; empty for the value itself."""
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One piece of work that peers are compared in."""

    name: str
    title: str
    unit: str
    more_is_better: bool = True
    measure: Measure
    limit: Limit | None = None
    without: Callable[[type[Peer]], str] = lambda kind: ""
    """Why a peer cannot do it; empty where it can."""
    minor: bool = False
    """A look at Holdfast alone: nothing to compare."""
    goals: tuple[Goal, ...] = ()


def only_holdfast(kind: type[Peer]) -> str:
    return "" if kind.name == "Holdfast" else "Holdfast only"


def _written(bench: Bench, of_holdfast: Measurement) -> float:
    with bench.place() as place:
        return limits.write_and_sync(place, int(of_holdfast.extras["MB"] * 1e6))


WRITING_AS_MUCH = Limit(title="writing and syncing as many bytes as the data file has", measure=_written)
"""For work that says in its extras how many MB it has moved."""
