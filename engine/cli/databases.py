"""Verbs about a database as a whole: create, info, tables, check, checkpoint, locks, log."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime
from typing import Any

from engine import bridge
from engine.cli.findings import findings_lines, told_findings
from engine.cli.opening import add_verb, count_argument, open_as_it_is, open_existing, open_for_reading
from engine.cli.output import FINE, PROBLEMS, Output, columns, pairs
from engine.config import Config
from engine.database import Database
from engine.errors import ConfigInvalid, DatabaseExists, HoldfastError, InvalidArgument
from engine.integrity.plan import advise_task
from engine.opening import inspect, open_database
from engine.recovery.report import indicator_json
from engine.types import CheckReport, DatabaseInfo, DatabaseState, TableInfo
from engine.units import counted, format_duration, format_size

_SHOWN_PROBLEMS = 20


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "create", create, "Create a database")
    parser.add_argument("--page-size", metavar="SIZE", help="4 to 64 KiB; 8 KiB where not given")
    add_verb(verbs, "info", info, "Tell what can be told of a database; changes nothing")
    add_verb(verbs, "tables", tables, "List tables with their columns, keys, indexes and rows")
    parser = add_verb(verbs, "check", check, "Check every invariant of the database")
    parser.add_argument("--detailed", action="store_true", help="list every problem, not only the first")
    add_verb(verbs, "checkpoint", checkpoint, "Make a checkpoint now")
    add_verb(verbs, "locks", locks, "Show transactions, locks, and who waits for whom")
    parser = add_verb(verbs, "log", log, "List entries of the log, never stored values")
    parser.add_argument("--from-lsn", type=int, default=0, metavar="N", help="begin at this LSN")
    parser.add_argument(
        "--limit", type=count_argument, default=100, metavar="N", help="at most so many entries"
    )


def create(args: argparse.Namespace, out: Output) -> int:
    """`create PATH`"""
    try:
        inspect(args.path)
    except HoldfastError:
        pass
    else:
        raise DatabaseExists(path=args.path)
    config = Config()
    if args.page_size:
        try:
            config = config.changed(page_size=args.page_size)
        except ConfigInvalid as error:
            issue = f"{error.fields['issue']}. {error.fields['fix']}"
            raise InvalidArgument(argument="--page-size", issue=issue.rstrip(".")) from error
    with open_database(args.path, config=config) as database:
        path, page_size = str(database.path), database.status().cache.page_size
    out.result(
        {"created": True, "path": path, "page_size": page_size},
        [f"Created {path} with pages of {format_size(page_size)}."],
    )
    return FINE


def info(args: argparse.Namespace, out: Output) -> int:
    """`info PATH`"""
    found = inspect(args.path)
    value: dict[str, Any] = {
        "path": found.path,
        "state": found.state.value,
        "indicators": [indicator_json(indicator) for indicator in found.indicators],
        "page_size": found.page_size,
        "pages": found.pages,
        "tables": [],
        "trees": [],
        "wal": {
            "bytes": found.wal_bytes,
            "segments": found.wal_segments,
            "last_lsn": int(bridge.inspect(found.path)["last_lsn"] or 0),
        },
        "checkpoint": {"lsn": found.checkpoint_lsn, "at": found.checkpoint_at},
        "holder": found.holder,
        "recovery": None if found.recovery is None else dict(found.recovery),
    }
    if found.state is DatabaseState.OPEN_ELSEWHERE:
        # What a running program has not yet written is no sign that anything is wrong.
        value["indicators"] = []
    elif found.state is DatabaseState.CLEAN:
        # Only a closed database has its tables where they can be read.
        _add_contents(args.path, out, value)
    out.result(value, _info_lines(found, value))
    return FINE


def tables(args: argparse.Namespace, out: Output) -> int:
    """`tables PATH`"""
    with open_for_reading(args.path, out) as database:
        found = database.tables.list()
    rows = [(t.name, t.rows, _columns_text(t), ", ".join(i.name for i in t.indexes)) for t in found]
    lines = columns(rows, ("table", "rows", "columns", "indexes")) or ["There are no tables."]
    out.result({"tables": [asdict(table) for table in found]}, lines)
    return FINE


def check(args: argparse.Namespace, out: Output) -> int:
    """`check PATH [--detailed]`"""
    with open_as_it_is(args.path) as database:
        report = out.follow(database.check_task())
        found = _findings(database, out) if args.detailed else []
    value = {
        "ok": report.ok,
        "pages": report.pages,
        "bytes": report.bytes,
        "records": report.records,
        "seconds": report.seconds,
        "problems": [asdict(problem) for problem in report.problems],
        "lost_pages": report.lost,
        **({"findings": found} if args.detailed else {}),
    }
    lines = _check_lines(report, None if args.detailed else _SHOWN_PROBLEMS)
    out.result(value, [*lines, *findings_lines(found)])
    return FINE if report.ok else PROBLEMS


def _findings(database: Database, out: Output) -> list[dict[str, Any]]:
    plan = out.follow(advise_task(database, database.integrity.findings()))
    return told_findings(database, plan, out)


def checkpoint(args: argparse.Namespace, out: Output) -> int:
    """`checkpoint PATH`"""
    with open_existing(args.path, out) as database:
        database.checkpoint()
        made = database.status().checkpoint
    out.result(
        {"checkpoint": asdict(made)},
        [
            f"Checkpoint at LSN {made.lsn}: {counted(made.last_pages, 'page')} written in "
            f"{format_duration(made.last_duration_s)}."
        ],
    )
    return FINE


def locks(args: argparse.Namespace, out: Output) -> int:
    """`locks PATH`"""
    with open_as_it_is(args.path) as database:
        running, held, waits = database.transactions(), database.locks(), database.wait_for_graph()
    lines = columns(
        [(t.id, t.status, t.isolation.value, format_duration(t.age_s), t.changes) for t in running],
        ("transaction", "status", "isolation", "age", "changes"),
    )
    lines += columns(
        [(lock.resource, lock.mode, ", ".join(map(str, lock.holders)), len(lock.waiters)) for lock in held],
        ("resource", "mode", "holders", "waiters"),
    )
    out.result(
        {
            "transactions": [asdict(transaction) for transaction in running],
            "locks": [asdict(lock) for lock in held],
            "waits": [asdict(edge) for edge in waits],
        },
        lines or ["No transaction is running, no lock is held."],
    )
    return FINE


def log(args: argparse.Namespace, out: Output) -> int:
    """`log PATH [--from-lsn N] [--limit N]`"""
    with open_as_it_is(args.path) as database:
        entries = database.store.read_log(args.from_lsn, args.limit)
    rows = [
        (e["lsn"], e["txn"], e["op"], e["bytes"], " ".join(map(str, e["pages"][:6])), e["tree"] or "")
        for e in entries
    ]
    lines = columns(rows, ("lsn", "transaction", "operation", "bytes", "pages", "tree"))
    out.result(
        {"entries": entries, "next_lsn": entries[-1]["end"] if entries else None},
        lines or ["There are no entries from there on."],
    )
    return FINE


def _add_contents(path: str, out: Output, value: dict[str, Any]) -> None:
    try:
        with open_for_reading(path, out) as database:
            value["tables"] = [{"name": t.name, "rows": t.rows} for t in database.tables.list()]
            value["trees"] = database.trees()
    except HoldfastError as error:
        # Where it may not be opened, the rest is told all the same.
        out.note(f"Its tables cannot be listed: {error.message}")


def _info_lines(found: DatabaseInfo, value: dict[str, Any]) -> list[str]:
    words = {
        DatabaseState.CLEAN: "closed cleanly",
        DatabaseState.NEEDS_RECOVERY: "needs recovery",
        DatabaseState.DAMAGED: "damaged",
        DatabaseState.OPEN_ELSEWHERE: f"open in another program ({found.holder})",
    }
    at = datetime.fromtimestamp(found.checkpoint_at).astimezone() if found.checkpoint_at else None
    lines = pairs(
        {
            "Path": found.path,
            "State": words[found.state],
            "Pages": f"{found.pages} of {format_size(found.page_size)}",
            "Log": f"{format_size(found.wal_bytes)}, segments: {found.wal_segments}",
            "Checkpoint": f"LSN {found.checkpoint_lsn}" + (f", {at:%Y-%m-%d %H:%M:%S}" if at else ""),
        }
    )
    if found.recovery is not None:
        noted = datetime.fromtimestamp(float(found.recovery["at"])).astimezone()
        lines += pairs({"Recovery": f"{found.recovery['words']} (at {noted:%H:%M:%S})"})
    if found.state is DatabaseState.DAMAGED:
        lines.append("- Damaged: its control file, which says where recovery begins, cannot be read.")
        lines.append(f'  The ways out, with what each costs: holdfast recover "{found.path}" --fallbacks')
    lines += [f"- {indicator['title']}: {indicator['detail']}" for indicator in value["indicators"]]
    if value["tables"]:
        lines += ["", *columns([(t["name"], t["rows"]) for t in value["tables"]], ("table", "rows"))]
    if value["trees"]:
        lines += ["", "Trees: " + ", ".join(value["trees"])]
    return lines


def _columns_text(table: TableInfo) -> str:
    return ", ".join(
        f"{column.name} {column.declared or column.type}" + (" key" if column.primary_key else "")
        for column in table.columns
    )


def _check_lines(report: CheckReport, most: int | None) -> list[str]:
    rate = report.bytes / report.seconds if report.seconds else 0.0
    pages, records = counted(report.pages, "page"), counted(report.records, "record")
    read = f"{pages}, {records} in {format_duration(report.seconds)}"
    if report.ok:
        lost = f"Pages that nothing leads to: {report.lost:,}. holdfast repair gives them back."
        return [
            f"No problem found. Checked {read} ({format_size(rate)}/s).",
            *([lost] if report.lost else []),
        ]
    found = report.problems
    rows = [(p.code, "" if p.page is None else p.page, p.tree or "", p.detail) for p in found[:most]]
    more = len(found) - len(rows)
    return [
        f"{counted(len(found), 'problem')} found in {read}.",
        *columns(rows, ("code", "page", "tree", "detail")),
        *([f"And {more} more: --detailed lists them."] if more else []),
    ]
