"""The command `holdfast`: verbs for scripts, and the way into the interface.

Exit status: 0 fine; 1 the check found problems; 2 wrong usage; 3 an error. An error is told
by its card on standard error, or as an object with `--json`; nobody ever sees a traceback.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from logging.handlers import RotatingFileHandler
from pathlib import Path

import platformdirs

from engine.cli.interface import open_interface
from engine.cli.output import ERROR, FINE, Output
from engine.errors import HoldfastError, from_exception

GROUPS = (
    "databases",
    "records",
    "transfers",
    "recovering",
    "repairing",
    "findings",
    "backing_up",
    "mirroring",
    "past",
    "snapshotting",
    "alerting",
)

# Run as a program, this module is called __main__, which the log file would not take.
_log = logging.getLogger("engine.cli")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status. Wrong usage ends the process with status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    out = Output("--json" in arguments)
    _prepare_streams()
    _log_to_file()
    try:
        if _is_for_interface(arguments):
            return open_interface(arguments)
        args = _parser().parse_args(arguments)
        status: int = args.run(args, out)
        return status
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except HoldfastError as error:
        out.failure(error)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, Exception):
            _log.exception("the command failed")
        out.failure(from_exception(error, "The command" if isinstance(error, KeyboardInterrupt) else ""))
    return ERROR


def _is_for_interface(arguments: list[str]) -> bool:
    """No verb; a path instead of one; or the verb that only the interface has."""
    if not arguments or arguments[0] == "tour":
        return True
    first = arguments[0]
    if first.startswith("-"):
        return False
    looks_like_path = os.sep in first or first.endswith(".holdfast") or Path(first).is_dir()
    return looks_like_path and len(arguments) == 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="A database manager that owns its engine. Without a verb it opens its window.",
        epilog="Exit status: 0 fine; 1 the check found problems; 2 wrong usage; 3 an error.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for group in GROUPS:
        # Here, so that a kernel that is missing is told like any other error.
        import_module(f"engine.cli.{group}").add(verbs)
    verbs.add_parser("tour", help="Let the window show the main job, with a picture of each step")
    return parser


def _prepare_streams() -> None:
    """Print any text on any terminal: what its encoding lacks is shown escaped."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _log_to_file() -> None:
    """Send the program's log to a file, or nowhere: the terminal is for results and cards."""
    handler: logging.Handler
    try:
        directory = platformdirs.user_log_path("holdfast", appauthor=False)
        directory.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            directory / "command.log", maxBytes=1 << 20, backupCount=2, encoding="utf-8", delay=True
        )
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    except OSError:
        handler = logging.NullHandler()
    logger = logging.getLogger("engine")
    if not logger.handlers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False


if __name__ == "__main__":
    sys.exit(main())
