"""Which of the fourteen recovery errors a failed stage ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import (
    CacheExhausted,
    Cancelled,
    ChecksumMismatch,
    ControlDamaged,
    DatabaseLocked,
    DatabaseOpenElsewhere,
    DiskFull,
    HandlesExhausted,
    HoldfastError,
    InconsistentState,
    InsufficientResources,
    IoError,
    OutOfMemory,
    PageDamaged,
    PageNotFound,
    PartialRecoveryFailure,
    PermissionDenied,
    RecoveryDependencyError,
    RecoveryImpossible,
    RecoveryPermissionError,
    RecoveryPlanOutdated,
    RecoveryTimeout,
    StoreFailed,
)

RECOVERY_CODES = range(-83, -69)


def stage_error(error: HoldfastError, stage: str) -> HoldfastError:
    """`error` where it is of recovery itself (or `Cancelled`), else the one that stands for it."""
    if error.code in RECOVERY_CODES or isinstance(error, Cancelled | RecoveryPlanOutdated):
        return error
    if isinstance(error, StoreFailed) and isinstance(error.__cause__, DiskFull):
        # It takes no more changes for want of room: that is what can be put right.
        error = error.__cause__
    for kinds, build in _TRANSLATIONS:
        if isinstance(error, kinds):
            translated = build(error)
            break
    else:
        translated = RecoveryImpossible(
            reason=f"{stage} failed: {error.message}", suggested_action=error.suggested_action
        )
    translated.__cause__ = error
    return translated


def timed_out(stage: str, limit_s: float, progress: str, cause: HoldfastError) -> RecoveryTimeout:
    """A stage that passed a time limit and was stopped for it."""
    error = RecoveryTimeout(stage=stage, timeout_seconds=limit_s, progress=progress)
    error.__cause__ = cause
    return error


def partial(
    error: HoldfastError, stage: str, completed: Sequence[str], *, rollback_available: bool
) -> PartialRecoveryFailure:
    """A failure after the recovery had begun to change something.

    `rollback_available`: what it changed can be, and is, put back. Without, the database is no
    worse than before all the same: every step can be repeated, and the next recovery does.
    """
    failure = PartialRecoveryFailure(
        completed_stages=list(completed),
        failed_stage=stage,
        cause=f"{error.title} ({error.name}, {error.code})",
        rollback_available=rollback_available,
    )
    failure.__cause__ = error
    return failure


def _locked(error: HoldfastError) -> HoldfastError:
    fields = error.fields
    holder = fields.get("holder")
    if not holder and fields.get("pid"):
        holder = f"process {fields['pid']}"
    return DatabaseLocked(
        lock_holder=holder, suggested_action="Close the program that has it open, then recover."
    )


def _resources(error: HoldfastError) -> HoldfastError:
    names: dict[type[HoldfastError], str] = {
        DiskFull: "disk space",
        OutOfMemory: "memory",
        CacheExhausted: "cache memory",
        HandlesExhausted: "file handles",
    }
    fields = error.fields
    return InsufficientResources(
        resource=names[type(error)], required=fields.get("required"), available=fields.get("available")
    )


def _permission(error: HoldfastError) -> HoldfastError:
    return RecoveryPermissionError(
        path=error.fields.get("path"), required_permissions=error.fields.get("operation") or "read and write"
    )


def _inconsistent(error: HoldfastError) -> HoldfastError:
    return InconsistentState(
        description=error.message,
        diagnostics=f"{error.name} ({error.code})",
        recovery_suggestions=["Restore the newest backup into a new directory.", error.suggested_action],
    )


def _storage(error: HoldfastError) -> HoldfastError:
    return RecoveryDependencyError(dependency="the storage of the database", issue=error.message)


def _control(error: HoldfastError) -> HoldfastError:
    return RecoveryImpossible(reason=error.message, suggested_action=error.suggested_action)


Translation = tuple[tuple[type[HoldfastError], ...], Callable[[HoldfastError], HoldfastError]]

_TRANSLATIONS: tuple[Translation, ...] = (
    ((DatabaseOpenElsewhere,), _locked),
    ((DiskFull, OutOfMemory, CacheExhausted, HandlesExhausted), _resources),
    ((PermissionDenied,), _permission),
    ((PageDamaged, PageNotFound, ChecksumMismatch), _inconsistent),
    ((IoError, StoreFailed), _storage),
    ((ControlDamaged,), _control),
)
