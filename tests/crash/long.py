"""Transactions of millions of changes, against the limits of their memory and of a short rollback.

The work is an example of the kernel (`engine/kernel/examples/long.rs`): one transaction commits, one is
rolled back, one is cut off by the end of the process and undone by the recovery.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.seeds import KERNEL

MOST_MEMORY_MIB = 64
"""What a transaction may take beyond the cache, however many changes it makes."""
MOST_UNDO_MS = 10.0
"""For 1,000 changes."""
_MEMORY = re.compile(r"^(.+?) +[\d.]+ s +\d+ changes/s, +(-?\d+) MiB beyond the cache$", re.MULTILINE)
_UNDONE = re.compile(r"^(1,000 changes undone, .+): ([\d.]+) ms$", re.MULTILINE)
_PROBLEMS = re.compile(r"^problems: \[(.*)\]$", re.MULTILINE)
_EXPECTED = {"a transaction that commits", "its rollback", "undo"}


class LongBroken(Exception):
    """The work could not be built or run, or its output is not understood."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, and what it must not exceed."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def is_right(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.is_right else "  TOO MUCH"
        return f"{self.name}: {self.value:g} {self.unit} (limit {self.limit:g}){verdict}"


def understand(output: str) -> list[Figure]:
    """The figures with a limit. Raises `LongBroken` where one is missing, or the database is not whole."""
    taken = _MEMORY.findall(output)
    undone = _UNDONE.findall(output)
    if not {name for name, _ in taken} >= _EXPECTED or not undone or _PROBLEMS.findall(output) != [""]:
        raise LongBroken(f"output that is not understood, or a database with problems:\n{output}")
    memory = (Figure(f"memory of {name}", float(mib), MOST_MEMORY_MIB, "MiB") for name, mib in taken)
    return [*memory, *(Figure(name, float(ms), MOST_UNDO_MS, "ms") for name, ms in undone)]


def run(changes: int, tell: Callable[[str], object]) -> int:
    """Play it in a directory of its own; the exit status says whether every limit holds."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-long-"))
    try:
        output = "".join(_played(directory / "long.holdfast", ("work", str(changes)), ("recover",)))
        figures = understand(output)
    except LongBroken as broken:
        tell(str(broken))
        return 3
    finally:
        shutil.rmtree(directory)
    tell(output)
    for figure in figures:
        tell(str(figure))
    return 0 if all(figure.is_right for figure in figures) else 1


def _played(database: Path, *calls: tuple[str, ...]) -> Iterable[str]:
    command = [
        "cargo",
        "run",
        "--locked",
        "--quiet",
        "--release",
        "--no-default-features",
        "--example",
        "long",
    ]
    for call in calls:
        database.mkdir(exist_ok=True)
        arguments = [*command, "--", str(database), *call]
        done = subprocess.run(arguments, cwd=KERNEL, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise LongBroken(f"{' '.join(call)} ended with {done.returncode}:\n{done.stdout}")
        yield done.stdout
