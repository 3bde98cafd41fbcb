"""Which snapshots go: by number, by age, by the room that they take."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config import Config
from engine.snapshots.types import SnapshotInfo


def expired(
    snapshots: Sequence[SnapshotInfo], config: Config, now: float, total_bytes: int, *, by_age: bool = True
) -> tuple[SnapshotInfo, ...]:
    """Those that no rule keeps, oldest first. Looks at nothing else; removes nothing.

    `snapshots` are in the order in which they were taken, the newest first, whatever the clock said then.
    Only scheduled ones ever go, never the newest of them, nor one that somebody looks at. The rules
    all have to hold: among the newest `keep_snapshots`, not older than `keep_snapshots_for` (unless not
    `by_age`), and all files together, `total_bytes`, within `snapshot_space`.
    """
    scheduled = [snapshot for snapshot in reversed(snapshots) if snapshot.is_scheduled]
    may_go = [snapshot for snapshot in scheduled[:-1] if not snapshot.is_open]
    too_many = max(0, len(scheduled) - config.keep_snapshots)
    gone: list[SnapshotInfo] = []
    left = total_bytes
    for snapshot in may_go:
        is_old = by_age and now - snapshot.taken_at > config.keep_snapshots_for
        if len(gone) < too_many or is_old or left > config.snapshot_space:
            gone.append(snapshot)
            left -= snapshot.bytes
    return tuple(gone)
