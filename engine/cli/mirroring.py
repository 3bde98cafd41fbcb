"""The verb about mirrors: mirror PATH add|remove|status|verify|mend|fail-over|fail-back and, for a former
primary that went on alone, compare|rescue|renew."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.cli import former
from engine.cli.opening import add_verb, open_existing
from engine.cli.output import FINE, PROBLEMS, Output
from engine.errors import HoldfastError, InvalidArgument
from engine.mirrors import outlook as looking
from engine.mirrors.failover import FailOver, fail_over_task
from engine.mirrors.outlook import Proof, known_mirrors, verify_task
from engine.mirrors.register import Heir, heirs
from engine.opening import directory_of
from engine.tasks import Task
from engine.types import MirrorOutlook
from engine.units import counted, format_size

ACTIONS = (
    *("status", "add", "remove", "verify", "mend", "fail-over", "fail-back"),
    *("compare", "rescue", "renew"),
)


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verb."""
    parser = add_verb(verbs, "mirror", mirror, "Keep a second directory up to date, or let it take over")
    parser.add_argument(
        "action",
        choices=ACTIONS,
        metavar="ACTION",
        help=f"{', '.join(ACTIONS)}. A former primary that went on alone: compare tells what only it holds, "
        "rescue brings tables of it over, renew gives up what it holds and makes it a mirror anew",
    )
    parser.add_argument("mirror", nargs="?", metavar="MIRROR", help="the directory of the mirror")
    parser.add_argument(
        "--synchronous", action="store_true", help="add: commits wait until the mirror has them"
    )
    parser.add_argument("--remove-files", action="store_true", help="remove: its files go too")
    parser.add_argument(
        "--preview",
        action="store_true",
        help="fail-over: only say what may be lost; rescue: only count what would be written",
    )
    parser.add_argument(
        "--accept-cut",
        action="store_true",
        help="fail-over: also where the end of the mirror's log is damaged; what lies beyond is lost",
    )
    parser.add_argument(
        "--scratch", metavar="DIR", help="verify, compare, rescue, renew: where the scratch folder goes"
    )
    former.add_arguments(parser)


def mirror(args: argparse.Namespace, out: Output) -> int:
    """`mirror PATH ACTION [MIRROR]`"""
    if args.action == "status":
        return _status(args, out)
    if args.mirror is None and args.action == "fail-over":
        args.mirror = _only_heir(directory_of(args.path))
    if args.mirror is None:
        raise InvalidArgument(argument="MIRROR", issue=f"{args.action} needs the directory of a mirror")
    work = {
        "add": _add,
        "remove": _remove,
        "verify": _verify,
        "mend": _mend,
        "fail-over": _fail_over,
        "fail-back": _fail_back,
        "compare": former.compare,
        "rescue": former.rescue,
        "renew": former.renew,
    }
    return work[args.action](args, out)


def _status(args: argparse.Namespace, out: Output) -> int:
    """Looks at the directories; opens nothing, so that it works beside whoever has the database open."""
    path = directory_of(args.path)
    if not (path / "control").is_file():
        return _tell_heirs(path, heirs(path), out)
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    for place, synchronous in known_mirrors(path):
        value: dict[str, Any] = {"path": str(place), "synchronous": synchronous}
        try:
            seen = looking.outlook(place, path)
        except HoldfastError as error:
            found.append({**value, "error": error.to_dict()})
            lines.append(f"{place}: {error.message}")
        else:
            found.append({**value, "outlook": asdict(seen)})
            lines.append(f"{place}: {_words(seen)}")
    out.result({"mirrors": found}, lines or ["No mirror is kept of this database."])
    return PROBLEMS if any("error" in value for value in found) else FINE


def _only_heir(path: Path) -> str | None:
    """The mirror that can take over, where it is the only one that is known."""
    able = [heir for heir in heirs(path) if heir.outlook is not None]
    return str(able[0].path) if len(able) == 1 else None


def _tell_heirs(path: Path, found: tuple[Heir, ...], out: Output) -> int:
    """The database is gone: what can take its place, and how."""
    lines = [f"There is no database at {path}."]
    lines += [f"{heir.path}: {_heir_words(heir)}" for heir in found]
    able = [heir for heir in found if heir.outlook is not None]
    if able:
        lines.append(f"Let one take over: holdfast mirror {path} fail-over {able[0].path}")
    elif not any(heir.has_taken_over for heir in found):
        lines.append("No mirror of it that could take its place is known here, or lies beside it.")
    listed = [{**asdict(heir), "path": str(heir.path)} for heir in found]
    out.result({"lost": str(path), "heirs": listed}, lines)
    return PROBLEMS


def _heir_words(heir: Heir) -> str:
    if heir.has_taken_over:
        return "It has taken over already: open it."
    return _words(heir.outlook) if heir.outlook is not None else f"It cannot take over: {heir.reason}."


def _words(seen: MirrorOutlook) -> str:
    if seen.lost_bytes is None:
        lack = "what it lacks cannot be told: the database cannot be read"
    elif seen.lost_bytes:
        lack = f"it lacks {counted(seen.lost_commits or 0, 'commit')}, {format_size(seen.lost_bytes)} of log"
    else:
        lack = "it has everything"
    until = ""
    if seen.last_commit_at:
        moment = f"{datetime.fromtimestamp(seen.last_commit_at):%Y-%m-%d %H:%M:%S}"
        until = f" Its last commit is of {moment}; it ends at LSN {seen.end_lsn}."
    broken = f" The end of its log is damaged: {seen.broken}." if seen.broken else ""
    return f"{lack[0].upper()}{lack[1:]}.{until}{broken}"


def _add(args: argparse.Namespace, out: Output) -> int:
    with open_existing(args.path, out) as database:
        database.mirrors.add(args.mirror, synchronous=args.synchronous)
        info = out.follow(database.mirrors.level_task(args.mirror))
    kind = "a synchronous" if info.synchronous else "an asynchronous"
    out.result(
        {"mirror": asdict(info)},
        [f"{info.path} is {kind} mirror: it has everything up to LSN {info.shipped_lsn}."],
    )
    return FINE


def _remove(args: argparse.Namespace, out: Output) -> int:
    place = Path(args.mirror).expanduser().absolute()
    with open_existing(args.path, out) as database:
        database.mirrors.remove(place, remove_files=args.remove_files)
    out.result({"removed": str(place)}, [f"{place} is no mirror any more."])
    return FINE


def _verify(args: argparse.Namespace, out: Output) -> int:
    proof: Proof = out.follow(verify_task(args.mirror, args.scratch))
    lines = [f"{proof.path} was recovered beside itself and checked: {counted(proof.pages, 'page')}."]
    if proof.ok:
        lines.append("It is whole, and could take over.")
    else:
        lines = lines if proof.pages else []
        lines += [f"It is damaged: {problem}." for problem in proof.problems]
        lines.append(f'From the database it is made whole: holdfast mirror "{args.path}" mend "{proof.path}"')
    out.result({"ok": proof.ok, "proof": {**asdict(proof), "path": str(proof.path)}}, lines)
    return FINE if proof.ok else PROBLEMS


def _mend(args: argparse.Namespace, out: Output) -> int:
    """Damaged pages of the mirror are replaced by those of the database, which keeps it meanwhile."""
    with open_existing(args.path, out) as database:
        out.follow(database.mirrors.level_task(args.mirror))
        mended = out.follow(database.mirrors.mend_task(args.mirror))
        info = database.mirrors.find(args.mirror)
    words = [
        f"{counted(mended, 'damaged page was', 'damaged pages were')} replaced."
        if mended
        else "Every page of it is whole."
    ]
    if info.log_mended:
        words.append(f"{format_size(info.log_mended)} of its log were damaged, and were replaced.")
    if info.copies:
        words.append("Its log was damaged where it is kept nowhere any more: it got a new copy.")
    place = str(Path(args.mirror).expanduser().absolute())
    value = {"mirror": place, "mended": mended, "log_mended": info.log_mended, "copies": info.copies}
    out.result(value, words)
    return FINE


def _fail_over(args: argparse.Namespace, out: Output) -> int:
    path = directory_of(args.path)
    seen = looking.outlook(Path(args.mirror).expanduser().absolute(), path)
    if args.preview:
        out.result({"outlook": asdict(seen)}, [_words(seen)])
        return FINE
    out.note(_words(seen))
    return _told(out.follow(fail_over_task(args.mirror, path, accept_cut=args.accept_cut)), out)


def _told(done: FailOver, out: Output) -> int:
    value = {
        "path": str(done.path),
        "former": None if done.former is None else str(done.former),
        "outlook": asdict(done.outlook),
        "seconds": done.seconds,
    }
    lines = [
        f"{done.path} has taken over, in {done.seconds:.1f} s. Open it from now on.",
        f"{done.former} can be its mirror, and take the place back." if done.former else "",
    ]
    out.result({"fail_over": value}, [line for line in lines if line])
    return FINE


def _fail_back(args: argparse.Namespace, out: Output) -> int:
    """The former primary catches up as a mirror, then takes its place back: nothing is lost."""

    def work(task: Task[FailOver]) -> FailOver:
        database = open_existing(args.path, out)
        try:
            former.ensure_kept(database, args.mirror)
            return task.carry(database.mirrors.fail_over_task(args.mirror))
        finally:
            database.close()

    return _told(out.follow(Task("Fail back", work)), out)
