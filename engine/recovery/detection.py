"""The signs that a database was not closed and needs recovery, each by its name.

Detection only reads: it takes no lock and opens nothing, so it may be asked of a database
that another program has open. It works on what `bridge.inspect` reports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from engine.recovery.standing import noted_standing
from engine.recovery.state import BEHIND
from engine.types import DatabaseState, Indicator

Facts = Mapping[str, Any]


def indicators(facts: Facts) -> tuple[Indicator, ...]:
    """Every sign found, in the order in which they are shown; empty for a cleanly closed database.

    `facts` are those of `bridge.inspect`. A database that is open elsewhere shows the same
    signs as one that crashed: ask `state` first.
    """
    found = (sign(facts) for sign in _SIGNS)
    return tuple(indicator for indicator in found if indicator is not None)


def state(facts: Facts) -> DatabaseState:
    """What can be said of the database without opening it."""
    if holder_is_alive(facts):
        return DatabaseState.OPEN_ELSEWHERE
    if not facts.get("page_size") and not facts.get("unfinished_installation"):
        # Without a readable control file not even the size of a page is known.
        return DatabaseState.DAMAGED
    return DatabaseState.NEEDS_RECOVERY if indicators(facts) else DatabaseState.CLEAN


def holder_is_alive(facts: Facts) -> bool:
    """True where the operating system says that some process has the database open."""
    holder = facts.get("holder")
    return bool(holder and holder.get("alive"))


def holder_text(facts: Facts) -> str | None:
    """Who has the database open, in words; None where nobody has."""
    holder = facts.get("holder")
    if not holder or not holder.get("alive"):
        return None
    return f"process {holder.get('pid')} on {holder.get('host')}"


def opener_text(facts: Facts) -> str | None:
    """As `holder_text`, and whether the recovery that it began is still going on behind the opening."""
    text = holder_text(facts)
    return f"{text}, which recovers it in the background" if _is_behind(facts) else text


def background_recovery(facts: Facts) -> dict[str, Any] | None:
    """How far the recovery had come that goes on behind an opening, as its holder has noted it last."""
    return noted_standing(persisted_state(facts)) if _is_behind(facts) else None


def _is_behind(facts: Facts) -> bool:
    """True where the program that has the database open recovers it at the same time."""
    noted = persisted_state(facts)
    if not holder_is_alive(facts) or not noted or noted.get("status") != BEHIND:
        return False
    return bool(noted.get("pid") == facts["holder"].get("pid"))


def recovery_under_way(facts: Facts) -> str | None:
    """Who recovers the database at this moment, and how far it is, in words; None where nobody does.

    A rehearsal leaves no note of itself: to others it is a program that has the database open.
    """
    holder, earlier = facts.get("holder"), persisted_state(facts)
    if not holder or not holder.get("alive") or not earlier or earlier.get("status") != "running":
        return None
    if earlier.get("pid") != holder.get("pid"):
        # Of a recovery that crashed, before the one that has it open now.
        return None
    stage = earlier.get("stage")
    return f"{holder_text(facts)}" + (f", in the stage {stage}" if stage else "")


def persisted_state(facts: Facts) -> dict[str, Any] | None:
    """The `recovery.state` of an earlier recovery; an empty one where it cannot be read."""
    text = facts.get("recovery_state")
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _recovery_marker(facts: Facts) -> Indicator | None:
    if not facts.get("recovery_needed"):
        return None
    return Indicator(
        "recovery_marker",
        "Recovery was asked for",
        "The marker .recovery_needed is in the database: a recovery was begun or requested and has "
        "not been completed.",
    )


def _unclean_shutdown(facts: Facts) -> Indicator | None:
    if facts.get("clean_shutdown"):
        return None
    return Indicator(
        "unclean_shutdown",
        "Not closed properly",
        "The marker .clean_shutdown is missing: the program that used the database ended without "
        "closing it, or the power failed.",
    )


def _doublewrite(facts: Facts) -> Indicator | None:
    pages = int(facts.get("doublewrite_pages") or 0)
    # After a clean shutdown the copies are of pages that are known to be on the medium.
    if not pages or facts.get("clean_shutdown"):
        return None
    noun = "page was" if pages == 1 else "pages were"
    return Indicator(
        "doublewrite",
        "Pages were being written",
        f"{pages} {noun} on the way to the data file. Complete copies are in the double-write "
        "buffer and replace any page that was torn.",
    )


def _stale_recovery_lock(facts: Facts) -> Indicator | None:
    earlier = persisted_state(facts)
    if earlier is None or holder_is_alive(facts):
        return None
    if earlier and earlier.get("status") != "running":
        return None
    stage = earlier.get("stage")
    where = f" in the stage {stage}" if stage else ""
    return Indicator(
        "stale_recovery_lock",
        "An earlier recovery did not finish",
        f"A recovery was interrupted{where}. What it had done is taken back, then recovery runs again "
        "from the start.",
    )


def _unfinished_installation(facts: Facts) -> Indicator | None:
    if not facts.get("unfinished_installation"):
        return None
    return Indicator(
        "unfinished_installation",
        "A recovery was being put in place",
        "A recovery had succeeded and its result was replacing the originals when it was interrupted. "
        "The rest is done first; it loses nothing.",
    )


def _unfinished_log(facts: Facts) -> Indicator | None:
    if facts.get("clean_shutdown"):
        return None
    checkpoint = int(facts.get("checkpoint_lsn") or 0)
    last = int(facts.get("last_lsn") or 0)
    if last <= checkpoint:
        return None
    reach = "beyond" if facts.get("log_goes_on") else "to"
    return Indicator(
        "unfinished_log",
        "The log goes on after the last checkpoint",
        f"The last checkpoint is at LSN {checkpoint:,}, the log reaches {reach} LSN {last:,}. Committed "
        "changes in between are applied again, those of unfinished transactions are undone.",
    )


_SIGNS: tuple[Callable[[Facts], Indicator | None], ...] = (
    _unfinished_installation,
    _recovery_marker,
    _unclean_shutdown,
    _doublewrite,
    _stale_recovery_lock,
    _unfinished_log,
)
