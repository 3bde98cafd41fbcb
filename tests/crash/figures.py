"""What a campaign of kills came to, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from rich.table import Table


@dataclass(slots=True)
class Figures:
    """Sums over all lives; what a process did after its last sample before a kill is not in them."""

    kills: int = 0
    kills_at_work: int = 0
    kills_during_recovery: int = 0
    kills_behind_the_opening: int = 0
    """While pages of an open database were still to be redone, or its losers to be rolled back."""
    kills_during_clean_opening: int = 0
    kills_during_creation: int = 0
    kills_during_shutdown: int = 0
    clean_shutdowns: int = 0
    verifications: int = 0
    visits: int = 0
    visits_refused: int = 0
    recoveries: int = 0
    recoveries_behind_the_opening: int = 0
    blind_lives: int = 0
    """That wrote at once, without having read what the recovery gave."""
    recovery_seconds: float = 0.0
    longest_recovery_seconds: float = 0.0
    transactions_undone: int = 0
    changes_undone: int = 0
    commits_acknowledged: int = 0
    in_flight_found: int = 0
    in_flight_not_found: int = 0
    conflicts: int = 0
    deadlocks: int = 0
    evictions: int = 0
    pages_written: int = 0
    splits: int = 0
    rotations: int = 0
    checkpoints: int = 0
    log_bytes: int = 0

    def add(self, sample: Mapping[str, int]) -> None:
        """Add the last sample of a life."""
        for name, count in sample.items():
            setattr(self, name, getattr(self, name) + count)

    def recovered(self, recovery: Mapping[str, float]) -> None:
        self.recoveries += 1
        self.recoveries_behind_the_opening += bool(recovery["is_early"])
        self.recovery_seconds += recovery["seconds"]
        self.longest_recovery_seconds = max(self.longest_recovery_seconds, recovery["seconds"])
        self.transactions_undone += int(recovery["losers"])
        self.changes_undone += int(recovery["undone"])

    def table(self) -> Table:
        """All figures, one a line."""
        table = Table("Figure", "Count", show_header=False)
        table.columns[1].justify = "right"
        for field in fields(self):
            value = getattr(self, field.name)
            shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
            table.add_row(field.name.replace("_", " "), shown)
        return table
