"""Starts the process that is killed, hears what it acknowledged, kills it, and checks after."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from gui.tour.victim import TREE, UNFINISHED_ROWS, key, unfinished_key

ROOT = Path(__file__).parents[2]


class Victim:
    """A child process at work on a database. Its acknowledgements are read on a thread."""

    def __init__(self, path: Path) -> None:
        modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = dict(os.environ, PYTHONPATH=modules)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gui.tour.victim", str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.acknowledged: list[tuple[int, int]] = []
        self.has_unfinished = False
        self._reader = threading.Thread(target=self._read, name="holdfast-tour-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None and not self._reader.is_alive()

    def kill(self) -> None:
        """End it without a warning: SIGKILL, or TerminateProcess. It gets to do nothing more."""
        self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "unfinished":
                self.has_unfinished = True
            elif line.endswith("\n"):
                thread, number = line.split()
                self.acknowledged.append((int(thread), int(number)))
        self._process.stdout.close()


def verdict(database: Any, acknowledged: list[tuple[int, int]]) -> tuple[int, int]:
    """How many acknowledged commits are missing, and how many rows of the unfinished one remain."""
    with database.transaction() as txn:
        tree = txn.tree(TREE)
        missing = sum(key(thread, number) not in tree for thread, number in acknowledged)
        remains = sum(unfinished_key(number) in tree for number in range(UNFINISHED_ROWS))
    return missing, remains
