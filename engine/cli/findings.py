"""The verb findings, and how findings are told by the verbs that make them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engine.cli.opening import add_verb, open_for_reading
from engine.cli.output import FINE, PROBLEMS, Output, columns
from engine.errors import HoldfastError
from engine.integrity.extent import Extent, extent_at_once, extent_task
from engine.integrity.findings import Finding
from engine.opening import open_database

if TYPE_CHECKING:
    from engine.database import Database
    from engine.integrity.plan import RepairPlan

_MOST_EXTENTS = 20
"""Trees that are walked to tell the key ranges, each from both ends; findings looked into without a walk."""


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verb of this group."""
    parser = add_verb(verbs, "findings", findings, "List what checks found and nobody has closed")
    parser.add_argument("--closed", action="store_true", help="list those that are closed instead")
    parser.add_argument("--close", type=int, metavar="ID", help="close this finding by hand")
    parser.add_argument("--export-losses", metavar="FILE", help="write the loss ledger as JSON to FILE")


def findings(args: argparse.Namespace, out: Output) -> int:
    """`findings PATH [--closed] [--close ID] [--export-losses FILE]`"""
    if args.close is not None:
        with open_database(args.path, create=False) as database:
            closed = database.integrity.dismiss(args.close, "closed by hand")
        out.result({"closed": asdict(closed)}, [f"Finding {closed.id} ({closed.where}) is closed."])
        return FINE
    with open_for_reading(args.path, out) as database:
        integrity = database.integrity
        found, check = integrity.findings(closed=args.closed), integrity.last_check
        listed = [_told_at_once(database, finding) for finding in found[:_MOST_EXTENTS]]
        listed += [_told(finding, None) for finding in found[_MOST_EXTENTS:]]
        exported = str(integrity.export_losses(args.export_losses)) if args.export_losses else None
        note, losses = integrity.note, integrity.losses
    value = {
        "findings": listed,
        "last_check": None if check is None else asdict(check),
        "losses": [asdict(loss) for loss in losses],
        "exported": exported,
        "note": note,
    }
    told = findings_lines(listed) or ["No finding is open." if not args.closed else "None."]
    when = "never" if check is None else f"{datetime.fromtimestamp(check.at).astimezone():%Y-%m-%d %H:%M:%S}"
    more = [f"Last check: {when}.", *([note] if note else [])]
    out.result(value, [*told, *more, *([f"The loss ledger is in {exported}."] if exported else [])])
    return PROBLEMS if found and not args.closed else FINE


def told_findings(database: Database, plan: RepairPlan, out: Output) -> list[dict[str, Any]]:
    """The open findings as JSON, with the rows and the key range that each keeps from being read.

    Trees with a page that could be repaired are not walked: reading it would repair it, and the
    verbs that tell findings change nothing.
    """
    findings = database.integrity.findings()
    curable = {finding.tree for finding in findings if plan.cures(finding)}
    extents: dict[str, Any] = {}
    told = []
    for finding in findings:
        name = finding.tree
        if name is not None and name not in extents and name not in curable and len(extents) < _MOST_EXTENTS:
            try:
                extents[name] = out.follow(extent_task(database, finding))
            except HoldfastError as error:
                # A finding is told all the same where its tree cannot be walked.
                out.note(f"How far the damage of {finding.where} goes cannot be told: {error.message}")
                extents[name] = None
        extent = extents.get(name or "")
        told.append(_told(finding, extent))
    return told


def _told(finding: Finding, extent: Extent | None) -> dict[str, Any]:
    if extent is None:
        return {**asdict(finding), "key_range": None}
    is_estimate = extent.estimate is not None
    about = {"rows": extent.unreadable, "is_estimate": is_estimate, "key_range": extent.range_words}
    return {**asdict(finding), **about}


def _told_at_once(database: Database, finding: Finding) -> dict[str, Any]:
    """A finding with about how many rows and which keys it keeps out of reach, without a walk."""
    try:
        return _told(finding, extent_at_once(database, finding) if finding.is_open else None)
    except HoldfastError:
        # A finding is told all the same where its tree cannot be looked into.
        return _told(finding, None)


def findings_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """Findings as aligned text."""
    rows = [
        (
            f["id"],
            f["priority"],
            "" if f["page"] is None else f["page"],
            f["tree"] or "",
            "" if f["rows"] is None else f"{'about' if f['is_estimate'] else 'up to'} {f['rows']}",
            f.get("key_range") or f["outcome"],
            f["summary"],
        )
        for f in found
    ]
    return columns(rows, ("id", "priority", "page", "tree", "rows", "keys", "summary"))
