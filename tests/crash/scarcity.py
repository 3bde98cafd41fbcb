"""Memory runs out in the middle of everything: a process with too few addresses works, or is told -27.

A run makes a database with long values, lets a `tests.crash.pauper` work at it with so much memory to
spare, and holds what is there afterwards against what was acknowledged. A process that ends by itself,
an error other than those of a system without memory, a lost commit and a check with problems are wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import engine
from tests.crash.pauper import OPENINGS, TREE, WORKS, key_of, value_of
from tests.crash.victim import Victim

MISSING = "no such limit" if os.name == "nt" else ""
MIB = 1 << 20
EVERY = (*WORKS, *OPENINGS)
_MOST_SPARE = 64 * MIB
_TOLD = {0, -27}
"""What a piece of work may end with: success, or that there is no memory."""
_BEHIND = _TOLD | {-12, -70, -72, -74}
"""What a close, or a recovery, may end with where memory ran out before or within it."""
_VALUE = 4 * MIB
_SMALLEST = 64 << 10


class Scarce(Exception):
    """Something else came of it than may come of too little memory."""


@dataclass(slots=True)
class Outcome:
    """What runs came to: by piece of work, how many were done and how many were told of the memory."""

    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    commits: int = 0


def run(folder: Path, work: str, spare_bytes: int, outcome: Outcome) -> None:
    """One piece of work on a database of its own in `folder`. Raises `Scarce`, and leaves it there then."""
    path = folder / "scarce.holdfast"
    committed = _prepare(path, work)
    orders = {"work": work, "spare_bytes": spare_bytes, "value_bytes": _VALUE}
    log = folder / "processes.log"
    told, has_ended = f"{work}, {spare_bytes} bytes to spare", False
    # Each thread's arena of the C library would take 64 MB of addresses, and none of memory.
    with Victim("tests.crash.pauper", [str(path), json.dumps(orders)], log, MALLOC_ARENA_MAX="1") as pauper:
        for kind, *facts in pauper.messages():
            has_ended |= kind == "ended"
            if kind == "committed":
                committed = facts[0] + 1
                outcome.commits += 1
            elif kind == "wrong":
                raise Scarce(f"{told}: {facts[0]}")
            elif kind == "did":
                name, code = facts
                allowed = _BEHIND if name == "close" or work in OPENINGS else _TOLD
                if code not in allowed:
                    raise Scarce(f"{told}: {name} ended with {code}")
                if name == work:
                    (outcome.refused if code else outcome.done)[work] += 1
    if not has_ended:
        said = log.read_text(encoding="utf-8", errors="replace")[-500:]
        raise Scarce(f"{told}: the process ended by itself, with status {pauper.status}: {said}")
    _verify(path, committed, told)
    shutil.rmtree(folder)


def _prepare(path: Path, work: str) -> int:
    """A database with two long values; with log to be recovered where the work is that."""
    with engine.open(path) as database:
        with database.transaction() as txn:
            for number in range(2):
                txn.tree(TREE)[key_of(number)] = value_of(number, _VALUE)
        if work == "restore":
            database.backups.full_task(path.parent / "backups").run()
    if work in WORKS or work == "restore":
        return 2
    orders = json.dumps({"work": "put", "spare_bytes": 1 << 40, "value_bytes": _VALUE})
    committed = 2
    with Victim("tests.crash.pauper", [str(path), orders], path.parent / "processes.log") as pauper:
        for kind, *facts in pauper.messages():
            if kind == "committed":
                committed = facts[0] + 1
                pauper.kill_after(0)
    return committed


def _verify(path: Path, committed: int, told: str) -> None:
    """What was acknowledged is there, whole, and nothing else."""
    with engine.open(path, create=False) as database:
        if not database.check().ok:
            raise Scarce(f"{told}: a check finds problems")
        with database.transaction(read_only=True) as txn:
            tree = txn.tree(TREE, create=False)
            found = len(tree)
            # Commits may have been made that nobody was told of any more.
            if not committed <= found <= 5:
                raise Scarce(f"{told}: {committed} commits were acknowledged, {found} are there")
            for number in range(found):
                if tree[key_of(number)] != value_of(number, _VALUE):
                    raise Scarce(f"{told}: value {number} is another one")


def campaign(folder: Path, rounds: int, seed: int, tell: Callable[[str], object]) -> Outcome:
    """So many runs of every piece of work, with amounts to spare that the seed draws. Raises `Scarce`."""
    dice, outcome = random.Random(seed), Outcome()
    for number in range(rounds):
        for work in EVERY:
            # Small amounts are where it hurts: as many below a MiB as above.
            spare = int(_SMALLEST * (_MOST_SPARE / _SMALLEST) ** dice.random())
            own = folder / f"{number} {work}"
            own.mkdir(parents=True)
            run(own, work, spare, outcome)
        done, refused = outcome.done.total(), outcome.refused.total()
        tell(f"{number + 1:>5} rounds: {done} pieces of work were done, {refused} told of the memory")
    return outcome
