"""How long a recovery still takes: from the bytes that are left and the rates measured so far.

Each pass over the log and the pages has so many bytes to go through, most of them known before the
first one begins. A pass that runs is judged by its own rate; one that has not begun, by a usual rate
times how much faster or slower than usual this machine was in the passes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

MB = 1_000_000

USUAL_RATES: Mapping[str, float] = {
    "log validation": 1500 * MB,
    "analysis": 1500 * MB,
    "redo": 800 * MB,
    "undo": 40 * MB,
    "pages": 3500 * MB,
    "trees": 700 * MB,
    "log": 2000 * MB,
    "install": 300 * MB,
}
"""Bytes a second of each pass, in the order in which they run, as measured on an ordinary machine."""

_PASSES = tuple(USUAL_RATES)
_BEFORE = {
    6: "log validation",
    7: "analysis",
    8: "pages",
    9: "pages",
    10: "install",
    11: "install",
    12: "install",
}
"""Which pass a stage (1 to 12) is at or before, while it has not told one."""

_FIRST_STAGE = 6

_REDO_READS = 1.8
"""Redo goes through the log once, and through part of it again for the pages that are rebuilt."""
_FINISH_BYTES = 100 * MB
"""What the syncs and the checkpoint at the end take, as bytes to be installed."""
_USUAL_CACHE = 64 << 20
"""As much as a cache usually holds was changed and not yet written."""
_CHANGE_BYTES = 40
"""A change to be undone counts as so many bytes."""
_OWN_RATE_FROM_S = 0.3
"""A pass that has run for less than this says too little about itself."""
_USUAL_COUNTS_S = 0.1
"""The weight of the usual rates against measured ones, as if they had been measured for so long."""


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do, in bytes; what is not known yet is 0."""

    log_bytes: int
    page_bytes: int
    dirty_bytes: int = 0
    """Of the pages that analysis found to be out of date."""
    redo_bytes: int = 0
    """Of the log that analysis found redo has to go through."""
    undo_changes: int = 0

    def of(self, name: str) -> float:
        """The bytes of a pass."""
        # Before analysis: as much as the log can have touched.
        written = self.dirty_bytes or min(self.page_bytes, self.log_bytes, _USUAL_CACHE)
        sizes = {
            "redo": _REDO_READS * (self.redo_bytes or self.log_bytes) + written,
            "undo": float(self.undo_changes * _CHANGE_BYTES),
            "pages": float(self.page_bytes),
            "trees": float(self.page_bytes),
            "install": float(written + _FINISH_BYTES),
        }
        return sizes.get(name, float(self.log_bytes))


class Estimator:
    """Is told of each progress of one recovery, and says how long the rest takes. For one thread."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._pass = ""
        self._began = 0.0
        self._first_done = 0.0
        self._spent_s = 0.0
        self._usual_s = 0.0
        """How long what was done until now takes at the usual rates."""

    def remaining_s(self, now: float, stage: int, progress: Mapping[str, Any]) -> float | None:
        """Seconds left at the moment `now`; None before there is anything to judge by.

        `stage` counts from 1; `progress` is the kernel's: `stage`, `done`, `total`.
        """
        name = self._name(stage, progress)
        if not name:
            return None
        self._learn(name, progress)
        done, total = self._share(name, progress)
        if name != self._pass:
            self._begin(name, now, done)
        elapsed = now - self._began
        usual = self._seconds(name, done)
        slowness = (self._spent_s + elapsed + _USUAL_COUNTS_S) / (self._usual_s + usual + _USUAL_COUNTS_S)
        fresh = done - self._first_done
        if elapsed >= _OWN_RATE_FROM_S and fresh > 0:
            # Its own rate counts the more, the more of it is done.
            own = elapsed * (total - done) / fresh
            weight = min(1.0, done / total) if total else 1.0
            here = weight * own + (1 - weight) * slowness * self._seconds(name, total - done)
        else:
            here = slowness * self._seconds(name, total - done)
        later = _PASSES[_PASSES.index(name) + 1 :]
        return here + slowness * sum(self._seconds(after, self.work.of(after)) for after in later)

    def _begin(self, name: str, now: float, done: float) -> None:
        if self._pass:
            self._spent_s += now - self._began
            places = slice(_PASSES.index(self._pass), _PASSES.index(name))
            self._usual_s += sum(self._seconds(before, self.work.of(before)) for before in _PASSES[places])
        self._pass, self._began, self._first_done = name, now, 0.0 if done < 1 else done

    def _name(self, stage: int, progress: Mapping[str, Any]) -> str:
        told = str(progress.get("stage") or "")
        found = told if stage >= _FIRST_STAGE and told in _PASSES else _BEFORE.get(stage, "")
        # Never back: a stage that tells nothing is at least where the one before was.
        is_back = self._pass and found and _PASSES.index(found) < _PASSES.index(self._pass)
        return self._pass if is_back else found

    def _learn(self, name: str, progress: Mapping[str, Any]) -> None:
        # Until the log is read only the size of its files is known, which hold older log too.
        told = int(progress.get("total") or 0)
        if name == "log validation" and progress.get("stage") == name and 0 < told < self.work.log_bytes:
            self.work = replace(self.work, log_bytes=told)

    def _share(self, name: str, progress: Mapping[str, Any]) -> tuple[float, float]:
        """Bytes done and in all of a pass: its own figures once it tells them."""
        total = self.work.of(name)
        told_done, told_total = float(progress.get("done") or 0), float(progress.get("total") or 0)
        if not told_total or progress.get("stage") != name:
            return 0.0, total
        if name in ("log validation", "analysis"):
            # Told of whole segments, of which the last one is not full.
            told_total = min(told_total, total) or told_total
        # The syncs and the checkpoint at the end tell nothing.
        telling = total - _FINISH_BYTES if name == "install" else total
        return telling * min(1.0, told_done / told_total), total

    @staticmethod
    def _seconds(name: str, size: float) -> float:
        return max(0.0, size) / USUAL_RATES[name]
