"""Watches one stage while it runs: its progress, its time limits, and whether to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from engine.errors import HoldfastError

TICK_S = 0.1


class WatchedJob(Protocol):
    """The part of the kernel's `Job` that a watch needs."""

    def cancel(self) -> None: ...
    def progress(self) -> dict[str, Any]: ...


class StageWatch:
    """Reads a stage's progress some times a second and cancels its job where a limit is passed.

    `idle_s` is the longest time without progress, `deadline` the end of the whole recovery
    (by the monotonic clock). The stage then ends with `Cancelled`, and `expired` holds the
    limit in seconds, so that the caller can tell a time limit from a wish to stop. Likewise
    `violation` holds the error where `guard` found a resource used beyond its bound.
    """

    def __init__(
        self,
        job: WatchedJob,
        *,
        idle_s: float,
        deadline: float,
        total_s: float,
        tell: Callable[[Mapping[str, Any]], None],
        guard: Callable[[], HoldfastError | None] = lambda: None,
    ) -> None:
        self.expired: float | None = None
        self.violation: HoldfastError | None = None
        self._guard = guard
        self.last: Mapping[str, Any] = {}
        self._job = job
        self._idle_s = idle_s
        self._deadline = deadline
        self._total_s = total_s
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-recovery-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self.last = self._job.progress()

    def _run(self) -> None:
        moved_at = time.monotonic()
        while not self._over.wait(TICK_S):
            progress = self._job.progress()
            now = time.monotonic()
            if progress != self.last:
                self.last, moved_at = progress, now
                self._tell(progress)
            if now > self._deadline:
                self._expire(self._total_s)
            elif now - moved_at > self._idle_s:
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
    share = f" of {total:g}" if total else ""
    return f"{done:g}{share} {unit}".strip()
