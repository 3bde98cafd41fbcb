"""A mirror takes the place of its primary: by hand, or by itself when the primary's disk fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import bridge
from engine.mirrors.outlook import outlook_of
from engine.tasks import Task
from engine.types import MirrorOutlook

if TYPE_CHECKING:
    from engine.recovery.report import RecoveryReport


@dataclass(frozen=True, slots=True)
class FailOver:
    """A mirror that is the primary now: recovered, checked and closed, ready to be opened."""

    path: Path
    former: Path | None
    outlook: MirrorOutlook
    """What was known of a loss just before."""
    recovery: RecoveryReport | None
    """What brought it to its end; None where it was at its end."""
    seconds: float


def fail_over_task(
    mirror: str | Path, primary: str | Path | None = None, *, accept_cut: bool = False
) -> Task[FailOver]:
    """Make `mirror` the primary, and recover it; start the task, or run it.

    `primary` is the directory of the former one: where it can be reached it is fenced first, and is
    never opened as a primary again. It must be closed: `DatabaseOpenElsewhere` (-16). Where the end
    of the mirror's log is damaged, only with `accept_cut`. `outlook` says beforehand what is lost.

    Raises `MirrorIncomplete` (-111), and what recovery raises: then the mirror is the primary
    already, and is recovered when it is opened.
    """
    # Imported here: the database owns its mirrors.
    from engine.opening import open_database

    place = Path(mirror).expanduser().absolute()
    former = None if primary is None else Path(primary).expanduser().absolute()

    def work(task: Task[FailOver]) -> FailOver:
        started = time.monotonic()
        known = None if former is None else str(former)
        found = outlook_of(place, bridge.mirror_fail_over(str(place), known, accept_cut))
        task.proceed()
        with open_database(place, create=False) as database:
            report = database.recovery_report
        return FailOver(place, former, found, report, time.monotonic() - started)

    return Task(f"Fail over to {place.name}", work)
