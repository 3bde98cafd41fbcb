"""The arguments that name a point in the past, shared by the verbs that go there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.backups.point import (
    AT_END,
    Point,
    Reached,
    at_lsn,
    at_name,
    at_time,
    at_transaction,
)
from engine.units import counted, format_size


def add_point_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """`--to-lsn`, `--to-time`, `--to-transaction`, `--to-name`, `--to-end`, and `--log`."""
    point = parser.add_mutually_exclusive_group(required=required)
    point.add_argument("--to-lsn", type=int, metavar="N", help="as it was at this position of the log")
    point.add_argument(
        "--to-time", metavar="T", help='as it was then: "2026-05-01 14:30:00", or Unix seconds'
    )
    point.add_argument(
        "--to-transaction", "--to-txn", type=int, metavar="X", help="up to the commit of this transaction"
    )
    point.add_argument("--to-name", metavar="NAME", help="as it was at the moment of this name: see mark")
    point.add_argument("--to-end", action="store_true", help="as far as the log that is kept reaches")
    parser.add_argument(
        "--log", action="append", default=[], metavar="DIR", help="a database or an archive that holds log"
    )


def point_of(args: argparse.Namespace, chain: str | Path) -> Point | None:
    """The point that was asked for; None where none was."""
    if args.to_lsn is not None:
        return at_lsn(args.to_lsn)
    if args.to_time is not None:
        return at_time(args.to_time)
    if args.to_transaction is not None:
        return at_transaction(args.to_transaction)
    if args.to_name is not None:
        return at_name(args.to_name, chain, args.log)
    return AT_END if args.to_end else None


def reached_value(reached: Reached) -> dict[str, Any]:
    """A point that was found, for `--json`."""
    return {
        "backup": str(reached.backup),
        "backup_lsn": reached.backup_lsn,
        "lsn": reached.lsn,
        "commits": reached.commits,
        "log_bytes": reached.log_bytes,
        "committed_at": reached.committed_at,
        "log_ends_there": reached.is_end,
    }


def reached_lines(reached: Reached) -> list[str]:
    """A point that was found, in sentences."""
    end = ", where the log that is kept ends" if reached.is_end else ""
    return [
        f"The backup {reached.backup.name} ends at LSN {reached.backup_lsn}.",
        f"{counted(reached.commits, 'commit')} in {format_size(reached.log_bytes)} of log "
        f"{'follows' if reached.commits == 1 else 'follow'} it, "
        f"up to LSN {reached.lsn}{end}.",
    ]
