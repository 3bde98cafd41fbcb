"""Databases for tests: fresh ones, and ones whose writer was killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.config import Config
from engine.database import Database

ROOT = Path(engine.__file__).resolve().parent.parent

# Small, so that a test has several segments and a cache that evicts.
SMALL = {"segment_size": "1 MiB", "cache_size": "1 MiB", "log_buffer": "1 MiB", "lock_timeout": "5 s"}

KILLED_WRITER = """
    import os, sys, time
    import engine

    db = engine.open(sys.argv[1])
    for number in range(int(sys.argv[2])):
        with db.transaction() as txn:
            tree = txn.tree("t")
            for part in range(5):
                tree[b"%06d-%d" % (number, part)] = b"v" * 200 + b"%d" % number
    open_one = db.begin()
    for number in range(300):
        open_one.tree("t")[b"unfinished-%06d" % number] = b"x" * 100
    # A commit takes the changes of the open one to the disk with it.
    with db.transaction() as txn:
        txn.tree("other")[b"last"] = b"commit"
    print("ready", flush=True)
    time.sleep(600)
"""


_MANY_OF_ONE = re.compile(
    r"(?<![\d.,])1 ([a-z]+ )?(pages|rows|commits|entries|records|problems|tables|trees|files|segments|backups"
    r"|transactions|changes|snapshots|findings|indexes|bytes|increments|items|mirrors|threads)\b"
)


@pytest.fixture(autouse=True)
def no_verb_says_one_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a verb of the command line prints in a test counts right: "1 page", never "1 pages"."""
    output = sys.modules.get("engine.cli.output")
    if output is None:
        return
    result, note = output.Output.result, output.Output.note

    def checked_result(self: Any, value: Any, lines: Iterable[str]) -> None:
        told = list(lines)
        wrong = [line for line in told if _MANY_OF_ONE.search(line)]
        assert not wrong, wrong
        result(self, value, told)

    def checked_note(self: Any, text: str) -> None:
        assert not _MANY_OF_ONE.search(text), text
        note(self, text)

    monkeypatch.setattr(output.Output, "result", checked_result)
    monkeypatch.setattr(output.Output, "note", checked_note)


@pytest.fixture
def config() -> Config:
    """Settings that make small databases behave like large ones."""
    return Config().changed(**SMALL)


@pytest.fixture
def database(tmp_path: Path, config: Config) -> Iterator[Database]:
    """A fresh database, closed afterwards, and sound to the end."""
    with engine.open(tmp_path / "fresh.holdfast", config=config) as opened:
        yield opened
        if not opened.is_closed:
            report = opened.check()
            assert report.ok, report.problems


@pytest.fixture
def crashed(tmp_path: Path) -> Callable[..., Path]:
    """Makes a database whose writer was killed: `crashed(commits=50)` gives its path.

    It holds `commits` times five records in the tree "t", one in "other", and 300 changes of a
    transaction that never ended.
    """

    def make(commits: int = 50) -> Path:
        path = tmp_path / f"crashed-{commits}.holdfast"
        run_until_killed(KILLED_WRITER, str(path), str(commits))
        return path

    return make


@pytest.fixture
def until_killed() -> Callable[..., None]:
    """`run_until_killed`, for tests that bring a program of their own."""
    return run_until_killed


def run_until_killed(program: str, *arguments: str) -> None:
    """Run a Python program until it prints a line, then kill it at once."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
        child.wait()
    assert line == "ready\n"
