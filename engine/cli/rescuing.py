"""Bringing over rows and tables, of the past or of a former primary, in one transaction."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from engine.backups.past import Past
from engine.backups.rescue import (
    Choice,
    Conflicts,
    Rescued,
    RescuedTable,
    rescue_preview_task,
    rescue_task,
)
from engine.cli.output import Output, columns
from engine.cli.picking import key_bytes
from engine.database import Database
from engine.errors import InvalidArgument


def bring_over(
    args: argparse.Namespace, past: Past, database: Database, out: Output, done: str
) -> tuple[Rescued, list[str]] | None:
    """Do what `--table`, `--key`, `--into` and `--conflicts` say; returns it with its lines.

    None with `--preview`, whose result is said here. `done` heads the rows that were missing.
    """
    if (args.into or args.key) and len(args.table) > 1:
        raise InvalidArgument(argument="--key and --into", issue="they need one --table")
    conflicts = Conflicts(args.conflicts)
    keys = key_bytes(past, args.table[0], args.key) if args.key else None
    choices = [Choice(name, keys, args.into) for name in args.table]
    if args.preview:
        tables = out.follow(rescue_preview_task(past, database, choices, conflicts))
        value = {"rescued": False, "tables": [asdict(table) for table in tables]}
        out.result(value, [*_lines(tables, done), "Nothing was written."])
        return None
    rescued = out.follow(rescue_task(past, database, choices, conflicts))
    return rescued, [*_lines(rescued.tables, done), f"Committed in one transaction at LSN {rescued.lsn}."]


def _lines(tables: Sequence[RescuedTable], done: str) -> list[str]:
    rows = [
        (t.name + (" (new)" if t.is_new else ""), t.put_back, t.overwritten, t.removed, t.kept)
        for t in tables
    ]
    return columns(rows, ("table", done, "overwritten", "removed", "left as they are"))
