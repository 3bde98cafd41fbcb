"""Verbs about damage: scan-corruption, repair."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, PROBLEMS, Output, columns
from engine.integrity.repair import RepairPlan, RepairReport, plan_task, repair_task


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    add_verb(verbs, "scan-corruption", scan, "Check everything, and say what damage could be repaired from")
    parser = add_verb(verbs, "repair", repair, "Repair damaged pages from copies and the log")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")


def scan(args: argparse.Namespace, out: Output) -> int:
    """`scan-corruption PATH`"""
    with open_existing(args.path, out) as database:
        plan = out.follow(plan_task(database))
    out.result(_plan_json(plan), _plan_lines(plan))
    return FINE if plan.check.ok else PROBLEMS


def repair(args: argparse.Namespace, out: Output) -> int:
    """`repair PATH [--plan]`"""
    if args.plan:
        return scan(args, out)
    with open_existing(args.path, out) as database:
        plan = out.follow(plan_task(database))
        if not plan.remedies:
            out.result({**_plan_json(plan), "repaired": []}, _plan_lines(plan))
            return FINE if plan.check.ok else PROBLEMS
        report = out.follow(repair_task(database, plan))
    out.result(_report_json(report, plan), _report_lines(report, plan))
    return FINE if report.check.ok else PROBLEMS


def _plan_json(plan: RepairPlan) -> dict[str, Any]:
    return {
        "ok": plan.check.ok,
        "problems": [asdict(problem) for problem in plan.check.problems],
        "remedies": [asdict(remedy) for remedy in plan.remedies],
        "without_source": list(plan.without_source),
    }


def _report_json(report: RepairReport, plan: RepairPlan) -> dict[str, Any]:
    return {
        "ok": report.check.ok,
        "repaired": [asdict(remedy) for remedy in report.repaired],
        "failed": [{"page": page, "error": str(error)} for page, error in report.failed],
        "without_source": list(plan.without_source),
        "problems": [asdict(problem) for problem in report.check.problems],
    }


def _plan_lines(plan: RepairPlan) -> list[str]:
    if plan.check.ok:
        return [f"No problem found on {plan.check.pages} pages."]
    lines = [f"{len(plan.check.problems)} problems found. Pages that can be repaired: {len(plan.remedies)}."]
    lines += columns([(remedy.page, remedy.words) for remedy in plan.remedies], ("page", "from"))
    if plan.without_source:
        pages = ", ".join(map(str, plan.without_source))
        lines.append(f"Nothing here reaches back far enough for pages {pages}: restore from a backup.")
    return lines


def _report_lines(report: RepairReport, plan: RepairPlan) -> list[str]:
    lines = [f"{len(report.repaired)} pages repaired; what was damaged is kept in quarantine/."]
    lines += [f"Page {page} could not be repaired: {error}" for page, error in report.failed]
    if plan.without_source:
        pages = ", ".join(map(str, plan.without_source))
        lines.append(f"Not repaired, nothing reaches back far enough: pages {pages}. Restore from a backup.")
    problems = len(report.check.problems)
    lines.append(
        "The check that followed found no problem." if report.check.ok else f"{problems} problems stay."
    )
    return lines
