"""Watches one stage while it runs: its progress, its time limits, and whether to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from engine.errors import HoldfastError
from engine.units import format_size

TICK_S = 0.1


class WatchedJob(Protocol):
    """The part of the kernel's `Job` that a watch needs."""

    def cancel(self) -> None: ...
    def progress(self) -> dict[str, Any]: ...


class Standstill:
    """How long a whole recovery may stand still in all, and how long it has.

    Only time without progress counts: one that moves on may take as long as its log is. A pause
    shorter than a breath is the grain of the progress that is told, not a standstill.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.breath_s = min(1.0, limit_s / 10)
        self.spent_s = 0.0

    def is_over(self, pause_s: float) -> bool:
        """Whether the limit is passed with the pause that goes on now."""
        return self.spent_s + self._counted(pause_s) > self.limit_s

    def end(self, pause_s: float) -> None:
        """A pause is over: there was progress, or the stage has ended."""
        self.spent_s += self._counted(pause_s)

    def _counted(self, pause_s: float) -> float:
        return pause_s if pause_s > self.breath_s else 0.0


class StageWatch:
    """Reads a stage's progress some times a second and cancels its job where a limit is passed.

    `idle_s` is the longest time without progress in this stage, `standstill` what the whole recovery
    may spend so. The stage then ends with `Cancelled`, and `expired` holds the limit in seconds, so
    that the caller can tell a time limit from a wish to stop. Likewise `violation` holds the error
    where `guard` found a resource used beyond its bound.
    """

    def __init__(
        self,
        job: WatchedJob,
        *,
        idle_s: float,
        standstill: Standstill,
        tell: Callable[[Mapping[str, Any]], None],
        guard: Callable[[], HoldfastError | None] = lambda: None,
    ) -> None:
        self.expired: float | None = None
        self.violation: HoldfastError | None = None
        self._guard = guard
        self.last: Mapping[str, Any] = {}
        self._job = job
        self._idle_s = idle_s
        self._standstill = standstill
        self._moved_at = 0.0
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-recovery-watch", daemon=True)

    def __enter__(self) -> Self:
        self._moved_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self._standstill.end(time.monotonic() - self._moved_at)
        self.last = self._job.progress()

    def _run(self) -> None:
        while not self._over.wait(TICK_S):
            progress = self._job.progress()
            now = time.monotonic()
            if progress != self.last:
                self._standstill.end(now - self._moved_at)
                self.last, self._moved_at = progress, now
                self._tell(progress)
            pause = now - self._moved_at
            if self._standstill.is_over(pause):
                self._expire(self._standstill.limit_s)
            elif pause > self._idle_s:
                self._expire(self._idle_s)
            elif self.violation is None and (found := self._guard()) is not None:
                self.violation = found
                self._job.cancel()

    def _expire(self, limit: float) -> None:
        if self.expired is None:
            self.expired = limit
            self._job.cancel()


def progress_text(progress: Mapping[str, Any]) -> str:
    """How far a stage had come, in words; empty where it had not told."""
    done, total, unit = progress.get("done", 0), progress.get("total", 0), progress.get("unit", "")
    if not done and not total:
        return str(progress.get("stage") or "")
    if unit == "bytes":
        told, most, unit = format_size(done), format_size(total), ""
    else:
        told, most = f"{done:,.0f}", f"{total:,.0f}"
    return f"{told}{f' of {most}' if total else ''} {unit}".strip()
