"""Verbs that move tables in and out: import, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.cli.opening import add_verb, open_existing, open_for_reading
from engine.cli.output import FINE, Output, columns
from engine.data.importing import ImportPlan, TablePlan, plan_import
from engine.errors import InvalidArgument
from engine.units import counted


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "import", import_source, "Import SQLite, CSV or JSON lines, all or nothing")
    parser.add_argument("source", metavar="SOURCE", help="it is only read")
    parser.add_argument(
        "--table", metavar="T", help="the new table of a file; of a SQLite database, the one table to take"
    )
    parser.add_argument("--key", metavar="COLUMN,...", help="the primary key of a CSV or JSON lines file")
    parser.add_argument("--delimiter", metavar="C", help='what separates the cells; "tab" for a tab')
    parser.add_argument("--encoding", metavar="NAME", help="utf-8, utf-16 or latin-1")
    parser.add_argument("--header", choices=("yes", "no"), help="whether the first line has names")
    parser.add_argument("--plan", action="store_true", help="only show what would be done")
    parser = add_verb(verbs, "export", export, "Export tables to SQLite, CSV or JSON lines")
    parser.add_argument("target", metavar="TARGET", help="its ending says the kind: .sqlite, .csv, .jsonl")
    parser.add_argument("--table", metavar="T", action="append", help="this table only; may be given again")
    parser.add_argument("--kind", choices=("sqlite", "csv", "jsonl"), help="where the ending does not say it")
    parser.add_argument("--replace", action="store_true", help="replace an existing file")


def import_source(args: argparse.Namespace, out: Output) -> int:
    """`import PATH SOURCE [--table T]`"""
    plan = plan_import(args.source)
    _apply(plan, args)
    if args.plan:
        out.result({"plan": plan.to_kernel(), "left_out": list(plan.without)}, _plan_lines(plan))
        _tell_left_out(plan, out)
        return FINE
    with open_existing(args.path, out) as database:
        result = out.follow(database.tables.import_task(plan))
    rate = result.rows / result.seconds if result.seconds else 0.0
    value = {
        "tables": [{"name": name, "rows": rows} for name, rows in result.tables],
        "rows": result.rows,
        "seconds": result.seconds,
        "left_out": list(plan.without),
        "without": {table.target: list(table.without) for table in plan.chosen() if table.without},
    }
    lines = columns(list(result.tables), ("table", "rows"))
    lines.append(f"{counted(result.rows, 'row')} in {result.seconds:.2f} s ({rate:,.0f} per second).")
    out.result(value, lines)
    _tell_left_out(plan, out)
    return FINE


def _tell_left_out(plan: ImportPlan, out: Output) -> None:
    for table in plan.chosen():
        for left_out in table.without:
            out.note(f"Not carried over from {table.source}: {left_out}")
    for left_out in plan.without:
        out.note(f"Not carried over: {left_out}")


def export(args: argparse.Namespace, out: Output) -> int:
    """`export PATH TARGET [--table T]`"""
    with open_for_reading(args.path, out) as database:
        task = database.tables.export_task(args.target, args.table, args.kind, replace=args.replace)
        result = out.follow(task)
    value = {
        "path": str(result.path),
        "kind": result.kind.value,
        "tables": list(result.tables),
        "rows": result.rows,
        "seconds": result.seconds,
    }
    tables = counted(len(result.tables), "table")
    out.result(value, [f"{counted(result.rows, 'row')} of {tables} written to {result.path}."])
    return FINE


def _apply(plan: ImportPlan, args: argparse.Namespace) -> None:
    """Put what the arguments say over what was guessed."""
    if plan.kind == "sqlite":
        if args.table:
            plan.only(args.table)
        if args.key or args.delimiter or args.encoding or args.header:
            raise InvalidArgument(
                argument="the source", issue="a SQLite database says its keys and types itself"
            )
        return
    if args.delimiter:
        plan.delimiter = "\t" if args.delimiter in ("tab", "\\t") else args.delimiter
    plan.encoding = args.encoding or plan.encoding
    if args.header:
        plan.header = args.header == "yes"
    table = plan.tables[0]
    table.target = args.table or Path(table.target).stem
    if args.key:
        table.primary_key = [name.strip() for name in args.key.split(",")]


def _plan_lines(plan: ImportPlan) -> list[str]:
    return columns(
        [_plan_row(table) for table in plan.chosen()], ("source", "table", "rows", "columns", "key")
    )


def _plan_row(table: TablePlan) -> tuple[object, ...]:
    named = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    rows = "not counted" if table.rows is None else table.rows
    return (table.source, table.target, rows, named, ", ".join(table.primary_key))
