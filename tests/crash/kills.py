"""A campaign of kills: one database lives through them all, and answers for itself after each.

Every life is one process. It opens the database, which recovers it where the life before was
killed, and says what it holds; that is held against the model. Then it writes until it is
killed: at work, in its shutdown, or, before it has said anything, in its recovery.

A recovery is through before the database is open, or it goes on behind that ("early"). Some of
these lives are blind: they write at once, while pages are redone, and are killed meanwhile; the
next life proves what they left.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.crash.contents import Contents
from tests.crash.figures import Figures
from tests.crash.model import Model, differences
from tests.crash.victim import KILLED, Message, Silent, Victim
from tests.crash.visitor import VERBS, Visitor

DATABASE = "Kills, größere 日本.holdfast"
"""With spaces and letters beyond ASCII, as paths of users are."""

_MOST_TOLD = 40
_VISITED = 0.2
_BLIND = 0.5


class Violation(Exception):
    """The database is not what it must be, or its process did what it must not."""


class Moment(StrEnum):
    """When a life ends."""

    OPENING = "opening"
    WORK = "work"
    SHUTDOWN = "shutdown"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Plan:
    """The end of one life: a moment, so many messages before it, and a delay after that."""

    moment: Moment
    messages: int
    delay_s: float
    visit: str | None = None
    """What a second program does with the database meanwhile."""
    way: str = "whole"
    """How the database is opened: see the writer."""


class Campaign:
    """Kills the writers of one database and verifies what they leave."""

    def __init__(
        self, directory: Path, seed: int, tell: Callable[[str], None], recovery: str | None = None
    ) -> None:
        """`directory` exists; the database is made in it. `tell` takes a line for each thing that happens.

        `recovery` is "whole" or "early"; without it lives take turns at random.
        """
        self.path = directory / DATABASE
        self.log = directory / "writers.log"
        self.figures = Figures()
        self.model = Model(seed)
        self._seed = seed
        self._dice = random.Random(seed)
        self._recoveries = [recovery] if recovery is not None else ["whole", "early"]
        self._way_dice = random.Random(f"ways {seed}")
        self._tell = tell
        self._recovery_s = self._opening_s = 0.05
        self._is_made = self._is_clean = False

    def run(self, kills: int) -> Figures:
        """Kill so often, then verify once more and close. Raises `Violation`."""
        while self.figures.kills < kills:
            self._live(self._plan())
        self._live(Plan(Moment.CLEAN, 0, 0.0, way=self._recoveries[-1]))
        return self.figures

    def _plan(self) -> Plan:
        plan, dice = self._draw(), self._way_dice
        way = dice.choice(self._recoveries)
        if way == "early" and dice.random() < _BLIND:
            # Soon enough to be in the middle of what is done behind the opening.
            delay_s = dice.uniform(0, dice.choice((0.005, 0.05)))
            return Plan(Moment.WORK, dice.choice((0, 1, 5, 30)), delay_s, way="blind")
        return replace(plan, way=way)

    def _draw(self) -> Plan:
        moment = self._dice.choices(list(Moment), (30, 57, 8, 5))[0]
        if moment is Moment.OPENING:
            # A little longer than the last recovery took, so that every stage of it is hit.
            return Plan(moment, 0, self._dice.uniform(0, 1.2 * self._recovery_s))
        messages = self._dice.choice((10, 100, 400, 1500))
        longest = 0.08 if moment is Moment.SHUTDOWN else 0.01
        delay_s = self._dice.uniform(0, longest)
        visit = self._dice.choice(VERBS) if self._dice.random() < _VISITED else None
        return Plan(moment, self._dice.randint(1, messages), delay_s, visit)

    def _live(self, plan: Plan) -> None:
        life = _Life(self, plan)
        arguments = [str(self.path), str(self._seed), plan.way]
        with Victim("tests.crash.writer", arguments, self.log) as victim:
            try:
                for message in victim.messages():
                    life.hear(message, victim)
            except Silent:
                raise Violation("the process lives and does nothing any more") from None
            self._end(life, victim)
            self._judge(life.visitor)

    def _end(self, life: _Life, victim: Victim) -> None:
        self.figures.add(life.sample)
        self.figures.commits_acknowledged = self.model.acknowledged
        if life.is_closed:
            if victim.status != 0 and not victim.was_killed:
                raise Violation(f"the process ended with status {victim.status} after a clean shutdown")
            self.figures.clean_shutdowns += 1
            self._is_clean = True
            self._tell("      closed")
            return
        if not victim.was_killed or victim.status != KILLED:
            raise Violation(f"the process ended by itself, with status {victim.status}")
        where = self._count_kill(life)
        self._tell(
            f"{self.figures.kills:>5} killed {where}: {life.commits} commits acknowledged, "
            f"{self.model.in_flight} in flight"
        )

    def _count_kill(self, life: _Life) -> str:
        figures = self.figures
        figures.kills += 1
        if not life.is_opened and not self._is_made:
            figures.kills_during_creation += 1
            return "in creation"
        if not life.is_opened and self._is_clean:
            figures.kills_during_clean_opening += 1
            # It may have taken the mark of a clean shutdown away.
            self._is_clean = False
            return "in opening"
        if not life.is_opened:
            figures.kills_during_recovery += 1
            return "in recovery"
        if life.is_closing:
            figures.kills_during_shutdown += 1
            return "in shutdown"
        if life.is_behind:
            figures.kills_behind_the_opening += 1
            return "while it was redone"
        figures.kills_at_work += 1
        return "at work" if life.is_verified else "before it was verified"

    def _judge(self, visitor: Visitor | None) -> None:
        """Wait for a second program to end: the next life is not to meet it."""
        if visitor is None:
            return
        if problem := visitor.problem():
            raise Violation(f"a second program: {problem}")
        self.figures.visits += 1
        self.figures.visits_refused += visitor.was_refused
        # Let in, a checkpoint has recovered the database and closed it.
        self._is_clean |= visitor.verb == "checkpoint" and not visitor.was_refused

    def opened(self, seconds: float, recovery: dict[str, Any] | None) -> None:
        """A process has opened the database."""
        self._is_made, self._is_clean = True, False
        self._opening_s = seconds
        if recovery is not None:
            self._recovery_s = seconds
            self.figures.recovered(recovery)

    def settle(self, stands: dict[int, int]) -> None:
        """A blind process has told where its threads stand. Raises `Violation`."""
        settled = self.model.settle(stands)
        if settled.problems:
            raise Violation("\n".join(settled.problems))
        self.figures.blind_lives += 1
        self.figures.in_flight_found += settled.found
        self.figures.in_flight_not_found += settled.not_found

    def verify(self, found: Contents, problems: list[Any]) -> None:
        """Hold what a process found against what must be there. Raises `Violation`."""
        settled = self.model.settle(found.stands)
        wrong = settled.problems + differences(self.model.contents(), found)
        wrong += [f"check: {problem}" for problem in problems]
        if wrong:
            more = [f"... and {len(wrong) - _MOST_TOLD} more"] if len(wrong) > _MOST_TOLD else []
            raise Violation("\n".join([f"{len(wrong)} differences", *wrong[:_MOST_TOLD], *more]))
        figures = self.figures
        figures.verifications += 1
        figures.in_flight_found += settled.found
        figures.in_flight_not_found += settled.not_found
        self._tell(
            f"      opened in {self._opening_s:.2f} s, all {found.records:,} records and "
            f"{found.rows:,} rows are right; of those in flight {settled.found} there, "
            f"{settled.not_found} not"
        )


class _Life:
    """One process, as far as it has told."""

    def __init__(self, campaign: Campaign, plan: Plan) -> None:
        self._campaign, self._plan = campaign, plan
        self._found = Contents()
        self.sample: dict[str, int] = {}
        self.commits = 0
        self._messages = 0
        self.visitor: Visitor | None = None
        self.is_opened = self.is_verified = self.is_closing = self.is_closed = False
        self.is_behind = False
        """The recovery goes on behind the opening, as far as anybody was told."""

    def hear(self, message: Message, victim: Victim) -> None:
        """Take one message, and do what is due then."""
        model = self._campaign.model
        match message:
            case ["opening"]:
                if self._plan.moment is Moment.OPENING:
                    victim.kill_after(self._plan.delay_s)
            case ["opened", seconds, recovery]:
                self.is_opened = True
                self.is_behind = recovery is not None and recovery["is_early"]
                if self._plan.visit is not None:
                    self.visitor = Visitor(
                        self._plan.visit, self._campaign.path, lambda: self._writes(victim)
                    )
                self._campaign.opened(seconds, recovery)
            case ["redone"]:
                self.is_behind = False
            case ["stands", stands]:
                self._campaign.settle(dict(stands))
            case ["contents", part]:
                self._found.add(part)
            case ["checked", problems]:
                self._campaign.verify(self._found, problems)
                self.is_verified = True
            case ["ready"]:
                victim.say("go")
                self._count(victim)
            case ["intent", thread, number]:
                model.intend(thread, number)
                self._count(victim)
            case ["done", thread, number]:
                model.acknowledge(thread, number)
                self.commits += 1
                self._count(victim)
            case ["refused", thread]:
                model.give_up(thread)
            case ["figures", sample]:
                self.sample = sample
            case ["closed"]:
                self.is_closed = True
            case ["wrong", text]:
                raise Violation(f"the process met what must not happen:\n{text}")
            case _:
                raise Violation(f"the process said {message}")

    def _writes(self, victim: Victim) -> bool:
        """True while it certainly has the database open."""
        return victim.lives and not self.is_closing

    def _count(self, victim: Victim) -> None:
        """At the planned message the end begins."""
        if self._messages == self._plan.messages:
            if self._plan.moment in (Moment.SHUTDOWN, Moment.CLEAN):
                self.is_closing = True
                victim.say("close")
            if self._plan.moment in (Moment.SHUTDOWN, Moment.WORK):
                victim.kill_after(self._plan.delay_s)
        self._messages += 1
