"""What the page shows of the engine's integrity, taken at one moment off the interface thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from engine.integrity.findings import CheckNote, Finding, Loss


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy that nobody changes any more."""

    at: float
    findings: tuple[Finding, ...]
    closed: tuple[Finding, ...]
    losses: tuple[Loss, ...]
    check: CheckNote | None
    note: str
    left_out: int
    is_halted: bool = False
    """Damage has stopped all changes."""


def snapshot(database: Any) -> Snapshot:
    """Look at an open `engine.Database`. Runs on a worker."""
    integrity = database.integrity
    return Snapshot(
        at=time.time(),
        findings=integrity.findings(),
        closed=integrity.findings(closed=True),
        losses=integrity.losses,
        check=integrity.last_check,
        note=integrity.note,
        left_out=integrity.left_out,
        is_halted=bool(database.store.status()["halted"]),
    )
