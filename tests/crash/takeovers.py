"""A campaign of lost primaries: each is killed at work, and its synchronous mirror takes its place.

Each life is one process, at work on a primary whose commits wait for a mirror. It is killed at random;
then the primary is gone, or is still there and is fenced, and the mirror takes over. The next life says
what the successor holds, which is held against the model: every commit that was acknowledged is there.
It then gets a mirror of its own, and so on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.mirrors.failover import fail_over_task
from tests.crash.figures import Figures
from tests.crash.kills import Campaign, Moment, Plan, Violation
from tests.crash.victim import Victim
from tests.crash.writer import mirror_of

LIMIT_S = 30.0
"""A mirror has taken over within this time."""


class Takeovers(Campaign):
    """Kills primaries, and proves what their mirrors have when they have taken over."""

    def __init__(self, directory: Path, seed: int, tell: Callable[[str], None]) -> None:
        super().__init__(directory, seed, tell, "whole")
        self.path = directory / "Primary 日本 0.holdfast"
        self.seconds: list[float] = []
        """What each fail over took, its recovery included."""

    def run(self, kills: int) -> Figures:
        figures = super().run(kills)
        if len(self.seconds) != kills:
            raise Violation(f"{len(self.seconds)} mirrors took over after {kills} kills")
        return figures

    def _plan(self) -> Plan:
        messages = self._dice.choice((1, 10, 100, 400))
        return Plan(Moment.WORK, self._dice.randint(1, messages), self._dice.uniform(0, 0.01), way="mirrored")

    def _end(self, life: object, victim: Victim) -> None:
        super()._end(life, victim)  # type: ignore[arg-type]
        if victim.was_killed:
            self._take_over()

    def _take_over(self) -> None:
        former, mirror = self.path, mirror_of(self.path)
        is_gone = self._dice.random() < 0.5
        if is_gone:
            shutil.rmtree(former)
        done = fail_over_task(mirror, former).run()
        self.seconds.append(done.seconds)
        if done.seconds > LIMIT_S:
            raise Violation(f"the mirror took {done.seconds:.1f} s to take over, more than {LIMIT_S:.0f} s")
        if not is_gone:
            shutil.rmtree(former)
        self.path = mirror
        how = "gone" if is_gone else "fenced"
        self._tell(f"      the primary is {how}; its mirror took over in {done.seconds:.2f} s")
