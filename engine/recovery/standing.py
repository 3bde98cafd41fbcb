"""How far the recovery of a database has come that is in use already, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.types import RecoveryStanding
from engine.units import counted

_AFTERWARDS = "consistency is checked afterwards"


def standing_words(standing: RecoveryStanding) -> str:
    """All of it in one line: pages, unfinished transactions, segments of the log, the check."""
    parts = [_pages(standing)]
    if standing.losers:
        parts.append(_losers(standing))
    if standing.segments:
        parts.append(_segments(standing))
    parts.append(_check(standing))
    return "; ".join(parts)


def share_of_step(standing: RecoveryStanding) -> float | None:
    """How far the step is that goes on now, 0 to 1; None where that is not known."""
    done, total = {
        "redo": (standing.pages - standing.pages_left, standing.pages),
        "undo": (standing.losers - standing.losers_left, standing.losers),
        "log": (standing.check_done, standing.check_total),
        "check": (standing.check_done, standing.check_total),
        "done": (1, 1),
    }.get(standing.stage, (0, 0))
    return min(1.0, done / total) if total else None


def standing_json(standing: RecoveryStanding) -> dict[str, Any]:
    """What `info --json` shows, and `recovery.state` keeps."""
    return {
        "stage": standing.stage,
        "pages": standing.pages,
        "pages_left": standing.pages_left,
        "losers": standing.losers,
        "losers_left": standing.losers_left,
        "segments": standing.segments,
        "segments_validated": standing.segments_validated,
        "check_done": standing.check_done,
        "check_total": standing.check_total,
        "problems": standing.problems,
        "damaged_pages": len(standing.damaged),
        "words": standing_words(standing),
    }


def noted_standing(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What `recovery.state` tells of a recovery behind an opening; None where it tells nothing of one."""
    noted = (state or {}).get("standing")
    if not isinstance(noted, dict) or not isinstance(noted.get("words"), str):
        return None
    return {**noted, "at": (state or {}).get("at")}


def _pages(standing: RecoveryStanding) -> str:
    done = standing.pages - standing.pages_left
    if standing.stage == "stuck":
        damaged = len(standing.damaged)
        cannot = counted(damaged, "page cannot", "pages cannot")
        return f"{done:,} of {counted(standing.pages, 'page')} recovered, {cannot} be redone"
    if standing.pages_left:
        return f"{done:,} of {counted(standing.pages, 'page')} recovered"
    if not standing.pages:
        return "no page had to be recovered"
    return f"{_all(standing.pages, 'page')} recovered"


def _losers(standing: RecoveryStanding) -> str:
    undone = standing.losers - standing.losers_left
    if standing.losers_left:
        return f"{undone:,} of {counted(standing.losers, 'unfinished transaction')} rolled back"
    return f"{_all(standing.losers, 'unfinished transaction')} rolled back"


def _segments(standing: RecoveryStanding) -> str:
    if standing.segments_validated < standing.segments:
        done, count = standing.segments_validated, counted(standing.segments, "segment")
        return f"{done:,} of {count} of the log validated"
    return f"{_all(standing.segments, 'segment')} of the log validated"


def _check(standing: RecoveryStanding) -> str:
    if standing.problems is not None:
        if not standing.problems:
            return "consistency checked, nothing is wrong"
        return f"consistency checked, {counted(standing.problems, 'problem')} found"
    if standing.stage != "check":
        return _AFTERWARDS
    if not standing.check_total:
        return "consistency is being checked"
    done = min(standing.check_done, standing.check_total)
    return f"consistency is being checked, {done / standing.check_total:.0%} of the {standing.checking}"


def _all(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"all {count:,} {noun}s"
