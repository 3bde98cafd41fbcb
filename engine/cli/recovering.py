"""The verb recover."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.cli.opening import add_verb
from engine.cli.output import ERROR, FINE, Output, columns
from engine.errors import Cancelled, DatabaseLocked, HoldfastError, InvalidArgument
from engine.opening import directory_of, inspect
from engine.recovery import history
from engine.recovery.fallbacks import Fallback, FallbackKind, salvage_task
from engine.recovery.manager import RecoveryManager
from engine.recovery.report import RecoveryPlan, RecoveryReport
from engine.types import DatabaseState
from engine.units import counted, format_size
from engine.ways_out import copies, offers_task


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "recover", recover, "Bring a database back that was not closed")
    parser.add_argument("--plan", action="store_true", help="only show what would be done; changes nothing")
    parser.add_argument(
        "--rehearse", action="store_true", help="do everything beside the database, check it, and drop it"
    )
    parser.add_argument(
        "--plan-hash", metavar="HASH", default="", help="recover only if nothing changed since this plan"
    )
    parser.add_argument(
        "--fallbacks", action="store_true", help="show the other ways, with what each costs; changes nothing"
    )
    parser.add_argument(
        "--fallback",
        choices=[FallbackKind.LAST_VALID.value, FallbackKind.SALVAGE.value],
        default="",
        help="go up to the last valid record of a damaged log, or save what can be read with --to",
    )
    parser.add_argument(
        "--history", action="store_true", help="show the recoveries that the database has been through"
    )
    parser.add_argument(
        "--backups",
        metavar="DIR",
        type=Path,
        help="where its backups are; else where its settings say or it remembers some",
    )
    parser.add_argument("--to", metavar="TARGET", help="the new database of a salvage")


def recover(args: argparse.Namespace, out: Output) -> int:
    """`recover PATH [--plan | --rehearse | --fallbacks | --history] [--plan-hash HASH] [--fallback KIND]`"""
    directory = directory_of(args.path)
    if args.fallback == FallbackKind.SALVAGE:
        return _salvage(directory, args.to, out)
    # Before anything is looked at, so that a look that fails is told as a recovery that cannot begin.
    manager = RecoveryManager(directory, fallback=args.fallback)
    found = inspect(args.path)
    if args.history:
        return _history(directory, out)
    if args.fallbacks:
        return _offers(directory, args.backups, out)
    if found.state is DatabaseState.CLEAN:
        report = replace(manager.report, rehearsal=args.rehearse)
        out.result(report.to_json(), ["The database was closed cleanly: there is nothing to do."])
        return FINE
    if args.plan:
        plan = out.follow(manager.plan_task())
        out.result(_plan_json(plan), _plan_lines(plan))
        return FINE
    return _carry_out(manager, args, out)


def _carry_out(manager: RecoveryManager, args: argparse.Namespace, out: Output) -> int:
    try:
        if args.rehearse:
            report = out.follow(manager.rehearse_task())
        else:
            report = out.follow(manager.run_task(plan_hash=args.plan_hash))
            manager.take_store().close()
    except HoldfastError as error:
        out.result({**manager.report.to_json(), "error": error.to_dict()}, _stage_lines(manager.report))
        if not out.as_json:
            out.card(error)
            # Nothing is damaged where somebody else has the database, or the person stopped it.
            ways = () if isinstance(error, DatabaseLocked | Cancelled) else copies(manager.path, args.backups)
            for way in ways:
                out.note("\n".join(_way_lines(way)))
        return ERROR
    out.result(report.to_json(), _report_lines(report, manager.path, args.fallback))
    for warning in report.warnings:
        out.note(f"Warning: {warning}")
    return FINE


def _way_lines(way: Fallback) -> list[str]:
    costs = f"  Costs: {way.cost}" if way.is_possible else f"  Not possible: {way.why_not}"
    return [f"{way.title} ({way.kind.value})", f"  {way.does}", costs]


def _offers(directory: Path, backups: Path | None, out: Output) -> int:
    offers = out.follow(offers_task(directory, backups))
    lines = [line for offer in offers for line in (*_way_lines(offer), "")]
    out.result({"fallbacks": [offer.to_json() for offer in offers]}, lines)
    return FINE


def _history(directory: Path, out: Output) -> int:
    told = history.read(directory)
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            entry.outcome,
            f"{entry.seconds:.2f} s",
            _speed(entry.report.get("log_bytes_per_s")),
            format_size(entry.report.get("memory_bytes") or 0),
            (entry.report.get("error") or {}).get("message") or "",
        )
        for entry in told.entries
    ]
    lines = (
        columns(rows, ("ended", "outcome", "time", "log", "memory", ""))
        if rows
        else ["No recovery is noted."]
    )
    entries = [{"at": e.at, "fallback": e.fallback or None, **e.report} for e in told.entries]
    figures = told.figures
    if figures.recovery_success_rate is not None and figures.rto_compliance_rate is not None:
        lines += [
            "",
            f"{figures.recovery_success_rate:.0%} succeeded, {figures.rto_compliance_rate:.0%} within "
            f"{history.OBJECTIVE_S:g} s, in {figures.recovery_duration_seconds:.2f} s on average.",
        ]
    answer = {"recoveries": entries, "skipped": told.skipped, "figures": asdict(figures)}
    out.result(answer, [*lines, *filter(None, [told.note])])
    return FINE


def _salvage(directory: Path, target: str | None, out: Output) -> int:
    if not target:
        raise InvalidArgument(argument="--to", issue="a salvage needs the directory of the new database")
    report = out.follow(salvage_task(directory, target))
    rows = [(tree.name, "table" if tree.is_table else "tree", tree.records) for tree in report.trees]
    lines = [*columns(rows, ("name", "", "records")), "", *(f"Lost: {loss}" for loss in report.losses)]
    out.result(report.to_json(), [*lines, f"The new database is {report.target}."])
    return FINE


def _stage_lines(report: RecoveryReport) -> list[str]:
    rows = [
        (
            stage.number,
            stage.name,
            stage.status.value,
            f"{stage.seconds:.3f} s",
            _speed(stage.bytes_per_s),
            format_size(stage.memory_bytes),
            stage.bottleneck,
        )
        for stage in report.stages
    ]
    return columns(rows, ("", "stage", "status", "time", "speed", "memory", "held up by"))


def _speed(bytes_per_s: Any) -> str:
    return f"{format_size(float(bytes_per_s))}/s" if bytes_per_s else "-"


def _report_lines(report: RecoveryReport, path: Path, fallback: str | None) -> list[str]:
    analysis, redo, undo = report.analysis, report.redo, report.undo
    lines = [f"- {indicator.title}: {indicator.detail}" for indicator in report.indicators]
    lines += ["", *_stage_lines(report), ""]
    lines += [
        f"Analysis: {counted(analysis['records'], 'entry', 'entries')}, "
        f"{format_size(analysis['bytes'])} of log; {counted(analysis['committed'], 'transaction')} had been "
        f"committed, {len(analysis['losers']):,} had not.",
        f"Redo: {counted(redo['records'], 'entry', 'entries')} looked at; changes applied again: "
        f"{redo['applied']:,}, pages: {redo['pages']:,}.",
        f"Undo: changes taken back: {undo['records']:,}, unfinished transactions: {undo['transactions']:,}.",
        f"{'Rehearsed' if report.rehearsal else 'Recovered'} in {report.seconds:.2f} s: "
        f"{_speed(report.log_bytes_per_s)} of log, {format_size(report.memory_bytes)} of memory, "
        f"{report.processor_seconds:.2f} s of processor time."
        + (" Nothing that had been committed was lost." if not report.lost else ""),
    ]
    lines += [f"Lost: {loss['detail']}" for loss in report.lost]
    if report.rehearsal:
        lines += ["", "This was a rehearsal: the database is as it was. To do just this:"]
        way = f" --fallback {fallback}" if fallback else ""
        lines += [f"  holdfast recover {shlex.quote(str(path))}{way} --plan-hash {report.plan_hash}"]
    return lines


def _plan_json(plan: RecoveryPlan) -> dict[str, Any]:
    return {
        "start_lsn": plan.start_lsn,
        "end_lsn": plan.end_lsn,
        "end_reason": plan.end_reason,
        "checkpoint_lsn": plan.checkpoint_lsn,
        "segments": plan.segments,
        "bytes": plan.bytes,
        "records": plan.records,
        "committed": plan.committed,
        "losers": [dict(loser) for loser in plan.losers],
        "dirty_pages": plan.dirty_pages,
        "plan_hash": plan.hash,
        "stages": [stage.name for stage in plan.stages],
    }


def _plan_lines(plan: RecoveryPlan) -> list[str]:
    return [
        f"The log is read from LSN {plan.start_lsn} to LSN {plan.end_lsn} ({format_size(plan.bytes)}, "
        f"{counted(plan.records, 'entry', 'entries')}).",
        f"It ends there because: {plan.end_reason}",
        f"{counted(plan.committed, 'transaction was', 'transactions were')} committed and kept.",
        f"{counted(len(plan.losers), 'transaction was', 'transactions were')} not, and will be undone.",
        f"Pages that are brought up to date: {plan.dirty_pages:,} at most.",
    ]
