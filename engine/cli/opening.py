"""How the verbs get at a database, and the arguments that they share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.database import Database
from engine.opening import inspect, open_database
from engine.types import DatabaseState

if TYPE_CHECKING:
    from engine.cli.output import Output

Verb = Callable[[argparse.Namespace, "Output"], int]


def add_verb(
    verbs: argparse._SubParsersAction[Any], name: str, verb: Verb, summary: str, *, path: bool = True
) -> argparse.ArgumentParser:
    """Declare a verb; most of them take the path of a database first, and all take `--json`."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=verb)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if path:
        parser.add_argument("path", metavar="PATH", help="the database's directory")
    return parser


def open_existing(path: str, out: Output) -> Database:
    """Open a database that must exist; where it needs recovery that is done first, and said."""
    database = _quiet(open_database(path, create=False))
    report = database.recovery_report
    if report is not None and report.outcome is None:
        out.note(
            f"The database had not been closed. It was opened after {report.redo['opened_after_s']:.2f} s "
            "and is recovered while this command runs, which cannot be taken back: "
            f"pages to redo: {report.redo['pages_left']:,}, unfinished transactions to undo: "
            f"{report.undo['transactions_left']:,}."
        )
    elif report is not None:
        undone = len(report.analysis.get("losers", ()))
        out.note(
            f"The database had not been closed. It was recovered in {report.seconds:.2f} s: "
            f"changes applied again: {report.redo.get('applied', 0):,}, unfinished transactions undone: "
            f"{undone:,}."
        )
    return database


def open_for_reading(path: str, out: Output) -> Database:
    """Open without writing where the database was closed cleanly; else as `open_existing`."""
    if inspect(path).state is DatabaseState.CLEAN:
        return _quiet(open_database(path, create=False, read_only=True))
    return open_existing(path, out)


def open_as_it_is(path: str) -> Database:
    """Open without ever recovering: raises `RecoveryNeeded` where the database was not closed."""
    return _quiet(open_database(path, create=False, recovery="never"))


def _quiet(database: Database) -> Database:
    """A verb does what it says and nothing beside it: the background check would repair what it finds."""
    database.integrity.scrubber.pause()
    return database


def seconds_argument(text: str) -> float:
    """An argument that is a duration, like "30 s"."""
    from engine.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration, like 30 s") from None


def count_argument(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
