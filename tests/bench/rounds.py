"""Rounds: in each, every peer does every workload once, in turn, so that all meet the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.bench import Bench, Measurement, WrongAnswer
from tests.bench.peers.base import Peer
from tests.bench.workload import Workload

HOLDFAST = "Holdfast"
_LEAST = 1e-9


@dataclass(slots=True)
class Result:
    """One workload: what each peer came to in each round."""

    workload: Workload
    rounds: dict[str, list[Measurement]] = field(default_factory=dict)
    limits: list[float] = field(default_factory=list)
    without: dict[str, str] = field(default_factory=dict)

    def latest(self) -> str:
        """What the last round came to, in one line."""
        unit = self.workload.unit
        figures = (f"{peer} {found[-1].value:,.4g} {unit}" for peer, found in self.rounds.items())
        return f"{self.workload.name}: {', '.join(figures)}"

    def keep_whole(self) -> None:
        """Forget what an interrupted round has measured of some peers only."""
        whole = min((len(found) for found in self.rounds.values()), default=0)
        if self.workload.limit and self.limits:
            whole = min(whole, len(self.limits))
        self.rounds = {peer: found[:whole] for peer, found in self.rounds.items() if whole}
        self.limits = self.limits[:whole]

    def median(self, peer: str) -> float:
        return median(measured.value for measured in self.rounds[peer])

    def extras(self, peer: str) -> dict[str, float]:
        """The median of each further figure."""
        first = self.rounds[peer][0].extras
        return {name: median(m.extras[name] for m in self.rounds[peer]) for name in first}

    def ratio(self, peer: str) -> float:
        """How many times better Holdfast is: the median of the rounds' ratios."""
        pairs = zip(self.rounds[HOLDFAST], self.rounds[peer], strict=True)
        return median(self._better(mine.value, theirs.value) for mine, theirs in pairs)

    def goals(self) -> list[tuple[str, float, float]]:
        """Each goal: the figure's name, what Holdfast came to, and what it is to stay below."""
        if HOLDFAST not in self.rounds:
            return []
        figures = {"": self.median(HOLDFAST), **self.extras(HOLDFAST)}
        return [(goal.figure, figures[goal.figure], goal.most) for goal in self.workload.goals]

    def limit_ratio(self) -> float:
        """Holdfast as a share of the limit."""
        pairs = zip(self.rounds[HOLDFAST], self.limits, strict=True)
        return median(self._better(mine.value, limit) for mine, limit in pairs)

    def _better(self, mine: float, other: float) -> float:
        mine, other = max(mine, _LEAST), max(other, _LEAST)
        return mine / other if self.workload.more_is_better else other / mine

    def best_peer(self) -> str | None:
        """The best of the others, by their medians."""
        others = [name for name in self.rounds if name != HOLDFAST]
        if not others:
            return None
        best = max if self.workload.more_is_better else min
        return best(others, key=self.median)


def run(
    bench: Bench,
    peers: Sequence[type[Peer]],
    workloads: Sequence[Workload],
    told: Callable[[str], None] = lambda text: None,
    noted: Callable[[str], None] = lambda text: None,
) -> list[Result]:
    """Do all rounds; `told` hears what is being done, `noted` what came of it.

    Raises `WrongAnswer` where peers disagree. An interrupt (Ctrl+C) ends the run: what was measured of
    all peers by then is the answer.
    """
    results = [Result(workload) for workload in workloads]
    try:
        for number in range(bench.settings.rounds):
            turn = number % len(peers)
            order = [*peers[turn:], *peers[:turn]]
            for result in results:
                told(f"round {number + 1} of {bench.settings.rounds}: {result.workload.title}")
                _measure(bench, order, result)
                noted(result.latest())
    except KeyboardInterrupt:
        noted("interrupted: what was measured by now follows")
        for result in results:
            result.keep_whole()
        results = [result for result in results if result.rounds]
    return results


def _measure(bench: Bench, order: Sequence[type[Peer]], result: Result) -> None:
    workload = result.workload
    facts: dict[str, Mapping[str, int]] = {}
    for kind in order:
        reason = workload.without(kind)
        if reason:
            result.without[kind.name] = reason
            continue
        measured = workload.measure(bench, kind)
        result.rounds.setdefault(kind.name, []).append(measured)
        facts[kind.name] = measured.facts
    for name, found in facts.items():
        if found != facts[next(iter(facts))]:
            raise WrongAnswer(f"{workload.name}: {name} found {dict(found)}, others {facts}")
    if workload.limit and HOLDFAST in facts:
        result.limits.append(workload.limit.measure(bench, result.rounds[HOLDFAST][-1]))
