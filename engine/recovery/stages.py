"""The twelve stages of a recovery as declared data, and what each of them does.

A stage takes the `Recovery` in progress (the kernel's) and gives back its metrics. It raises
an error of -70 to -83, or any coded error, which `failures` then turns into one of those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.config import FILE_NAME as CONFIG_FILE
from engine.config import Config
from engine.errors import (
    CacheExhausted,
    Cancelled,
    ConfigInvalid,
    DiskFull,
    HandlesExhausted,
    HoldfastError,
    InsufficientResources,
    IoError,
    OutOfMemory,
    RecoveryConfigurationError,
    RecoveryDependencyError,
    RecoveryImpossible,
    RecoveryPermissionError,
    RecoveryPlanOutdated,
    RecoveryVerificationFailed,
    StoreFailed,
    WalCorrupted,
    from_exception,
)
from engine.recovery import detection, fingerprint, resources
from engine.recovery.fallbacks import FallbackKind, cost_of_cut
from engine.recovery.ground import Ground
from engine.recovery.report import RecoveryReport
from engine.recovery.rollback import Rollback
from engine.recovery.state import MARKER, STATE_FILE, RecoveryState
from engine.types import Problem

if TYPE_CHECKING:
    from engine.bridge import Job, Recovery, Store

Metrics = dict[str, Any]

_SHOWN_PROBLEMS = 5
_OF_THE_GROUND = (IoError, StoreFailed, DiskFull, OutOfMemory, CacheExhausted, HandlesExhausted)
"""Of what a recovery stands on, rather than of what it was just at."""
# The need is an estimate of what is touched at once; the guard is for what runs away.
_GUARDED_SHARE = 3


@dataclass(slots=True)
class RecoveryContext:
    """What the stages of one recovery hand on to each other."""

    path: Path
    facts: Mapping[str, Any]
    config: Config
    """The defaults where the file cannot be used; stage 3 then fails with `config_error`."""
    config_error: ConfigInvalid | None
    state: RecoveryState
    rollback: Rollback
    report: Callable[[], RecoveryReport]
    warn: Callable[[str], None]
    noted: Callable[[], None] = lambda: None
    """Called when one of `results` is there, so that it is seen before its stage has ended."""
    ground: Ground = Ground.OVERLAY
    beside: Path | None = None
    """The folder of a rehearsal."""
    plan_hash: str = ""
    """The plan that is to be carried out, where one was agreed on."""
    fallback: str = ""
    """A kind of `fallbacks` that changes what the stages do: "last-valid"."""
    kernel: Recovery | None = None
    store: Store | None = None
    segments: int = 0
    start_lsn: int = 0
    results: dict[str, Metrics] = field(default_factory=dict)
    """Of analysis, redo, undo and check."""
    failed_indexes: set[str] = field(default_factory=set)
    unaccounted: set[str] = field(default_factory=set)
    """Stages that failed before they could say what is left undone: what builds on them cannot begin."""
    lost: list[Metrics] = field(default_factory=list)
    """What cannot be brought back, each with `what` and `detail`."""
    leftovers: list[Path] = field(default_factory=list)
    guard: resources.Guard | None = None
    is_decided: bool = False
    """What was begun cannot be taken back any more: the next opening puts the rest in place."""

    @property
    def is_undoable(self) -> bool:
        """Whether what the stages do can be taken back."""
        return self.ground is Ground.OVERLAY

    def let_go(self) -> None:
        """Release the lock, and with it whatever is left beside the originals."""
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.abandon()

    def running(self) -> Recovery:
        """The kernel's side, which the second stage has begun."""
        if self.kernel is None:
            raise RecoveryDependencyError(dependency="the recovery lock", issue="it is not held")
        return self.kernel


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it needs, whether recovery can do without it, and its work."""

    name: str
    does: str
    depends_on: tuple[str, ...]
    critical: bool
    changes: bool
    """Whether the database may differ once it has begun."""
    run: Callable[[RecoveryContext, Job], Metrics]
    idle_s: float | None = None
    """The longest time without progress, where it differs from `recovery_stage_timeout`."""


def initialise(context: RecoveryContext, job: Job) -> Metrics:
    """The directory and its files exist and can be read and written."""
    needed = os.R_OK | os.W_OK
    if not os.access(context.path, needed | os.X_OK):
        raise RecoveryPermissionError(path=str(context.path), required_permissions="read and write")
    files = 0
    size = 0
    for path in (entry for entry in context.path.rglob("*") if entry.is_file()):
        if not os.access(path, needed):
            raise RecoveryPermissionError(path=str(path), required_permissions="read and write")
        files += 1
        size += path.stat().st_size
    if not context.facts.get("page_size") and not context.facts.get("unfinished_installation"):
        raise RecoveryImpossible(
            reason="the control file, which says where recovery begins, cannot be read",
            suggested_action="Restore the newest backup into a new directory.",
        )
    return {"files": files, "bytes": size}


def acquire_lock(context: RecoveryContext, job: Job) -> Metrics:
    """The database's lock, held until the last stage; then the state and the marker."""
    before = _last_holder(context.path)
    agreed = context.plan_hash and fingerprint.plan_hash(context.path, context.fallback)
    kernel = bridge.begin_recovery(context.path, context.config, context.ground, context.beside)
    context.kernel = kernel
    context.rollback.locked(_LOCK, "LOCK", context.let_go)
    if agreed != context.plan_hash or (
        agreed and agreed != fingerprint.plan_hash(context.path, context.fallback)
    ):
        raise RecoveryPlanOutdated(path=str(context.path))
    metrics: Metrics = {"pid": os.getpid(), "settled": kernel.settled}
    if before is not None:
        # The operating system took the lock from it: it is gone, or the machine was restarted.
        metrics["taken_over_from"] = before
    if context.ground is not Ground.REHEARSAL:
        _begin_state(context)
    return metrics


def _begin_state(context: RecoveryContext) -> None:
    earlier = detection.persisted_state(context.facts) or {}
    if earlier.get("status") == "running":
        Rollback.of_crashed(context.path, earlier.get("rollback")).roll_back()
    if context.is_undoable and not (context.path / MARKER).exists():
        context.rollback.created(_LOCK, MARKER)
    context.state.begin(context.report())


def _last_holder(directory: Path) -> str | None:
    """Who had the database open and ended without letting it go; None where nobody is noted."""
    try:
        noted = json.loads((directory / "LOCK").read_text("utf-8"))
        return f"process {noted['pid']} on {noted['host']}, since {noted['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return None


def validate_config(context: RecoveryContext, job: Job) -> Metrics:
    """Every setting that recovery uses; a wrong one is named with its fix."""
    error = context.config_error
    if error is not None:
        fields = error.fields
        raise RecoveryConfigurationError(
            setting=fields.get("setting"), issue=fields.get("issue"), fix=fields.get("fix")
        ) from error
    page_size = int(context.facts["page_size"])
    if context.config.cache_size < 64 * page_size:
        raise RecoveryConfigurationError(
            setting="cache_size",
            issue=f"it has room for fewer than 64 pages of {page_size} bytes, the size in this database",
            fix=f"Set it to at least {64 * page_size} bytes.",
        )
    cache_bytes = min(context.config.cache_size, resources.CACHE_AT_MOST)
    return {"page_size": page_size, "cache_bytes": cache_bytes}


def check_resources(context: RecoveryContext, job: Job) -> Metrics:
    """Memory, disk and file handles against what this recovery needs."""
    config = context.config
    found = resources.needs(
        context.path,
        cache_bytes=config.cache_size,
        log_buffer_bytes=config.log_buffer,
        segment_bytes=config.segment_size,
        segments=int(context.facts.get("wal_segments") or 0),
        on_overlay=context.ground is not Ground.IN_PLACE,
    )
    _ensure_met(found)
    context.guard = resources.Guard(context.path, _GUARDED_SHARE * found[0].required)
    return {
        need.resource.replace(" ", "_"): {"required": need.required, "available": need.available}
        for need in found
    }


def _ensure_met(found: Iterable[resources.Need]) -> None:
    unmet = resources.first_unmet(found)
    if unmet is not None:
        raise InsufficientResources(
            resource=unmet.resource, required=unmet.required, available=unmet.available, unit=unmet.unit
        )


def discover_log(context: RecoveryContext, job: Job) -> Metrics:
    """The segments of the log, their order and their gaps."""
    found = context.running().discover_log(job)
    segments = found["segments"]
    if not segments:
        raise WalCorrupted(
            details="there is no log segment",
            suggested_action="Restore the newest backup into a new directory.",
        )
    for gap in found["gaps"]:
        # Only validation can tell whether recovery needs what is missing.
        context.warn(f"Gap in the log: {gap}")
    context.segments = len(segments)
    context.start_lsn = int(found["redo_lsn"])
    return {
        "segments": len(segments),
        "bytes": found["bytes"],
        "gaps": len(found["gaps"]),
        "checkpoint_lsn": found["checkpoint_lsn"],
        "redo_lsn": found["redo_lsn"],
    }


def validate_log(context: RecoveryContext, job: Job) -> Metrics:
    """The checksum of every entry, and where the valid log ends; there a fallback cuts it."""
    kernel = context.running()
    if context.fallback == FallbackKind.LAST_VALID:
        cut = kernel.cut_log(job)
        if cut["reason"]:
            context.lost.append({"what": "log", "detail": cost_of_cut(cut), **cut})
    found = kernel.validate_log(job)
    return {name: found[name] for name in ("entries", "bytes", "end_lsn", "end_reason")}


def recover_transactions(context: RecoveryContext, job: Job) -> Metrics:
    """Torn pages from the double-write buffer, then analysis, redo and undo."""
    kernel = context.running()
    if context.is_undoable:
        context.rollback.performs(_TRANSACTIONS, "overlay", kernel.revert)
    doublewrite = kernel.restore_doublewrite(job)
    results = context.results
    results["analysis"] = {**kernel.analyse(job)}
    if context.ground is not Ground.IN_PLACE:
        need = resources.overlay_need(
            context.beside or context.path,
            dirty_pages=results["analysis"]["dirty_pages"],
            page_size=int(context.facts["page_size"]),
            segment_bytes=context.config.segment_size,
        )
        _ensure_met([need])
    context.noted()
    results["redo"] = {**kernel.redo(job)}
    context.noted()
    results["undo"] = {**kernel.undo(job)}
    context.noted()
    results["overlay"] = {"bytes": kernel.overlay_bytes}
    return {
        "pages_restored": doublewrite["pages_restored"],
        "records": results["analysis"]["records"],
        "applied": results["redo"]["applied"],
        "pages": results["redo"]["pages"],
        "losers": len(results["analysis"]["losers"]),
        "undone": results["undo"]["records"],
        "overlay_bytes": results["overlay"]["bytes"],
        "bytes": results["analysis"]["bytes"],
    }


def rebuild_indexes(context: RecoveryContext, job: Job) -> Metrics:
    """Secondary indexes that cannot be trusted, each from its table.

    One that cannot be rebuilt is left out by its name, and recovery goes on. Where the room or the disk
    for it fails, nobody knows what is left undone.
    """
    kernel = context.running()
    context.unaccounted.add(_INDEXES)
    damaged = kernel.damaged_indexes()
    failed: HoldfastError | None = None
    for entry in damaged:
        try:
            kernel.rebuild_index(entry["table"], entry["index"], job)
        except HoldfastError as error:
            if job.cancelled or isinstance(error, _OF_THE_GROUND):
                raise
            context.failed_indexes.add(entry["index"])
            failed = error
    context.unaccounted.discard(_INDEXES)
    if failed is not None:
        raise failed
    return {"rebuilt": len(damaged)}


def validate_consistency(context: RecoveryContext, job: Job) -> Metrics:
    """Pages, trees, references between them, and the states of transactions."""
    report = bridge.check_report(context.running().check(job))
    problems = [
        problem
        for problem in report.problems
        # Where the log was cut it has a hole, which the last stage's checkpoint leaves behind.
        if problem.tree not in context.failed_indexes
        and not (context.fallback and problem.code == WalCorrupted.code)
    ]
    if problems:
        shown = "; ".join(_told(problem) for problem in problems[:_SHOWN_PROBLEMS])
        more = len(problems) - _SHOWN_PROBLEMS
        raise RecoveryVerificationFailed(
            check_name="Consistency Validation",
            details=shown + (f"; and {more} more" if more > 0 else ""),
            critical=True,
            problems=len(problems),
            pages=[problem.page for problem in problems if problem.page is not None],
        )
    return {"pages": report.pages, "bytes": report.bytes, "records": report.records, "problems": 0}


def _told(problem: Problem) -> str:
    """What is wrong, and where."""
    where = ([] if problem.page is None else [f"page {problem.page}"]) + [problem.tree or ""]
    place = " of ".join(filter(None, where))
    return f"{place}: {problem.detail}" if place and place not in problem.detail else problem.detail


def clean_up(context: RecoveryContext, job: Job) -> Metrics:
    """Temporary files of interrupted writes are found; they go when all has succeeded."""
    # What an interrupted `files.write_atomically` leaves: a dot, the name, a dot, something random.
    patterns = (f".{STATE_FILE}.*", f".{CONFIG_FILE}.*")
    context.leftovers = sorted({path for pattern in patterns for path in context.path.glob(pattern)})
    return {
        "temporary_files": len(context.leftovers),
        "bytes": sum(path.stat().st_size for path in context.leftovers),
    }


def unlock(context: RecoveryContext, job: Job) -> Metrics:
    """The recovery is still the lock's holder; the lock goes once the last stage has succeeded."""
    context.running()
    return {"released_with": "Finalization"}


def finalise(context: RecoveryContext, job: Job) -> Metrics:
    """A checkpoint, the markers, the report; the open database passes to the caller."""
    kernel = context.running()
    if context.ground is Ground.REHEARSAL:
        return {"bytes_written": kernel.rehearsed(job)["bytes"]}
    try:
        context.store = kernel.finish(job)
    except HoldfastError as error:
        if error.metadata.get("installing"):
            # It is decided, and the next open does the rest: nothing may be taken back any more.
            context.is_decided = True
            context.rollback.settle()
            if isinstance(error, Cancelled):
                raise Cancelled(operation="Recovery", left=_LEFT, suggested_action=_OPEN_NEXT) from error
        raise
    # From here on the store holds the lock, and nothing of the recovery is to be taken back.
    context.kernel = None
    context.rollback.settle()
    try:
        for path in context.leftovers:
            path.unlink(missing_ok=True)
        context.state.clear_marker()
    except (OSError, HoldfastError) as error:
        # The result is in place; a sign that stays only has the next opening look once more.
        context.warn(f"Not everything could be cleared away: {from_exception(error, _FINAL).message}")
    checkpoint = context.store.status()["checkpoint"]
    return {"checkpoint_lsn": checkpoint["lsn"], "pages_written": checkpoint["last_pages"]}


_LEFT = (
    "All is recovered and was being put in place, which cannot be taken back: the next opening puts the "
    "rest in place, and nothing is lost."
)
_OPEN_NEXT = "Open the database when you want it: the rest is put in place first."

_INIT, _LOCK, _CONFIG = "Initialization", "Lock Acquisition", "Config Validation"
_RESOURCES, _DISCOVERY, _VALIDATION = "Resource Check", "WAL Discovery", "WAL Validation"
_TRANSACTIONS, _INDEXES = "Transaction Recovery", "Index Reconstruction"
_CONSISTENCY, _CLEANUP = "Consistency Validation", "Resource Cleanup"
_UNLOCK, _FINAL = "Database Unlock", "Finalization"

STAGES: tuple[Stage, ...] = (
    Stage(_INIT, "The directory and its files exist and can be read", (), True, False, initialise),
    Stage(_LOCK, "No two recoveries at once", (_INIT,), True, False, acquire_lock),
    Stage(_CONFIG, "Every setting that recovery uses", (_INIT,), True, False, validate_config),
    Stage(
        _RESOURCES, "Memory, disk and file handles against the need", (_CONFIG,), True, False, check_resources
    ),
    Stage(_DISCOVERY, "The segments of the log, their order and gaps", (_LOCK,), True, False, discover_log),
    Stage(
        _VALIDATION,
        "The checksum of every entry, and where the valid log ends",
        (_DISCOVERY,),
        True,
        False,
        validate_log,
    ),
    Stage(
        _TRANSACTIONS,
        "Analysis, redo and undo",
        (_VALIDATION, _RESOURCES),
        True,
        True,
        recover_transactions,
    ),
    Stage(
        _INDEXES,
        "Secondary indexes that cannot be trusted are rebuilt",
        (_TRANSACTIONS,),
        False,
        True,
        rebuild_indexes,
    ),
    Stage(
        _CONSISTENCY,
        "Pages, trees, cross references and transaction states agree",
        (_TRANSACTIONS, _INDEXES),
        True,
        True,
        validate_consistency,
    ),
    Stage(_CLEANUP, "Temporary files and buffers", (_TRANSACTIONS,), False, True, clean_up),
    Stage(_UNLOCK, "The recovery lock is ready to go", (_LOCK, _CONSISTENCY), True, True, unlock),
    Stage(_FINAL, "Checkpoint, markers and report", (_UNLOCK,), True, True, finalise),
)
