"""Records real recoveries: `python -m tests.crash.recording tests/data/recovery_runs.json`.

Each is a database whose writer was killed, recovered on the machine this runs on, with what its progress
told each 0.1 s. The time left that a recovery tells is judged by these runs (`test_recovery_estimate.py`).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from engine.recovery import execution
from engine.recovery.estimate import Estimator, Work
from engine.recovery.manager import RecoveryManager

_EVERY_S = 0.1
_VALUE_BYTES = 200
_BATCH = 1000

_WRITER = """
import json, random, sys, engine
from engine.config import Config
rows, spread, redone, losers = json.loads(sys.argv[2])
settings = Config().changed(checkpoint_interval="1 h", checkpoint_log_volume="16 GiB")
database = engine.open(sys.argv[1], config=settings)
chance = random.Random(5)
for first in range(0, rows, BATCH):
    if rows - first == redone:
        database.checkpoint()
    with database.transaction() as txn:
        tree = txn.tree("t")
        for _ in range(BATCH):
            tree[b"%012d" % chance.randrange(spread)] = chance.randbytes(VALUE)
loser = database.begin()
for n in range(losers):
    loser.tree("t")[b"loser %012d" % n] = b"x" * VALUE
database.flush()
print("ready", flush=True)
sys.stdin.read()
""".replace("BATCH", str(_BATCH)).replace("VALUE", str(_VALUE_BYTES))


@dataclass(frozen=True, slots=True)
class Kind:
    """What was done before the kill."""

    name: str
    rows: int
    spread: int
    """Different keys."""
    redone: int
    """Of the rows: written after the checkpoint; 0 for all."""
    losers: int
    """Changes of the transaction that was cut off."""


KINDS = (
    Kind("most of redo", 1_000_000, 200_000, 0, 6_000),
    Kind("a large log of which little is redone", 1_500_000, 1_500_000, 60_000, 11),
    Kind("a long undo", 60_000, 60_000, 0, 300_000),
    Kind("a database of middling size", 800_000, 400_000, 300_000, 6_000),
    Kind("much undo in a database of middling size", 600_000, 300_000, 400_000, 50_000),
    Kind("twenty megabytes", 45_000, 45_000, 0, 500),
    Kind("a gigabyte", 2_400_000, 400_000, 0, 20_000),
)


class _Recorder(Estimator):
    """Notes what it is told of."""

    last: _Recorder

    def __init__(
        self, work: Work, slowness: Mapping[str, float] | None = None, *, began_at: float = 0.0
    ) -> None:
        super().__init__(work, slowness, began_at=began_at)
        self.samples: list[tuple[float, int, str, int, int, str, int]] = []
        self.began_at = time.monotonic()
        _Recorder.last = self

    def remaining_s(self, now: float, stage: int, progress: Mapping[str, Any]) -> float | None:
        at, samples = now - self.began_at, self.samples
        if not samples or at - samples[-1][0] >= _EVERY_S:
            told = str(progress.get("stage") or ""), int(progress.get("done") or 0)
            total, unit = int(progress.get("total") or 0), str(progress.get("unit") or "")
            unfinished = int(progress.get("unfinished") or 0)
            samples.append((round(at, 3), stage, *told, total, unit, unfinished))
        return super().remaining_s(now, stage, progress)


def killed(kind: Kind, path: Path) -> None:
    """Make the database of a kind, and kill its writer."""
    orders = json.dumps([kind.rows, kind.spread, kind.redone, kind.losers])
    argv = [sys.executable, "-c", _WRITER, str(path), orders]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        if writer.stdout.readline() != "ready\n":
            raise AssertionError(f"the writer of {kind.name!r} ended early")
        writer.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def recorded(kind: Kind, path: Path) -> dict[str, Any]:
    """Recover it, and return the run."""
    with patch.object(execution, "Estimator", _Recorder):
        manager = RecoveryManager(path)
        began = time.monotonic()
        manager.run()
        seconds = time.monotonic() - began
    manager.take_store().close()
    heard = _Recorder.last
    return {"name": kind.name, **asdict(heard.work), "seconds": round(seconds, 3), "samples": heard.samples}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the file of the runs; those of other names in it stay")
    parser.add_argument("--note", default="", help="on what machine: goes with the name of each run")
    arguments = parser.parse_args()
    out: Path = arguments.out
    runs = {run["name"]: run for run in json.loads(out.read_text("utf-8"))} if out.exists() else {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="holdfast-recording-") as scratch:
            path = Path(scratch) / "killed.holdfast"
            killed(kind, path)
            name = f"{kind.name}, {arguments.note}" if arguments.note else kind.name
            runs[name] = run = {**recorded(kind, path), "name": name}
            print(f"{name}: {run['log_bytes'] / 1e6:,.0f} MB of log, {run['seconds']:.2f} s", flush=True)
    lines = [json.dumps(run).replace("[[", "[\n[").replace("], [", "],\n[") for run in runs.values()]
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
