"""The verb alerts: what somebody has to be told of, and the answers to it."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.alerts import rules
from engine.alerts.alert import Alert, AlertState, AlertType, Condition
from engine.alerts.board import Board
from engine.alerts.channels import LogFile, Router, log_file
from engine.alerts.escalation import Policy
from engine.alerts.service import Alerts, silence, this_account
from engine.cli.opening import add_verb, open_for_reading, seconds_argument
from engine.cli.output import FINE, PROBLEMS, Output
from engine.config import Config, load
from engine.errors import HoldfastError, InvalidArgument
from engine.opening import directory_of, inspect
from engine.recovery import history
from engine.types import DatabaseInfo, DatabaseState
from engine.units import counted, format_duration, format_moment

_ACTIONS = ("list", "acknowledge", "silence")
_INDENT = "      "


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verb of this group."""
    parser = add_verb(verbs, "alerts", alerts, "List what somebody has to be told of, or answer it")
    parser.epilog = "Exit status 1 while an alert is open that nobody has acknowledged or silenced."
    parser.add_argument(
        "action", nargs="?", choices=_ACTIONS, default="list", metavar="ACTION", help=", ".join(_ACTIONS)
    )
    types = ", ".join(kind.value for kind in AlertType)
    parser.add_argument(
        "which", nargs="?", metavar="ID", help=f"the number of an alert; silence: or all of a type: {types}"
    )
    parser.add_argument(
        "--for", dest="seconds", type=seconds_argument, metavar="TIME", help='silence: how long, like "2 h"'
    )
    parser.add_argument("--cleared", action="store_true", help="list those that are over instead")


def alerts(args: argparse.Namespace, out: Output) -> int:
    """`alerts PATH [list | acknowledge ID | silence ID|TYPE --for TIME] [--cleared]`"""
    if args.action == "list":
        return _list(args, out)
    if args.which is None:
        raise InvalidArgument(argument="ID", issue=f"{args.action} needs the number of an alert")
    board = Board(Path(inspect(args.path).path))
    if args.action == "acknowledge":
        answered = board.acknowledge(_number(args.which), this_account())
        words = f"Alert {answered.id} is acknowledged by {answered.acknowledged_by}."
        out.result({"acknowledged": _told(board, answered)}, [words])
        return FINE
    if args.seconds is None:
        raise InvalidArgument(argument="--for", issue='silence needs a time, like "2 h"; 0 ends a silence')
    made = silence(board, int(args.which) if args.which.isdigit() else args.which, args.seconds)
    name = f"Alert {made.id}" if isinstance(made, Alert) else f"The type {made.type.value}"
    until = (made.silenced_until if isinstance(made, Alert) else made.until) if args.seconds else None
    words = "silent no more" if until is None else f"silent until {format_moment(until)}"
    out.result({"silenced": args.which, "until": until}, [f"{name} is {words}."])
    return FINE


def _list(args: argparse.Namespace, out: Output) -> int:
    found = inspect(args.path)
    note = ""
    if found.state is DatabaseState.CLEAN:
        board = _looked(args.path, out)
    else:
        board, note = _from_outside(found)
    shown = board.alerts(cleared=args.cleared)
    notes = [text for text in (note, board.history.note) if text]
    value = {
        "alerts": [_told(board, alert) for alert in shown],
        "silences": [{"type": s.type.value, "since": s.since, "until": s.until} for s in board.silences()],
        "notes": notes,
    }
    lines = [line for alert in shown for line in _lines(board, alert)]
    lines = lines or ["None." if args.cleared else "No alert is open."]
    out.result(value, [*lines, *(f"The type {s.type.value} is silent." for s in board.silences()), *notes])
    is_unanswered = any(board.state(alert) is AlertState.OPEN for alert in shown)
    return PROBLEMS if is_unanswered else FINE


def _looked(path: str, out: Output) -> Board:
    """The board after a look at a database that nobody else has open. Nothing else in it changes."""
    with open_for_reading(path, out) as database, closing(Alerts(database, may_write=True)) as service:
        database.keeper.look()
        service.look()
        return service.board


def _from_outside(found: DatabaseInfo) -> tuple[Board, str]:
    """The board of a database that is not to be opened here, with a word on why."""
    directory = directory_of(found.path)
    try:
        config = load(directory)
    except HoldfastError:
        config = Config()
    if found.state is DatabaseState.OPEN_ELSEWHERE:
        note = f"It is open in another program ({found.holder}), which looks after its alerts."
        return Board(directory), note
    with closing(Router([LogFile(log_file(directory, config), directory)])) as router:
        board = Board(
            directory, policy=lambda: Policy.of(config), tell=lambda news: router.tell(news, config)
        )
        board.see(_failed_recoveries(directory), lambda rule: rule == rules.FAILED_RECOVERY)
    return board, "It was not opened to look: it needs recovery, or cannot be read."


def _failed_recoveries(directory: Path) -> list[Condition]:
    """The last recovery, where it failed."""
    last = next(iter(history.read(directory).entries), None)
    if last is None or last.outcome != "failed":
        return []
    error = last.report.get("error") or {}
    code = error.get("code")
    return [
        rules.failed_recovery(
            str(error.get("message") or "the reason was not noted"),
            str(error.get("suggested_action") or ""),
            code if isinstance(code, int) else None,
        )
    ]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidArgument(argument="ID", issue=f"{text!r} is not the number of an alert")
    return int(text)


def _told(board: Board, alert: Alert) -> dict[str, Any]:
    return {**alert.to_json(alert.last_seen_at), "state": board.state(alert).value}


def _lines(board: Board, alert: Alert) -> list[str]:
    state = board.state(alert)
    words = state.value
    if state is AlertState.ACKNOWLEDGED:
        words = f"acknowledged by {alert.acknowledged_by}"
    elif state is AlertState.OPEN and alert.level:
        words = f"open, escalated to level {alert.level} after {format_duration(alert.waited_s)}"
    elif alert.cleared_at is not None:
        words = f"cleared {format_moment(alert.cleared_at)}"
    times = f", {counted(alert.count, 'time')}" if alert.count > 1 else ""
    head = f"{alert.id:>4}  {alert.severity.value}  {alert.component}: {words}"
    about = f"since {format_moment(alert.raised_at)}{times}; {alert.type.value}, impact {alert.impact.value}"
    code = f" ({alert.code})" if alert.code is not None else ""
    lines = [head, f"{_INDENT}{alert.summary}{code}", f"{_INDENT}{about}"]
    if alert.is_open:
        lines.append(f"{_INDENT}To do: {alert.recommended_action}")
        lines += [f"{_INDENT}Runbook: {alert.runbook}"] if alert.runbook else []
    return lines
