"""Every coded error of Holdfast, one class for each entry of `resources/errors.toml`.

No text of an error holds stored keys or values: it may be logged, shown and mailed.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from engine.catalogue import Entry
from engine.coded_error import HoldfastError as HoldfastError
from engine.coded_error import KeyRange as KeyRange
from engine.types import Indicator
from engine.units import format_size


class InternalError(HoldfastError):
    code = -1


class InvalidArgument(HoldfastError):
    code = -2


class NotSupported(HoldfastError):
    code = -3


class IoError(HoldfastError):
    code = -10


class DiskFull(HoldfastError):
    code = -11


class StoreFailed(HoldfastError):
    code = -12


class StoreClosed(HoldfastError):
    code = -13


class DatabaseNotFound(HoldfastError):
    code = -14


class DatabaseExists(HoldfastError):
    code = -15


class DatabaseOpenElsewhere(HoldfastError):
    code = -16


class ReadOnlyDatabase(HoldfastError):
    code = -17


class FormatUnsupported(HoldfastError):
    code = -18


class NotADatabase(HoldfastError):
    code = -19


class PageNotFound(HoldfastError):
    code = -20


class ChecksumMismatch(HoldfastError):
    code = -21


class PageDamaged(HoldfastError):
    code = -22


class CacheExhausted(HoldfastError):
    code = -23


class ForkedHandle(HoldfastError):
    code = -24


class PermissionDenied(HoldfastError):
    code = -25


class ControlDamaged(HoldfastError):
    code = -26


class OutOfMemory(HoldfastError):
    code = -27


class HandlesExhausted(HoldfastError):
    code = -28


class PagesLeaked(HoldfastError):
    code = -29


class TransactionBusy(HoldfastError):
    code = -30


class TransactionEnded(HoldfastError):
    code = -31


class Deadlock(HoldfastError):
    code = -32


class LockTimeout(HoldfastError):
    code = -33


class WriteConflict(HoldfastError):
    code = -34


class SnapshotTooOld(HoldfastError):
    code = -35


class TransactionAborted(HoldfastError):
    code = -36


class SavepointNotFound(HoldfastError):
    code = -37


class RowChanged(HoldfastError):
    code = -38


class WritesHalted(HoldfastError):
    code = -39


class TreeNotFound(HoldfastError):
    code = -40


class KeyTooLong(HoldfastError):
    code = -42


class ValueTooLong(HoldfastError):
    code = -43


class TableNotFound(HoldfastError):
    code = -50


class TableExists(HoldfastError):
    code = -51


class UniqueViolation(HoldfastError):
    code = -52


class NotNullViolation(HoldfastError):
    code = -53


class ColumnNotFound(HoldfastError):
    code = -54


class TypeMismatch(HoldfastError):
    code = -55


class BadInput(HoldfastError):
    code = -56


class UnsupportedSource(HoldfastError):
    code = -57


class IndexNotFound(HoldfastError):
    code = -58


class SchemaInvalid(HoldfastError):
    code = -59


class RecoveryNeeded(HoldfastError):
    code = -60

    indicators: tuple[Indicator, ...] = ()
    """The signs that were found, where the caller looked for them."""


class Cancelled(HoldfastError):
    code = -61


class BackupDamaged(HoldfastError):
    code = -62


class TargetNotEmpty(HoldfastError):
    code = -63


class ConfigInvalid(HoldfastError):
    code = -64


class KernelMissing(HoldfastError):
    code = -65


class BackupTargetInUse(HoldfastError):
    code = -66


class BackupFolderGone(HoldfastError):
    code = -67


class RecoveryPlanOutdated(HoldfastError):
    code = -68


class RehearsalFailed(HoldfastError):
    code = -69


class RecoveryImpossible(HoldfastError):
    code = -70


class WalCorrupted(HoldfastError):
    code = -71


class InsufficientResources(HoldfastError):
    code = -72

    @staticmethod
    def words_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Bytes as sizes; what is short of a disk is its space."""
        words = dict(fields)
        if fields.get("unit") == "bytes":
            for name in ("required", "available"):
                if isinstance(fields.get(name), int | float):
                    words[name] = format_size(fields[name])
        if fields.get("resource") == "disk":
            words["resource"] = "disk space"
        return words


class DatabaseLocked(HoldfastError):
    code = -73


class PartialRecoveryFailure(HoldfastError):
    code = -74

    def is_critical_recovery_failure(self) -> bool:
        """Without a way back a person has to act, and where that would end in the same way again."""
        return not self.fields.get("rollback_available", False) or not self.is_retryable()

    def is_retryable(self) -> bool:
        """As what has stopped it."""
        return self.advice.retryable

    @property
    def advice(self) -> Entry:
        """Where another attempt would end in the same way, what helps is what helps against its cause."""
        cause = self._lasting_cause()
        return self.entry if cause is None else cause.advice

    @property
    def suggested_action(self) -> str:
        """That of its cause, where its own would end in the same way."""
        cause = self._lasting_cause()
        return super().suggested_action if cause is None else cause.suggested_action

    def _lasting_cause(self) -> HoldfastError | None:
        """Its cause, where that would stop another attempt too."""
        cause = self.__cause__
        return cause if isinstance(cause, HoldfastError) and not cause.is_retryable() else None


class InconsistentState(HoldfastError):
    code = -75


class RecoveryConfigurationError(HoldfastError):
    code = -76


class RecoveryPermissionError(HoldfastError):
    code = -77


class RecoveryDependencyError(HoldfastError):
    code = -78


class RecoveryTimeout(HoldfastError):
    code = -79


class RecoveryProgress(HoldfastError):
    code = -80


class RecoveryRollbackFailed(HoldfastError):
    code = -81

    def is_critical_recovery_failure(self) -> bool:
        """As far as the failed rollback itself says so; unknown counts as yes."""
        return bool(self.fields.get("manual_intervention_needed", True))


class RecoveryStageDependencyFailed(HoldfastError):
    code = -82


class RecoveryVerificationFailed(HoldfastError):
    code = -83

    def is_critical_recovery_failure(self) -> bool:
        """As far as the failed check itself says so; unknown counts as yes."""
        return bool(self.fields.get("critical", True))


class IncrementRefused(HoldfastError):
    code = -90


class PointNotReached(HoldfastError):
    code = -91


class BackupNotFound(HoldfastError):
    code = -99


class BackupIncomplete(HoldfastError):
    code = -92


class BackupLocked(HoldfastError):
    code = -93


class SnapshotNotFound(HoldfastError):
    code = -96


class SnapshotDamaged(HoldfastError):
    code = -97


class SnapshotGivenUp(HoldfastError):
    code = -98


class MirrorDiverged(HoldfastError):
    code = -110


class MirrorIncomplete(HoldfastError):
    code = -111


class DatabaseIsMirror(HoldfastError):
    code = -112


class DatabaseSuperseded(HoldfastError):
    code = -113


class MirrorNotReached(HoldfastError):
    """A commit is durable here; the mirror that it should wait for did not confirm it."""

    code = -114


def by_code() -> dict[int, type[HoldfastError]]:
    """Every error class by its code."""
    return {kind.code: kind for kind in HoldfastError.__subclasses__()}


def from_kernel(
    code: int,
    fields: Mapping[str, Any],
    cause: BaseException | None = None,
    keys: tuple[bytes | None, bytes | None] | None = None,
) -> HoldfastError:
    """The exception for an error of the kernel; it is raised by the caller. `keys`: its `key_range`."""
    kind = by_code().get(code)
    if kind is None:
        detail = f"the kernel reported the unknown code {code}"
        error: HoldfastError = InternalError(**{**fields, "detail": detail})
    else:
        error = kind(**fields)
    error.__cause__ = cause
    if keys is not None:
        error.key_range = KeyRange(*keys)
    return error


def from_exception(error: BaseException, operation: str = "") -> HoldfastError:
    """Any exception as a coded one: what is coded stays as it is, the rest gets its place.

    The text of a foreign exception is not taken over, for it may hold stored data.
    """
    if isinstance(error, HoldfastError):
        return error
    coded = _coded(error, operation)
    coded.__cause__ = error
    return coded


def _coded(error: BaseException, operation: str) -> HoldfastError:
    if isinstance(error, MemoryError):
        return OutOfMemory(operation=operation)
    if isinstance(error, KeyboardInterrupt):
        return Cancelled(operation=operation)
    if isinstance(error, OSError):
        return _os_error(error, operation or "use")
    where = f" while trying to {operation}" if operation else ""
    return InternalError(detail=f"{type(error).__name__}{where}")


def _os_error(error: OSError, operation: str) -> HoldfastError:
    fields = {"operation": operation, "path": str(error.filename or ""), "os_error": error.strerror or ""}
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return DiskFull(**fields)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(**fields)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return HandlesExhausted(**fields)
    if error.errno == errno.ENOMEM:
        return OutOfMemory(**fields)
    return IoError(**fields)
