"""The columns of the lists of transactions and locks."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from engine.types import Isolation, LockInfo, TransactionInfo
from gui.models.records import Field
from gui.theme import IconName, Tone
from gui.widgets import formats

LONG_S = 60.0
"""A transaction older than this keeps log and old versions that others would let go."""


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("activity", text)


def transaction_fields() -> tuple[Field, ...]:
    """What is shown of a `TransactionInfo`."""
    return (
        Field(tr("Transaction"), lambda t: f"T{t.id}", tone=_tone, icon_name=_icon),
        Field(tr("State"), _state, tone=_tone),
        Field(tr("Age"), lambda t: formats.duration(t.age_s), True),
        Field(tr("Changes"), lambda t: formats.count(t.changes), True),
        Field(tr("To undo"), lambda t: formats.size(t.undo_bytes), True),
        Field(tr("Locks"), lambda t: formats.count(t.locks), True),
        Field(tr("Isolation"), lambda t: isolation_text(t.isolation)),
    )


def isolation_text(isolation: Isolation) -> str:
    """The level as it is written in books."""
    return {
        Isolation.READ_COMMITTED: tr("read committed"),
        Isolation.REPEATABLE_READ: tr("repeatable read"),
        Isolation.SERIALIZABLE: tr("serializable"),
    }[isolation]


def _state(info: TransactionInfo) -> str:
    if info.waiting_for is not None:
        return tr("waits for T{holder}").format(holder=info.waiting_for)
    return tr("being ended") if info.status == "doomed" else info.status


def _tone(info: TransactionInfo) -> Tone | None:
    if info.status == "doomed":
        return Tone.BAD
    return Tone.WARN if info.waiting_for is not None or info.age_s > LONG_S else None


def _icon(info: TransactionInfo) -> IconName:
    return "clock" if info.waiting_for is not None else "activity"


def lock_fields() -> tuple[Field, ...]:
    """What is shown of a `LockInfo`."""
    return (
        Field(tr("Resource"), lambda lock: lock.resource, icon_name=lambda _: "lock", tone=_lock_tone),
        Field(tr("Mode"), lambda lock: lock.mode.replace("_", " ")),
        Field(tr("Held by"), lambda lock: _names(lock.holders)),
        Field(tr("Waiting"), _waiting, tone=_lock_tone, tip=_waiting_tip),
        Field(tr("Longest wait"), _longest, True),
    )


def _names(transactions: tuple[int, ...]) -> str:
    shown = ", ".join(f"T{txn}" for txn in transactions[:6])
    more = len(transactions) - 6
    return tr("{shown} and {n} more").format(shown=shown, n=more) if more > 0 else shown


def _waiting(lock: LockInfo) -> str:
    return _names(tuple(waiter.txn for waiter in lock.waiters))


def _waiting_tip(lock: LockInfo) -> str:
    lines = [
        f"T{w.txn} · {w.mode.replace('_', ' ')} · {formats.duration(w.since_s)}" for w in lock.waiters[:20]
    ]
    return "\n".join(lines) or tr("nobody waits")


def _longest(lock: LockInfo) -> str:
    return formats.duration(max(w.since_s for w in lock.waiters)) if lock.waiters else ""


def _lock_tone(lock: LockInfo) -> Tone | None:
    return Tone.WARN if lock.waiters else None


def transaction_order(info: TransactionInfo) -> tuple[bool, float]:
    """Those who wait first, then the oldest."""
    return (info.waiting_for is None, -info.age_s)


def lock_order(lock: LockInfo) -> tuple[int, str]:
    """Those most waited for first."""
    return (-len(lock.waiters), lock.resource)
