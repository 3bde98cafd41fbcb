"""A board of alerts that is watched, with clocks that a test moves, and a condition for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.alerts.alert import (
    Alert,
    AlertType,
    Condition,
    Impact,
    News,
)
from engine.alerts.board import Board
from engine.alerts.escalation import Policy
from engine.types import Severity

MIN, HOUR, DAY = 60.0, 3600.0, 86400.0
START = 1_700_000_000.0


class Clocks:
    """A wall clock that can be set, and one that nobody sets."""

    def __init__(self) -> None:
        self.wall, self.steady = START, 50.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Watch:
    """A board on a directory with clocks of its own, and what it told."""

    def __init__(self, directory: Path, policy: Policy | None = None, may_write: bool = True) -> None:
        self.clocks = Clocks()
        self.news: list[News] = []
        self.directory, self.policy = directory, policy or Policy()
        self.may_write = may_write
        self.board = self.again()

    def again(self) -> Board:
        """As after a restart of the program."""
        self.board = Board(
            self.directory,
            may_write=self.may_write,
            policy=lambda: self.policy,
            tell=self.news.append,
            clock=lambda: self.clocks.wall,
            monotonic=lambda: self.clocks.steady,
        )
        return self.board

    def told(self) -> list[tuple[str, int]]:
        """Kinds and levels since the last question."""
        told = [(news.kind.value.removeprefix("alert_"), news.alerts[0].level) for news in self.news]
        self.news.clear()
        return told

    def only(self) -> Alert:
        (alert,) = self.board.alerts()
        return alert


def wrong(key: str = "no_proved_backup", severity: Severity = Severity.HIGH, **values: object) -> Condition:
    made = Condition(
        key=key,
        type=AlertType.HEALTH_CHECK_FAILED,
        severity=severity,
        component="backups",
        impact=Impact.NONE,
        summary="There was no backup for 9 d.",
        recommended_action="Take a backup.",
        action="back_up",
        runbook="no-proved-backup",
    )
    return replace(made, **values)  # type: ignore[arg-type]
