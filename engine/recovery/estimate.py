"""How long a recovery still takes: from the bytes that are left and the rates measured so far.

Each pass over the log and the pages has so many bytes to go through, most of them known before the
first one begins. A pass that runs is judged by its own rate; one that has not begun, by a usual rate
(where this database was recovered before, by the rate of then) times how much faster or slower than
usual this machine was in the passes before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

MB = 1_000_000

USUAL_RATES: Mapping[str, float] = {
    "log validation": 800 * MB,
    "redo": 920 * MB,
    "undo": 11 * MB,
    "trees": 600 * MB,
    "checkpoint": 670 * MB,
    "install": 600 * MB,
}
"""Bytes a second of each pass, in the order in which they run, as measured on an ordinary machine."""

_PASSES = tuple(USUAL_RATES)
_BEFORE = {
    6: "log validation",
    7: "redo",
    8: "trees",
    9: "trees",
    10: "checkpoint",
    11: "checkpoint",
    12: "checkpoint",
}
"""Which pass a stage (1 to 12) is at or before, while it has not told one."""

_FIRST_STAGE = 6

_PAGE_WEIGHT = 7
"""To redo a page takes as long as to go through so many times its bytes of log."""
_INSTALL_STEPS = 3
"""A page is synced beside the originals, copied, and synced in its place."""
_SEGMENT_BYTES = 128 << 20
"""The new segment of the log is written out in full, and synced."""
_FINISH_BYTES = 100 * MB
"""What comes after an installation, the opening of the database, as bytes to be installed."""
_USUAL_CACHE = 64 << 20
"""As much as a cache usually holds was changed and not yet written."""
_CACHE = 40 << 20
"""The most that waits in the cache of a recovery to be written."""
_CHANGE_BYTES = 40
"""A change to be undone counts as so many bytes."""
_OWN_RATE_FROM_S = 0.6
"""A pass that has run for less than this says too little about itself."""
_USUAL_COUNTS_S = 0.3
"""The weight of the usual rates against measured ones, as if they had been measured for so long."""
_USUALLY_BEFORE_S = 0.15
"""What the stages take that come before the log is read."""
_REMEMBERED = 10
"""Recoveries before this one that count."""
_TELLING_SHARE = 0.03
"""So much of the log has to have been read before it tells how unfinished work grows."""
_WAITS = ("double-write",)
"""What the kernel tells of while it mostly waits for the medium, between two passes."""
_MOST_SLOWNESS = 10.0
"""A pass that took longer than so many times the usual says something about that day only."""


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
            "redo": (self.redo_bytes or self.log_bytes) + _PAGE_WEIGHT * written,
            "undo": self.undo_changes * _CHANGE_BYTES,
            "trees": self.page_bytes,
            "checkpoint": min(written, _CACHE),
            "install": _INSTALL_STEPS * written + _SEGMENT_BYTES + _FINISH_BYTES,
        }
        return float(sizes.get(name, self.log_bytes))


def learned(reports: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """How much slower than usual (2.0: takes twice as long) each pass was in recoveries before.

    `reports` have the shape of `RecoveryReport.to_json`, the newest first. Passes of which they say
    nothing are missing.
    """
    took: dict[str, tuple[float, float]] = {}
    for report in [report for report in reports if report.get("recovered")][:_REMEMBERED]:
        for name, size, seconds in _passes_of(report):
            spent, usual = took.get(name, (0.0, 0.0))
            took[name] = spent + seconds, usual + size / USUAL_RATES[name]
    most = _MOST_SLOWNESS
    return {
        name: min(most, max(1 / most, (spent + _USUAL_COUNTS_S) / (usual + _USUAL_COUNTS_S)))
        for name, (spent, usual) in took.items()
    }


def _passes_of(report: Mapping[str, Any]) -> Iterable[tuple[str, float, float]]:
    """The passes of one recovery: name, bytes, seconds. One that cannot be understood has none."""
    try:
        stages = {str(stage["name"]): stage for stage in report["stages"]}
        validated = stages["WAL Validation"]
        found = [("log validation", float(validated["metrics"]["bytes"]), float(validated["seconds"]))]
        if report.get("on_demand"):
            # The rest was done while others used the database.
            return found
        redo, undo, checked = report["redo"], report["undo"], stages["Consistency Validation"]
        page_size = int(stages["Config Validation"]["metrics"]["page_size"])
        done = Work(
            log_bytes=0,
            page_bytes=int(checked["metrics"]["bytes"]),
            dirty_bytes=int(redo["pages"]) * page_size,
            redo_bytes=int(redo["bytes"]),
            undo_changes=int(undo["records"]),
        )
        found += [
            ("redo", done.of("redo"), float(redo["seconds"])),
            ("undo", done.of("undo"), float(undo["seconds"])),
            ("trees", done.of("trees"), float(checked["seconds"])),
        ]
        last = float(stages["Finalization"]["seconds"])
        parts = {name: done.of(name) for name in ("checkpoint", "install")}
        usual = sum(size / USUAL_RATES[name] for name, size in parts.items())
        found += [(name, size, last * size / USUAL_RATES[name] / usual) for name, size in parts.items()]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return found


class Estimator:
    """Is told of each progress of one recovery, and says how long the rest takes. For one thread."""

    def __init__(
        self, work: Work, slowness: Mapping[str, float] | None = None, *, began_at: float = 0.0
    ) -> None:
        """`slowness` is what recoveries before have `learned`; `began_at` on the clock of `remaining_s`."""
        self.work = work
        self._began_at = began_at
        self.slowness = dict(slowness or {})
        self._pass = ""
        self._began = 0.0
        self._first_done = 0.0
        self._done = 0.0
        self._spent_s = 0.0
        self._unfinished = 0
        self._grown_from = (0.0, 0)
        """Bytes of log and unfinished changes, where such work last ended."""
        self._heard_at: float | None = None
        self._waited_s = 0.0
        self._usual_s = 0.0
        """How long what was done until now takes at the usual rates."""

    def remaining_s(self, now: float, stage: int, progress: Mapping[str, Any]) -> float | None:
        """Seconds left at the moment `now`; None before there is anything to judge by.

        `stage` counts from 1; `progress` is the kernel's: `stage`, `done`, `total`, `unfinished`.
        """
        name = self._name(stage, progress)
        now = self._without_waits(now, str(progress.get("stage") or ""))
        if not name:
            return None
        self._learn(name, progress)
        is_new = name != self._pass
        done, total = self._share(name, progress, is_new)
        if is_new:
            self._begin(name, now, done)
        self._done = done
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

    def _without_waits(self, now: float, told: str) -> float:
        """The clock without waits for the medium between passes, which tell of the speed of none."""
        if told in _WAITS and self._heard_at is not None:
            self._waited_s += now - self._heard_at
        self._heard_at = now
        return now - self._waited_s

    def _begin(self, name: str, now: float, done: float) -> None:
        if not self._pass:
            self._spent_s, self._usual_s = max(0.0, now - self._began_at), _USUALLY_BEFORE_S
        else:
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
        if name == "log validation" and progress.get("stage") == name and "unfinished" in progress:
            self._foresee_undo(progress)

    def _foresee_undo(self, progress: Mapping[str, Any]) -> None:
        """Before analysis: what has not ended so far goes on as it has since something ended last."""
        changes = int(progress["unfinished"])
        done, total = float(progress.get("done") or 0), float(progress.get("total") or 0)
        if changes < self._unfinished:
            self._grown_from = done, changes
        self._unfinished = changes
        since, first = self._grown_from
        more = 0.0
        if done - since > _TELLING_SHARE * total:
            more = (changes - first) / (done - since) * max(0.0, total - done)
        self.work = replace(self.work, undo_changes=changes + round(more))

    def _share(self, name: str, progress: Mapping[str, Any], is_new: bool) -> tuple[float, float]:
        """Bytes done and in all of a pass: its own figures once it tells them."""
        total = self.work.of(name)
        told_done, told_total = float(progress.get("done") or 0), float(progress.get("total") or 0)
        if not told_total or progress.get("stage") != name:
            # What it is at tells nothing of the pass: it stands where it stood.
            return 0.0 if is_new else min(self._done, total), total
        if name == "log validation":
            # Told of whole segments, of which the last one is not full.
            told_total = min(told_total, total) or told_total
        if name == "install":
            total = told_total + _FINISH_BYTES
        # What comes after an installation, which opens the database, tells nothing.
        telling = total - _FINISH_BYTES if name == "install" else total
        return telling * min(1.0, told_done / told_total), total

    def _seconds(self, name: str, size: float) -> float:
        return max(0.0, size) / USUAL_RATES[name] * self.slowness.get(name, 1.0)
