"""A process of its own for one peer: to be killed, or to have its memory looked at.

`python -m tests.bench.child TASK PEER DIRECTORY ROWS CACHE_BYTES`, from the root of the repository.
A task prints one JSON object; `fill` then waits to be killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from tests.bench.data import Data
from tests.bench.peers.base import Peer
from tests.bench.peers.registry import peer_named
from tests.bench.settings import MIB, Opening, Settings

ROOT = Path(__file__).resolve().parents[2]
_BATCH = 1000


def start(task: str, kind: type[Peer], directory: Path, rows: int, cache_bytes: int) -> subprocess.Popen[str]:
    """Start a task; read its answer with `answer`."""
    arguments = [task, kind.name, str(directory), str(rows), str(cache_bytes)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.child", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(child: subprocess.Popen[str]) -> dict[str, float]:
    """What the task printed. Raises where it failed."""
    line = child.stdout.readline() if child.stdout else ""
    if not line:
        raise RuntimeError(f"the child process ended with status {child.wait()}")
    found: dict[str, float] = json.loads(line)
    return found


def end(child: subprocess.Popen[str], *, kill: bool = False) -> None:
    """Wait for the end of a task, or bring it about."""
    if kill:
        child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()
    child.wait()


def own_memory() -> int:
    """Bytes of memory that are this process's alone; what it maps of files is not counted."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) << 10
    return int(psutil.Process().memory_info().rss)


def _tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def _fill(kind: type[Peer], directory: Path, data: Data, cache_bytes: int) -> None:
    peer = kind(directory, Opening(cache_bytes=cache_bytes, keeps_log=True))
    for begin in range(0, len(data.pairs), _BATCH):
        peer.put_each(data.pairs[begin : begin + _BATCH])
    peer.sync()
    _tell(log_bytes=peer.log_bytes())
    # The pipe ends with the parent: nobody is left behind where it fails to kill.
    sys.stdin.read()
    os._exit(1)


def _recover(kind: type[Peer], directory: Path, data: Data, cache_bytes: int) -> None:
    before = own_memory()
    started = perf_counter()
    peer = kind(directory, Opening(cache_bytes=cache_bytes))
    found = peer.get_each(data.keys[-1:])
    seconds = perf_counter() - started
    memory = own_memory() - before
    told = peer.recovery_told()
    rows, size = peer.scan()
    peer.close()
    _tell(seconds=seconds, memory_mb=memory / 1e6, found=found, rows=rows, bytes=size, **told)


def _remember(kind: type[Peer], directory: Path, data: Data, cache_bytes: int) -> None:
    pairs = data.pairs
    before = own_memory()
    most = 0
    peer = kind(directory, Opening(cache_bytes=cache_bytes))
    for begin in range(0, len(pairs), _BATCH):
        peer.put_each(pairs[begin : begin + _BATCH])
        most = max(most, own_memory())
    found = peer.get_each(data.keys)
    most = max(most, own_memory())
    peer.close()
    _tell(memory_mb=(most - before) / MIB, found=found)


TASKS = {"fill": _fill, "recover": _recover, "remember": _remember}


def main() -> None:
    task, name, directory, rows, cache_bytes = sys.argv[1:]
    data = Data(Settings(rows=int(rows)))
    TASKS[task](peer_named(name), Path(directory), data, int(cache_bytes))


if __name__ == "__main__":
    main()
