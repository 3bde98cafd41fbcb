"""Verbs about backups: backup, verify-backup, restore."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from engine.backups.rehearsal import Rehearsal, checksum_task, rehearse_task
from engine.backups.restore import restore_task
from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, PROBLEMS, Output
from engine.errors import BackupDamaged, InvalidArgument, NotSupported, RehearsalFailed
from engine.types import BackupInfo
from engine.units import format_size


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "backup", backup, "Add a backup to the chain in a directory")
    parser.add_argument("target", metavar="TARGET", help="the directory of the chain")
    parser.add_argument(
        "--incremental", action="store_true", help="only what has changed since the newest backup there"
    )
    parser.add_argument("--emergency", action="store_true", help="not in this version")
    parser.add_argument(
        "--bytes-per-second", type=int, default=0, metavar="N", help="read the database no faster than this"
    )
    parser = add_verb(verbs, "verify-backup", verify, "Check a backup against its checksums", path=False)
    parser.add_argument("target", metavar="TARGET", help="the backup, or the directory of the chain")
    parser.add_argument(
        "--restore",
        action="store_true",
        help="restore it into a scratch folder, check that, count its rows, and remove it again",
    )
    parser.add_argument("--scratch", metavar="DIR", help="where the scratch folder goes")
    parser = add_verb(verbs, "restore", restore, "Restore a backup into a new directory", path=False)
    parser.add_argument("target", metavar="TARGET", help="the backup")
    parser.add_argument("path", metavar="PATH", help="the new directory")


def backup(args: argparse.Namespace, out: Output) -> int:
    """`backup PATH TARGET`"""
    if args.emergency:
        raise NotSupported(feature="--emergency", detail="this version takes full and incremental backups")
    if args.bytes_per_second < 0:
        raise InvalidArgument(argument="--bytes-per-second", issue="it cannot be negative")
    with open_existing(args.path, out) as database:
        backups = database.backups
        task = backups.increment_task if args.incremental else backups.full_task
        info = out.follow(task(args.target, bytes_per_second=args.bytes_per_second))
    out.result({"backup": asdict(info)}, [f"{_described(info)}, checked against its manifest.", info.path])
    return FINE


def verify(args: argparse.Namespace, out: Output) -> int:
    """`verify-backup TARGET`"""
    try:
        if args.restore:
            return _rehearsed(out.follow(rehearse_task(args.target, scratch=args.scratch)), out)
        info = out.follow(checksum_task(args.target))
    except (BackupDamaged, RehearsalFailed) as error:
        # Damage is what this verb looks for: it is a finding, not a failure to look.
        out.result({"ok": False, "backup": None, "error": error.to_dict()}, [])
        if not out.as_json:
            out.card(error)
        return PROBLEMS
    out.result({"ok": True, "backup": asdict(info)}, [f"{_described(info)}: it is whole."])
    return FINE


def _rehearsed(found: Rehearsal, out: Output) -> int:
    counts = {"tables": dict(found.counted.tables), "trees": dict(found.counted.trees)}
    value = {
        "ok": True,
        "path": str(found.path),
        "end_lsn": found.end_lsn,
        "pages": found.pages,
        "records": found.records,
        "rows": counts,
        "compared": found.is_compared,
        "seconds": found.seconds,
    }
    places = len(found.counted.tables) + len(found.counted.trees)
    lines = [
        f"{found.path} was restored into a scratch folder, opened and checked: {found.pages:,} pages.",
        f"It holds {found.counted.total:,} rows in {places} tables and trees"
        + (", as noted when it was taken." if found.is_compared else "."),
    ]
    if found.noted is None:
        lines.append("Nobody noted the numbers of rows when it was taken, so they were not compared.")
    elif not found.is_compared:
        lines.append("Rows were committed while it was taken, so the numbers were not compared with it.")
    out.result(value, lines)
    return FINE


def restore(args: argparse.Namespace, out: Output) -> int:
    """`restore TARGET PATH`"""
    result = out.follow(restore_task(args.target, args.path))
    value = {
        "restored": True,
        "path": str(result.path),
        "source": str(result.source),
        "pages": result.pages,
        "bytes": result.bytes,
        "end_lsn": result.end_lsn,
        "recovery": result.recovery.to_json(),
    }
    lines = [
        f"Restored {result.pages:,} pages ({format_size(result.bytes)}) from {result.source}.",
        f"{result.path} is in the state that was committed at LSN {result.end_lsn}, and was checked in full.",
    ]
    out.result(value, lines)
    return FINE


def _described(info: BackupInfo) -> str:
    kind = f"Increment to {info.parent}" if info.parent else "Backup"
    return f"{kind} of {info.pages:,} pages ({format_size(info.bytes)}) up to LSN {info.end_lsn}"
