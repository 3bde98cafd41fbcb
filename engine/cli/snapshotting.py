"""The verb about snapshots: named moments of one database."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any

from engine.cli.opening import add_verb, open_existing, open_for_reading
from engine.cli.output import FINE, PROBLEMS, Output
from engine.errors import InvalidArgument, SnapshotDamaged
from engine.snapshots.reverting import revert_task
from engine.snapshots.types import SnapshotInfo
from engine.units import counted, format_size

_ACTIONS = ("list", "take", "open", "verify", "restore", "revert", "drop", "prune")


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "snapshot", snapshot, "Named moments: take one, look at it, go back to it")
    parser.add_argument(
        "action",
        metavar="ACTION",
        choices=_ACTIONS,
        help="list; take [NAME]; open NAME: what is in it; verify NAME: read and check all of it; "
        "restore NAME TARGET: into a new database; revert NAME: this database goes back to it, after a "
        "snapshot of now; drop NAME; prune: remove what the rules do not keep",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the snapshot")
    parser.add_argument("target", metavar="TARGET", nargs="?", default="", help="the new directory")


def snapshot(args: argparse.Namespace, out: Output) -> int:
    """`snapshot PATH ACTION [NAME] [TARGET]`"""
    wanted = {"open": 1, "verify": 1, "drop": 1, "revert": 1, "restore": 2}.get(args.action, 0)
    if wanted >= 1 and not args.name:
        raise InvalidArgument(argument="NAME", issue=f"{args.action} needs the name of a snapshot")
    if wanted == 2 and not args.target:
        raise InvalidArgument(argument="TARGET", issue="restore needs the directory of the new database")
    status: int = _DO[args.action](args, out)
    return status


def _list(args: argparse.Namespace, out: Output) -> int:
    with open_for_reading(args.path, out) as database:
        found, room = database.snapshots.list(), database.snapshots.room()
    lines = [_line(info) for info in found] or ["There is no snapshot."]
    if found:
        lines.append(f"{format_size(room)} in all.")
    out.result({"snapshots": [asdict(info) for info in found], "bytes": room}, lines)
    return FINE


def _take(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        info = out.follow(database.snapshots.take_task(args.name))
    out.result({"snapshot": asdict(info)}, [f"Taken: {info.name} (log position {info.lsn})."])
    return FINE


def _open(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        rows = out.follow(database.snapshots.rows_task(args.name))
    lines = [f"{table}: {counted(count, 'row')}" for table, count in sorted(rows.items())]
    out.result({"name": args.name, "tables": rows}, lines or ["It holds no table."])
    return FINE


def _verify(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        try:
            pages = out.follow(database.snapshots.verify_task(args.name))
        except SnapshotDamaged as error:
            # Damage is what this verb looks for: it is a finding, not a failure to look.
            out.result({"ok": False, "pages": 0, "error": error.to_dict()}, [])
            if not out.as_json:
                out.card(error)
            return PROBLEMS
    out.result({"ok": True, "pages": pages}, [f"{args.name} is whole: {counted(pages, 'page')} and its log."])
    return FINE


def _restore(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        done = out.follow(database.snapshots.restore_task(args.name, args.target))
    out.result(
        {"snapshot": done.snapshot, "path": str(done.path), "bytes": done.bytes},
        [f"Restored {done.snapshot} into {done.path} ({format_size(done.bytes)})."],
    )
    return FINE


def _revert(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        done = out.follow(revert_task(database, args.name))
    out.result(
        {"snapshot": done.snapshot, "pages": done.pages, "before": done.before},
        [
            f"The database is what it was at {done.snapshot}: "
            f"{counted(done.pages, 'page was', 'pages were')} put back.",
            f'What it was before is the snapshot "{done.before}".',
        ],
    )
    return FINE


def _drop(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        database.snapshots.drop(args.name)
    out.result({"dropped": [args.name]}, [f"Dropped: {args.name}."])
    return FINE


def _prune(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        gone = database.snapshots.prune()
    names = [info.name for info in gone]
    out.result({"dropped": names}, [f"Dropped: {name}." for name in names] or ["Nothing to remove."])
    return FINE


def _line(info: SnapshotInfo) -> str:
    taken = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.taken_at))
    marks = [
        "scheduled" if info.is_scheduled else "",
        "" if info.is_whole else "DAMAGED",
    ]
    kept = f"{counted(info.pages, 'page')} kept, {format_size(info.bytes)}"
    return ", ".join(part for part in (f"{info.name}: {taken}", kept, *marks) if part)


_DO = {
    "list": _list,
    "take": _take,
    "open": _open,
    "verify": _verify,
    "restore": _restore,
    "revert": _revert,
    "drop": _drop,
    "prune": _prune,
}
