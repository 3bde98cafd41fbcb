"""A second program at the same database: the command line, which must be told that it is in use.

While the writer lives, `info` has to say so and `checkpoint` has to be refused. Once the writer was
killed, `info` says that a recovery is needed, and `checkpoint` recovers the database and closes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.victim import ROOT

VERBS = ("info", "checkpoint")

_TIMEOUT_S = 90


class Visitor:
    """One command on a thread of its own; `problem` says what was wrong with its answer."""

    def __init__(self, verb: str, path: Path, writer_lives: Callable[[], bool]) -> None:
        self._command = [sys.executable, "-m", "engine.cli", verb, str(path), "--json"]
        self.verb, self._writer_lives = verb, writer_lives
        self._problem: str | None = None
        self.was_refused = False
        self._thread = threading.Thread(target=self._run, name="holdfast-crash-visitor", daemon=True)
        self._thread.start()

    def problem(self) -> str | None:
        """What was wrong with the answer, once it is there; None where it was right."""
        self._thread.join()
        return self._problem

    def _run(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                self._command,
                capture_output=True,
                text=True,
                env=environment,
                timeout=_TIMEOUT_S,
                check=False,
            )
            # Alive after the answer means alive when it was given.
            self._problem = self._judge(done, self._writer_lives())
        except (subprocess.TimeoutExpired, ValueError) as error:
            self._problem = f"{self.verb}: {error}"

    def _judge(self, done: subprocess.CompletedProcess[str], lives: bool) -> str | None:
        answer = json.loads(done.stdout) if done.stdout else {}
        self.was_refused = answer_says_in_use(self.verb, answer)
        if self.was_refused or (not lives and _is_right_after_the_end(self.verb, done.returncode, answer)):
            return None
        state = "alive" if lives else "dead"
        return f"{self.verb}, the writer {state}: status {done.returncode}, {done.stdout}{done.stderr}"


def answer_says_in_use(verb: str, answer: dict[str, Any]) -> bool:
    """True where the answer is that another program has the database open."""
    if verb == "info":
        return bool(answer.get("state") == "open_elsewhere")
    return bool(answer.get("error", {}).get("name") == "DatabaseOpenElsewhere")


def _is_right_after_the_end(verb: str, status: int, answer: dict[str, Any]) -> bool:
    if verb == "info":
        return status == 0 and answer.get("state") in ("needs_recovery", "clean")
    return status == 0 and "checkpoint" in answer
