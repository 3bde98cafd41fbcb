"""Verbs about backups: backup, verify-backup, restore."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from engine.backups.emergency import emergency_task, restore_emergency_task, verify_emergency_task
from engine.backups.emergency_manifest import is_emergency
from engine.backups.point import AT_BACKUP, preview_task, restore_point_task
from engine.backups.rehearsal import Rehearsal, checksum_task, rehearse_task
from engine.backups.restore import restore_task
from engine.cli.keys import add_key_arguments, key_from
from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, PROBLEMS, Output
from engine.cli.pointing import add_point_arguments, point_of, reached_lines, reached_value
from engine.errors import BackupDamaged, InvalidArgument, RehearsalFailed
from engine.opening import directory_of
from engine.types import BackupInfo
from engine.units import counted, format_size


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = add_verb(verbs, "backup", backup, "Add a backup to the chain in a directory")
    parser.add_argument("target", metavar="TARGET", help="the directory of the chain")
    parser.add_argument(
        "--incremental", action="store_true", help="only what has changed since the newest backup there"
    )
    parser.add_argument(
        "--emergency",
        action="store_true",
        help="what can be read, damaged or not, without opening the database; one that is open in the window "
        "is copied there: Copy what can be read",
    )
    parser.add_argument(
        "--bytes-per-second", type=int, default=0, metavar="N", help="read the database no faster than this"
    )
    add_key_arguments(parser)
    parser.add_argument(
        "--make-key-file", metavar="FILE", help="write a new key into FILE first, and encrypt with that"
    )
    parser = add_verb(verbs, "verify-backup", verify, "Check a backup against its checksums", path=False)
    parser.add_argument("target", metavar="TARGET", help="the backup, or the directory of the chain")
    parser.add_argument(
        "--restore",
        action="store_true",
        help="restore it into a scratch folder, check that, count its rows, and remove it again",
    )
    parser.add_argument("--scratch", metavar="DIR", help="where the scratch folder goes")
    add_key_arguments(parser)
    parser = add_verb(verbs, "restore", restore, "Restore a backup into a new directory", path=False)
    parser.add_argument("target", metavar="TARGET", help="the backup")
    parser.add_argument("path", metavar="PATH", help="the new directory")
    add_point_arguments(parser)
    parser.add_argument("--preview", action="store_true", help="only say what would be restored")
    parser.add_argument(
        "--accept-incomplete", action="store_true", help="restore an emergency backup with what it lacks"
    )
    add_key_arguments(parser)


def backup(args: argparse.Namespace, out: Output) -> int:
    """`backup PATH TARGET`"""
    if args.emergency:
        return _emergency(args, out)
    if args.bytes_per_second < 0:
        raise InvalidArgument(argument="--bytes-per-second", issue="it cannot be negative")
    key = key_from(args, is_new=not args.incremental)
    with open_existing(args.path, out) as database:
        backups = database.backups
        task = backups.increment_task if args.incremental else backups.full_task
        info = out.follow(task(args.target, bytes_per_second=args.bytes_per_second, key=key))
    lines = [f"{_described(info)}, checked against its manifest.", info.path]
    if info.resumed_pages:
        lines.append(
            f"{counted(info.resumed_pages, 'page was', 'pages were')} there from an attempt that was cut off."
        )
    out.result({"backup": asdict(info)}, lines)
    return FINE


def _emergency(args: argparse.Namespace, out: Output) -> int:
    if args.incremental:
        raise InvalidArgument(argument="--emergency", issue="an emergency backup is no increment")
    key = key_from(args, is_new=True)
    found = out.follow(emergency_task(directory_of(args.path), args.target, key=key))
    how = "as they are, encrypted" if found.encryption else "as they are"
    out.result(
        {"emergency": asdict(found), "complete": not found.missing},
        [
            f"Emergency backup of {counted(len(found.files), 'file')} ({format_size(found.bytes)}), {how}.",
            *(found.missing or ("Everything could be read.",)),
            found.path,
        ],
    )
    return PROBLEMS if found.missing else FINE


def verify(args: argparse.Namespace, out: Output) -> int:
    """`verify-backup TARGET`"""
    try:
        if is_emergency(args.target):
            found = out.follow(verify_emergency_task(args.target, key_from(args)))
            whole = counted(len(found.files), "file of it is as it was", "files of it are as they were")
            lines = [f"{whole} written.", *found.missing]
            out.result({"ok": True, "emergency": asdict(found), "complete": not found.missing}, lines)
            return FINE
        if args.restore:
            return _rehearsed(
                out.follow(rehearse_task(args.target, scratch=args.scratch, key=key_from(args))), out
            )
        info = out.follow(checksum_task(args.target, key_from(args)))
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
        f"{found.path} was restored into a scratch folder, opened and checked: "
        f"{counted(found.pages, 'page')}.",
        f"It holds {counted(found.counted.total, 'row')} in "
        f"{counted(places, 'table or tree', 'tables and trees')}"
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
    if is_emergency(args.target):
        return _restore_emergency(args, out)
    point = point_of(args, args.target)
    key = key_from(args)
    if args.preview:
        reached = out.follow(preview_task(args.target, point or AT_BACKUP, args.log, key=key))
        out.result({"restored": False, **reached_value(reached)}, reached_lines(reached))
        return FINE
    if point is None:
        result, extra, lines = out.follow(restore_task(args.target, args.path, key=key)), {}, []
    else:
        result, reached = out.follow(restore_point_task(args.target, args.path, point, args.log, key=key))
        extra, lines = reached_value(reached), reached_lines(reached)
    value = {
        "restored": True,
        "path": str(result.path),
        "source": str(result.source),
        "pages": result.pages,
        "bytes": result.bytes,
        **extra,
        "end_lsn": result.end_lsn,
        "recovery": result.recovery.to_json(),
    }
    lines = [
        f"Restored {counted(result.pages, 'page')} ({format_size(result.bytes)}) from {result.source}.",
        *lines,
        f"{result.path} is in the state that was committed at LSN {result.end_lsn}, and was checked in full.",
    ]
    out.result(value, lines)
    return FINE


def _restore_emergency(args: argparse.Namespace, out: Output) -> int:
    is_accepted = args.accept_incomplete
    # What it lacks is told first: nobody types a passphrase to be asked something else then.
    key = key_from(args) if is_accepted else None
    task = restore_emergency_task(args.target, args.path, accept_incomplete=is_accepted, key=key)
    done = out.follow(task)
    value = {
        "restored": True,
        "path": str(done.path),
        "source": done.source.path,
        "recovered": done.problem is None,
        "end_lsn": done.end_lsn,
        "missing": list(done.source.missing),
        "error": None if done.problem is None else done.problem.to_dict(),
    }
    lines = [f"{done.path} holds the files of {done.source.path}.", *done.source.missing]
    if done.problem is None:
        out.result(value, [*lines, "It was recovered and checked in full."])
        return FINE
    lines.append("It could not be recovered as it is: open it in Holdfast, or see its other ways out:")
    out.result(value, [*lines, f"holdfast recover {done.path} --rehearse"])
    if not out.as_json:
        out.card(done.problem)
    return PROBLEMS


def _described(info: BackupInfo) -> str:
    kind = f"Increment to {info.parent}" if info.parent else "Backup"
    return f"{kind} of {counted(info.pages, 'page')} ({format_size(info.bytes)}) up to LSN {info.end_lsn}"
