"""The ways out of a database that needs recovery, the one that loses least first, one of them advised.

Only weighs what others have found: the plan or what stood in its way, the fallbacks with their costs,
and the newest backup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import HoldfastError, InconsistentState, RecoveryVerificationFailed, WalCorrupted
from engine.recovery.report import RecoveryPlan
from engine.units import counted, format_moment

if TYPE_CHECKING:
    # At run time it would load the kernel, and this is asked on the interface's thread.
    from engine.recovery.fallbacks import Fallback


class ChoiceKind(StrEnum):
    RECOVER = "recover"
    OPEN_NOW = "open-now"
    READ_ONLY = "read-only"
    LAST_VALID = "last-valid"
    MIRROR = "mirror"
    BACKUP = "backup"
    SALVAGE = "salvage"


@dataclass(frozen=True, slots=True)
class Choice:
    """One way, as it is put to a person."""

    kind: ChoiceKind
    title: str
    does: str
    cost: str
    """What it loses or takes; empty where it is not possible."""
    is_possible: bool
    why_not: str = ""
    is_advised: bool = False
    loses_nothing: bool = False


@dataclass(frozen=True, slots=True)
class BackupOffer:
    """The newest backup, and how far the kept log brings it; times in Unix seconds."""

    taken_at: float
    source: Path | None = None
    """What the kept log can be applied to: a folder of backups, or one of them. None where it joins none."""
    commits: int = 0
    """That the kept log adds."""
    reaches_at: float | None = None
    """The time of the last of them."""
    why_alone: str = ""
    """Why no kept log is applied to it, as a sentence; empty where one is."""

    @property
    def rolls_forward(self) -> bool:
        return self.source is not None


def choices(
    plan: RecoveryPlan | None,
    trouble: HoldfastError | None,
    offers: Sequence[Fallback],
    *,
    backup: BackupOffer | None = None,
    failed: Mapping[ChoiceKind, HoldfastError] | None = None,
) -> tuple[Choice, ...]:
    """Every way, ranked by loss, those that are not possible last; at most one is advised.

    `trouble` is what a plan, a rehearsal or a recovery has ended with, None where nothing stands in the
    way. Without a `backup`, none is offered.
    `failed` has the ways that were tried in vain: they are not offered again unless that can help.
    """
    ways = [_recover(plan, trouble)]
    if trouble is None:
        ways.append(_open_now())
    for offer in offers:
        if offer.kind.value != ChoiceKind.BACKUP:
            ways.append(_of_fallback(offer))
    if backup is not None:
        ways.append(_backup(backup))
    ways = [_unless_failed(_unless_the_same(way, trouble), (failed or {}).get(way.kind)) for way in ways]
    order = list(ChoiceKind)
    ranked = sorted(ways, key=lambda way: (not way.is_possible, order.index(way.kind)))
    loses_some = not any(way.kind is ChoiceKind.MIRROR and way.loses_nothing for way in ranked)
    advised = _advised({way.kind for way in ranked if way.is_possible}, trouble, loses_some)
    return tuple(replace(way, is_advised=True) if way.kind is advised else way for way in ranked)


def root_cause(error: HoldfastError) -> HoldfastError:
    """The first error of the chain that recovery itself has a name for: what really stood in the way."""
    cause = error.__cause__
    while isinstance(cause, HoldfastError) and -83 <= cause.code <= -70:
        error, cause = cause, cause.__cause__
    return error


def _recover(plan: RecoveryPlan | None, trouble: HoldfastError | None) -> Choice:
    is_possible = trouble is None or root_cause(trouble).is_retryable()
    cost = "Nothing that was committed."
    losers = len(plan.losers) if plan is not None else 0
    if losers:
        cost += f" {counted(losers, 'unfinished transaction is', 'unfinished transactions are')} undone."
    if trouble is not None and is_possible:
        cost += f" First, this has to be put right: {root_cause(trouble).message}"
    return Choice(
        ChoiceKind.RECOVER,
        "Recover everything",
        "What was committed is applied again from the log, what was unfinished is undone; all of it beside "
        "the database, checked, and put in place as a whole.",
        cost if is_possible else "",
        is_possible,
        "" if is_possible or trouble is None else root_cause(trouble).message,
        loses_nothing=is_possible,
    )


def _open_now() -> Choice:
    return Choice(
        ChoiceKind.OPEN_NOW,
        "Open now, recover in the background",
        "The database is open once its log was read. Pages are redone when they are first needed, the rest "
        "and the unfinished transactions follow in the background; then all of it is checked.",
        "Nothing that was committed. It cannot be rolled back or cancelled: from the opening on the database "
        "itself is changed, and it is in use before it was checked.",
        is_possible=True,
        loses_nothing=True,
    )


def _of_fallback(offer: Fallback) -> Choice:
    kind = ChoiceKind(offer.kind.value)
    loses_nothing = kind is ChoiceKind.READ_ONLY or (
        kind is ChoiceKind.LAST_VALID and offer.is_possible and not offer.figures.get("reason")
    )
    loses_nothing |= kind is ChoiceKind.MIRROR and offer.figures.get("lost_bytes") == 0
    return Choice(
        kind,
        offer.title,
        offer.does,
        offer.cost if offer.is_possible else "",
        offer.is_possible,
        offer.why_not,
        loses_nothing=loses_nothing,
    )


def _backup(offer: BackupOffer) -> Choice:
    taken = format_moment(offer.taken_at)
    stays = "The database that is here stays as it is."
    if not offer.rolls_forward:
        return Choice(
            ChoiceKind.BACKUP,
            f"Restore the backup of {taken}",
            f"The newest backup is rebuilt in a new directory and checked in full. {stays}",
            f"Everything that was committed after {taken}. {offer.why_alone}".strip(),
            is_possible=True,
        )
    reached = taken if offer.reaches_at is None else format_moment(offer.reaches_at)
    applied = counted(offer.commits, "commit is", "commits are")
    return Choice(
        ChoiceKind.BACKUP,
        f"Restore the backup of {taken} and roll forward",
        f"The newest backup is rebuilt in a new directory, {applied} applied to it from the log that "
        f"is kept, and the result is checked in full. {stays}",
        f"What was committed after {reached}, where the log that can be used ends.",
        is_possible=True,
    )


def _unless_the_same(way: Choice, trouble: HoldfastError | None) -> Choice:
    """What reads the same pages as a recovery is stopped by the same damage to them."""
    root = None if trouble is None else root_cause(trouble)
    reads_the_same = way.kind in (ChoiceKind.LAST_VALID, ChoiceKind.READ_ONLY)
    if not reads_the_same or not isinstance(root, InconsistentState | RecoveryVerificationFailed):
        return way
    why_not = f"It would end in the same way: {root.message}"
    return replace(way, cost="", is_possible=False, why_not=why_not, loses_nothing=False)


def _unless_failed(way: Choice, error: HoldfastError | None) -> Choice:
    if error is None or not way.is_possible or root_cause(error).is_retryable():
        return way
    return replace(
        way,
        cost="",
        is_possible=False,
        why_not=f"It was tried: {root_cause(error).message}",
        loses_nothing=False,
    )


def _advised(possible: set[ChoiceKind], trouble: HoldfastError | None, loses_some: bool) -> ChoiceKind | None:
    """The way that loses least of those that bring back a database that can be worked with.

    `loses_some`: no mirror has all of it.
    """
    order = [ChoiceKind.RECOVER, ChoiceKind.MIRROR, ChoiceKind.BACKUP, ChoiceKind.SALVAGE]
    if trouble is not None and isinstance(root_cause(trouble), WalCorrupted):
        # Damage to the log only: the pages up to it are sound, and newer than any backup.
        order.insert(1 if loses_some else 2, ChoiceKind.LAST_VALID)
    return next((kind for kind in order if kind in possible), None)
