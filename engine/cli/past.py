"""Verbs about the past of a database: timeline, mark, difference, rescue."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.backups.line import TimeLine, commits_task, time_line_task
from engine.backups.named import NamedPoint
from engine.backups.past import Past, TableDifference, difference_task, past_task
from engine.backups.point import AT_END
from engine.backups.rescue import Conflicts
from engine.cli.keys import add_key_arguments, key_from
from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, Output, columns
from engine.cli.picking import add_key_argument, add_rows_argument, write_rows
from engine.cli.pointing import add_point_arguments, point_of, reached_lines, reached_value
from engine.cli.rescuing import bring_over
from engine.database import Database
from engine.units import counted

_SHOWN = 40


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "timeline", timeline, "Show what of the past can be restored, and what cannot")
    _add_backups(parser)
    parser.add_argument("--commits", action="store_true", help="the newest commits too, one by one")
    parser = add_verb(verbs, "mark", mark, "Give this moment a name, to come back to")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the name; without one, those there are")
    parser.add_argument("--note", default="", help="a word on what it is for")
    parser.add_argument("--remove", action="store_true", help="forget the name")
    parser = add_verb(verbs, "difference", difference, "Count the rows that differ from a point in the past")
    _add_backups(parser)
    add_point_arguments(parser, required=True)
    parser.add_argument("--table", action="append", default=[], metavar="T", help="--rows: only of this one")
    add_rows_argument(parser)
    add_key_arguments(parser)
    parser = add_verb(verbs, "rescue", rescue, "Put rows or tables of the past back, in one transaction")
    _add_backups(parser)
    add_point_arguments(parser, required=True)
    parser.add_argument(
        "--table", action="append", required=True, metavar="T", help="a table, or a tree; may be repeated"
    )
    add_key_argument(parser)
    parser.add_argument("--into", default="", metavar="NEW", help="into a new table of this name, beside it")
    parser.add_argument(
        "--conflicts",
        choices=[choice.value for choice in Conflicts],
        default=Conflicts.MISSING.value,
        help="rows that are there and differ: put back only what is missing (default); overwrite them; or "
        "exact, which also removes rows added since",
    )
    parser.add_argument("--preview", action="store_true", help="only count what would be written")
    add_key_arguments(parser)


def _add_backups(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backups", metavar="DIR", help="the folder of its backups, where it is another one")


def timeline(args: argparse.Namespace, out: Output) -> int:
    """`timeline PATH`"""
    with open_existing(args.path, out) as database:
        line = out.follow(time_line_task(database, _folder(args, database)))
        commits = [
            commit
            for bin_ in (line.bins[-_SHOWN:] if args.commits else ())
            for commit in commits_task(database, bin_).run()
        ][-_SHOWN:]
    value: dict[str, Any] = {
        "end_lsn": line.end_lsn,
        "backups": [asdict(kept.info) for kept in line.backups],
        "stretches": [asdict(stretch) for stretch in line.stretches],
        "commits": sum(bin_.commits for bin_ in line.bins),
        "reachable_commits": sum(bin_.commits for bin_ in line.bins if bin_.is_reachable),
        "checkpoints": [asdict(checkpoint) for checkpoint in line.checkpoints],
        "named": [asdict(point) for point in line.named],
    }
    if args.commits:
        value["newest"] = [asdict(commit) for commit in commits]
    out.result(value, [*_line_words(line), *_commit_words(commits)])
    return FINE


def _line_words(line: TimeLine) -> list[str]:
    rows: list[tuple[str, int, str]] = [
        (_moment(kept.info.taken_at), kept.info.end_lsn, f"backup {kept.name}") for kept in line.backups
    ]
    rows += [(_moment(point.at), point.lsn, f"named {point.name!r}") for point in line.named]
    for before, after in zip(line.stretches, line.stretches[1:], strict=False):
        rows.append((_moment(before.ended_at), before.end_lsn, f"gap up to LSN {after.from_lsn}"))
    reachable = sum(bin_.commits for bin_ in line.bins if bin_.is_reachable)
    words = (
        f"{counted(reachable, 'commit')} can be restored to" if reachable else "No commit can be restored to"
    )
    hint = "" if line.backups else ": there is no backup before them"
    rows.sort(key=lambda row: row[1])
    listed = columns(rows, ("when", "LSN", "what"))
    return [*listed, f"{words}{hint}. The log ends at LSN {line.end_lsn}."]


def _commit_words(commits: Sequence[Any]) -> list[str]:
    rows = [
        (_moment(commit.at), commit.lsn, commit.txn, _touched_words(commit.touched)) for commit in commits
    ]
    return columns(rows, ("committed", "LSN", "transaction", "rows"))


def _touched_words(touched: Any) -> str:
    parts = []
    for name, rows in sorted(touched.items()):
        counts = (("+", rows.inserted), ("~", rows.updated), ("-", rows.deleted))
        parts.append(f"{name} " + " ".join(f"{sign}{count:,}" for sign, count in counts if count))
    return "; ".join(parts)


def mark(args: argparse.Namespace, out: Output) -> int:
    """`mark PATH [NAME]`"""
    with open_existing(args.path, out) as database:
        if args.name is None:
            return _show_marks(database.points.all(), out)
        if args.remove:
            point = database.points.remove(args.name)
            out.result({"removed": asdict(point)}, [f"{point.name!r} is no name any more."])
            return FINE
        point = database.points.mark(args.name, args.note)
    words = f"This moment is named {point.name!r}: LSN {point.lsn}. Restore to it with --to-name."
    out.result({"marked": asdict(point)}, [words])
    return FINE


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def _show_marks(points: Sequence[NamedPoint], out: Output) -> int:
    rows = [(_moment(point.at), point.lsn, point.name, point.note) for point in points]
    lines = columns(rows, ("when", "LSN", "name", "note")) or ["No moment has a name."]
    out.result({"named": [asdict(point) for point in points]}, lines)
    return FINE


def difference(args: argparse.Namespace, out: Output) -> int:
    """`difference PATH`"""
    with open_existing(args.path, out) as database, _past(args, database, out) as past:
        found = out.follow(difference_task(past, database))
        written, words = write_rows(args, past, database, out)
        reached = past.reached
    value = {"tables": [asdict(table) for table in found], **reached_value(reached), **written}
    out.result(value, [*reached_lines(reached), *_difference_words(found), *words])
    return FINE


def _difference_words(found: Sequence[TableDifference]) -> list[str]:
    def count(rows: int | None) -> object:
        return "not there" if rows is None else rows

    rows = [(t.name, count(t.then), count(t.now), t.added, t.changed, t.removed, t.problem) for t in found]
    headings = ("table", "rows then", "now", "added", "changed", "removed", "")
    return columns(rows, headings) or ["There were no tables, and there are none."]


def rescue(args: argparse.Namespace, out: Output) -> int:
    """`rescue PATH --table T`"""
    with open_existing(args.path, out) as database, _past(args, database, out) as past:
        found = bring_over(args, past, database, out, "put back")
    if found is None:
        return FINE
    done, lines = found
    before = done.before
    value = {
        "rescued": True,
        "tables": [asdict(table) for table in done.tables],
        "lsn": done.lsn,
        "before": asdict(before),
    }
    way_back = f"To go back on it, rescue from --to-name {before.name!r} with --conflicts exact."
    out.result(value, [*lines, way_back])
    return FINE


def _folder(args: argparse.Namespace, database: Database) -> Path:
    return database.keeper.folder if args.backups is None else Path(args.backups).expanduser().absolute()


@contextmanager
def _past(args: argparse.Namespace, database: Database, out: Output) -> Iterator[Past]:
    folder = _folder(args, database)
    logs = [database.path, *args.log]
    key = database.backups.key_for(folder, key_from(args))
    database.flush()
    with out.follow(past_task(folder, point_of(args, folder) or AT_END, logs, key=key)) as past:
        yield past
