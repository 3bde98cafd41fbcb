"""Verbs about damage: scan-corruption, scrub, verify-pages, repair."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.backups.keys import pair_of
from engine.cli.findings import findings_lines, told_findings
from engine.cli.keys import add_key_arguments, key_from
from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, PROBLEMS, Output, columns
from engine.database import Database
from engine.integrity.checksums import verify_file_task
from engine.integrity.plan import Elsewhere, RepairPlan, plan_task
from engine.integrity.repair import RepairReport, rehearse_task, repair_task
from engine.integrity.scrubber import scrub_task
from engine.integrity.sweep import sweep_task
from engine.opening import PAGE_FILE, inspect
from engine.types import CheckReport
from engine.units import counted, format_duration


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    add_verb(verbs, "scan-corruption", scan, "Check everything, and say what damage could be repaired from")
    add_verb(verbs, "scrub", scrub, "Let the background check cover the whole database once")
    add_verb(verbs, "verify-pages", verify_pages, "Verify the checksum of every page without opening")
    parser = add_verb(verbs, "repair", repair, "Repair damaged pages and indexes")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--rehearse", action="store_true", help="do it in memory and in transactions that are undone"
    )
    parser.add_argument(
        "--from",
        dest="folders",
        action="append",
        default=[],
        metavar="DIR",
        help="a backup, or a folder of backups, to take pages from beside those that are known",
    )
    parser.add_argument(
        "--log", action="append", default=[], metavar="DIR", help="a database or an archive that holds log"
    )
    add_key_arguments(parser)


def scan(args: argparse.Namespace, out: Output) -> int:
    """`scan-corruption PATH`"""
    with open_existing(args.path, out) as database:
        plan = out.follow(plan_task(database, _elsewhere(args)))
        found = told_findings(database, plan, out)
    out.result({**_plan_json(plan), "findings": found}, [*_plan_lines(plan), *findings_lines(found)])
    return FINE if _check(plan).ok else PROBLEMS


def scrub(args: argparse.Namespace, out: Output) -> int:
    """`scrub PATH`"""
    with open_existing(args.path, out) as database:
        out.follow(scrub_task(database))
        note, found = database.integrity.scrubbed, database.integrity.findings()
    listed = [asdict(finding) for finding in found]
    seconds = format_duration(note.last_round_seconds)
    read = counted(note.last_round_pages, "page was", "pages were")
    lines = [f"{read} read in {seconds}; open findings: {len(found)}."]
    out.result({"scrub": asdict(note), "findings": listed}, [*lines, *findings_lines(listed)])
    return PROBLEMS if found else FINE


def verify_pages(args: argparse.Namespace, out: Output) -> int:
    """`verify-pages PATH`"""
    found = inspect(args.path)
    task = verify_file_task(Path(found.path) / PAGE_FILE, found.page_size)
    verdict = out.follow(task)
    rows = [(page, what.value) for page, what in verdict.damaged]
    lines = [
        f"{counted(verdict.pages, 'page')}: {verdict.whole} whole, {verdict.zeroed} with zeros only (never "
        f"written, or lost), {verdict.damaged_in_all} damaged.",
        *columns(rows, ("page", "what")),
    ]
    value = {"ok": verdict.ok, **asdict(verdict), "damaged": [{"page": p, "what": w} for p, w in rows]}
    out.result(value, lines)
    return FINE if verdict.ok else PROBLEMS


def repair(args: argparse.Namespace, out: Output) -> int:
    """`repair PATH [--plan | --rehearse] [--from DIR] [--log DIR] [--key-file FILE | --passphrase]`"""
    if args.plan:
        return scan(args, out)
    with open_existing(args.path, out) as database:
        plan = out.follow(plan_task(database, _elsewhere(args)))
        if args.rehearse:
            plan = out.follow(rehearse_task(database, plan))
            return _tell_rehearsal(plan, out)
        if plan.is_empty and _check(plan).lost:
            return _sweep(database, plan, out)
        if plan.is_empty:
            out.result({**_plan_json(plan), "repaired": [], "rebuilt": []}, _plan_lines(plan))
            return FINE if _check(plan).ok else PROBLEMS
        report = out.follow(repair_task(database, plan))
    out.result(_report_json(report, plan), _report_lines(report, plan))
    return FINE if report.check.ok else PROBLEMS


def _sweep(database: Database, plan: RepairPlan, out: Output) -> int:
    """There is nothing to repair; what an earlier repair could not give back goes now."""
    swept = out.follow(sweep_task(database))
    value = {**_plan_json(plan), "ok": swept.check.ok, "repaired": [], "rebuilt": []}
    problems = [asdict(problem) for problem in swept.check.problems]
    lines = [_given_back_words(swept.pages)] if swept.pages else []
    stay = (
        "The check found no problem."
        if swept.check.ok
        else f"{counted(len(problems), 'problem stays', 'problems stay')}."
    )
    out.result({**value, "problems": problems, "given_back": swept.pages}, [*lines, stay])
    return FINE if swept.check.ok else PROBLEMS


def _given_back_words(pages: int) -> str:
    return f"Pages given back that only damage led to: {pages:,}."


def _elsewhere(args: argparse.Namespace) -> Elsewhere:
    def places(names: list[str]) -> tuple[Path, ...]:
        return tuple(Path(name).expanduser().absolute() for name in names)

    folders, logs = getattr(args, "folders", []), getattr(args, "log", [])
    return Elsewhere(places(folders), places(logs), pair_of(key_from(args)) if "passphrase" in args else None)


def _check(plan: RepairPlan) -> CheckReport:
    assert plan.check is not None, "the plan of the command line begins with a check"
    return plan.check


def _tell_rehearsal(plan: RepairPlan, out: Output) -> int:
    value = {
        "rehearsed": True,
        "remedies": [asdict(remedy) for remedy in plan.remedies],
        "indexes": [asdict(index) for index in plan.indexes],
        "without_source": list(plan.without_source),
        "unhelped": dict(plan.unhelped),
        "locked": dict(plan.locked),
    }
    lines = [
        f"Rehearsed: {counted(len(plan.remedies), 'page')} rebuilt in memory, "
        f"{counted(len(plan.indexes), 'index', 'indexes')} built and undone. Nothing was changed."
    ]
    out.result(value, [*lines, *_remedy_lines(plan), *_unreached_lines(plan)])
    return FINE if not plan.findings else PROBLEMS


def _plan_json(plan: RepairPlan) -> dict[str, Any]:
    return {
        "ok": _check(plan).ok,
        "problems": [asdict(problem) for problem in _check(plan).problems],
        "remedies": [asdict(remedy) for remedy in plan.remedies],
        "indexes": [asdict(index) for index in plan.indexes],
        "without_source": list(plan.without_source),
        "unhelped": dict(plan.unhelped),
        "locked": dict(plan.locked),
    }


def _report_json(report: RepairReport, plan: RepairPlan) -> dict[str, Any]:
    return {
        "ok": report.check.ok,
        "repaired": [asdict(remedy) for remedy in report.repaired],
        "rebuilt": [asdict(index) for index in report.rebuilt],
        "given_back": report.given_back,
        "failed": [{"what": name, "error": str(error)} for name, error in report.failed],
        "losses": [asdict(loss) for loss in report.losses],
        "without_source": list(plan.without_source),
        "problems": [asdict(problem) for problem in report.check.problems],
    }


def _plan_lines(plan: RepairPlan) -> list[str]:
    check = _check(plan)
    if check.ok:
        return [f"No problem found on {counted(check.pages, 'page')}."]
    head = (
        f"{counted(len(check.problems), 'problem')} found. Pages that can be repaired: {len(plan.remedies)}; "
        f"indexes that can be rebuilt: {len(plan.indexes)}."
    )
    return [head, *_remedy_lines(plan), *_unreached_lines(plan)]


def _remedy_lines(plan: RepairPlan) -> list[str]:
    pages = [(str(remedy.page), remedy.words) for remedy in plan.remedies]
    indexes = [
        (f"index {index.index}", f"the table {index.table}: {counted(index.rows, 'row')}")
        for index in plan.indexes
    ]
    return columns([*pages, *indexes], ("page", "from"))


def _unreached_lines(plan: RepairPlan) -> list[str]:
    if not plan.without_source:
        return []
    pages = ", ".join(map(str, plan.without_source))
    noun = "page" if len(plan.without_source) == 1 else "pages"
    lines = [
        f"Nothing reaches back far enough for {noun} {pages}: restore a backup, or salvage what is left."
    ]
    reasons = dict.fromkeys(plan.unhelped.values())
    lines += [f"Looked at: {why}." for why in reasons]
    return [*lines, *(f"Not looked into: {place}: {why}." for place, why in plan.locked.items())]


def _report_lines(report: RepairReport, plan: RepairPlan) -> list[str]:
    lines = [f"{counted(len(report.repaired), 'page')} repaired; what was damaged is kept in quarantine/."]
    lines += [f"Rebuilt: {index.words}." for index in report.rebuilt]
    lines += [_given_back_words(report.given_back)] if report.given_back else []
    lines += [f"Not repaired: {name}: {error}" for name, error in report.failed]
    lines += _unreached_lines(plan)
    problems = len(report.check.problems)
    lines.append(
        "The check that followed found no problem."
        if report.check.ok
        else f"{counted(problems, 'problem stays', 'problems stay')}."
    )
    return lines
