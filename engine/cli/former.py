"""What `mirror` does about a former primary that went on alone: compare, rescue, renew."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from engine.backups.former import former_task
from engine.backups.past import Past, TableDifference, difference_task
from engine.backups.rescue import Conflicts
from engine.cli.opening import open_existing
from engine.cli.output import FINE, PROBLEMS, Output, columns
from engine.cli.picking import add_key_argument, add_rows_argument, write_rows
from engine.cli.rescuing import bring_over
from engine.database import Database
from engine.errors import InvalidArgument, MirrorIncomplete


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what these actions take."""
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="T",
        help="rescue, compare --rows: a table or a tree; repeatable",
    )
    add_key_argument(parser, "rescue: ")
    add_rows_argument(parser, "compare: ")
    parser.add_argument("--into", default="", metavar="NEW", help="rescue: into a new table, beside its own")
    parser.add_argument(
        "--conflicts",
        choices=[choice.value for choice in Conflicts],
        default=Conflicts.MISSING.value,
        help="rescue: rows that are in both and differ: bring over only what is missing here (default); "
        "overwrite them; or exact, which also removes rows that only this database has",
    )
    parser.add_argument(
        "--accept-loss", action="store_true", help="renew: what only the former primary holds is given up"
    )


def ensure_kept(database: Database, mirror: str | Path) -> None:
    """Keep the directory of a former primary as a mirror, where that is not done yet."""
    place = Path(mirror).expanduser().absolute()
    if any(info.path == str(place) for info in database.mirrors.list()):
        return
    if not place.is_dir():
        raise MirrorIncomplete(path=str(place), reason="it is not there")
    database.mirrors.add(place)


def compare(args: argparse.Namespace, out: Output) -> int:
    """`mirror PATH compare FORMER [--rows FILE]`"""
    with open_existing(args.path, out) as database, _former(args, database, out) as past:
        found = out.follow(difference_task(past, database))
        written, words = write_rows(args, past, database, out)
    value = {"former": _place(args), "tables": [asdict(table) for table in found], **written}
    out.result(value, [*_difference_lines(found), *words, *_advice(args, found)])
    return FINE


def rescue(args: argparse.Namespace, out: Output) -> int:
    """`mirror PATH rescue FORMER --table T [--key K]`"""
    if not args.table:
        raise InvalidArgument(argument="--table", issue="say which tables are to be brought over")
    with open_existing(args.path, out) as database, _former(args, database, out) as past:
        found = bring_over(args, past, database, out, "brought over")
    if found is not None:
        done, lines = found
        value = {"rescued": True, "tables": [asdict(table) for table in done.tables], "lsn": done.lsn}
        out.result(value, lines)
    return FINE


def renew(args: argparse.Namespace, out: Output) -> int:
    """`mirror PATH renew FORMER --accept-loss`; without the word, what would be lost, and nothing is done."""
    with open_existing(args.path, out) as database:
        if not args.accept_loss:
            with _former(args, database, out) as past:
                found = out.follow(difference_task(past, database))
            lost = [asdict(table) for table in found if table.removed or table.changed or table.problem]
            out.result(
                {"renewed": False, "lost": lost},
                [*_difference_lines(found), "Nothing was done. With --accept-loss it becomes a mirror."],
            )
            return PROBLEMS if lost else FINE
        ensure_kept(database, args.mirror)
        info = out.follow(database.mirrors.renew_task(args.mirror))
    words = f"{info.path} is a mirror now: it has everything up to LSN {info.shipped_lsn}."
    out.result({"renewed": True, "mirror": asdict(info)}, [words])
    return FINE


@contextmanager
def _former(args: argparse.Namespace, database: Database, out: Output) -> Iterator[Past]:
    with out.follow(former_task(args.mirror, database, scratch=args.scratch)) as past:
        yield past


def _place(args: argparse.Namespace) -> str:
    return str(Path(args.mirror).expanduser().absolute())


def _difference_lines(found: Sequence[TableDifference]) -> list[str]:
    def count(rows: int | None) -> object:
        return "not there" if rows is None else rows

    rows = [
        (table.name, count(table.then), count(table.now), table.removed, table.changed, table.added)
        for table in found
    ]
    headings = ("table", "rows there", "here", "only there", "differ", "only here")
    lines = columns(rows, headings) or ["There are no tables in either."]
    return [*lines, *(f"{table.name}: {table.problem}." for table in found if table.problem)]


def _advice(args: argparse.Namespace, found: Sequence[TableDifference]) -> list[str]:
    """What can be done about what only it holds."""
    there = [table.name for table in found if table.removed or table.changed]
    mirror = f"holdfast mirror {args.path}"
    if not there:
        return [
            f"It holds no row that is not here. Make it a mirror: {mirror} renew {args.mirror} --accept-loss"
        ]
    tables = " ".join(f"--table {name}" for name in there)
    return [
        f"Look at the rows: {mirror} compare {args.mirror} --rows rows.jsonl",
        f"Bring over the rows that are only there: {mirror} rescue {args.mirror} {tables}",
        f"Then make it a mirror: {mirror} renew {args.mirror} --accept-loss",
    ]
