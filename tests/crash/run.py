"""One database from its making to its verdict: processes that work at it, and ones that recover it.

What was acknowledged is noted here, outside the processes that are killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import engine
from engine.recovery.state import STATE_FILE
from engine.types import DatabaseState
from tests.crash.labourer import Orders
from tests.crash.victim import ROOT, Message, Victim
from tests.crash.workload import Shape, Verdict, verify

DATABASE = "Lager, größer 日本.holdfast"
"""With spaces and letters beyond ASCII, as paths of users are."""
MIB = 1 << 20
TIMEOUT_S = 900
_LARGE = 256 * MIB

_COMMAND = """
import json, os, sys
limits = json.loads(sys.argv[1])
if limits["memory_bytes"]:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
from engine.cli.__main__ import main
if limits["is_stranger"]:
    # The account of another person: root itself is kept out by no permission.
    os.setreuid(65534, 0)
status = main(sys.argv[2:])
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")] if os.name == "posix" else []
print("peak", peak[0].split()[1] if peak else 0, file=sys.stderr)
sys.exit(status)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """How a `holdfast` command ended."""

    status: int | None
    answer: Mapping[str, Any]
    seconds: float
    peak_bytes: int
    """The most memory that the process had, the interpreter included; 0 where it was killed."""
    errors: str = ""

    @property
    def code(self) -> int:
        """Of the error; 0 for none."""
        error = self.answer.get("error")
        return int(error["code"]) if error else 0


@dataclass(slots=True)
class Run:
    """One scenario at work on its own database."""

    folder: Path
    log_bytes: int
    tell: Callable[[str], object] = lambda _line: None
    opens_early: bool = False
    """Recovered behind an open database, which is then closed; not by a command of its own."""
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Commits, by thread."""
    shape: Shape = field(default_factory=Shape)
    figures: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    path: Path = Path()

    def __post_init__(self) -> None:
        self.settle(self.folder / DATABASE)

    def settle(self, path: Path) -> None:
        """The database will be at `path`; its settings go there."""
        segment = max(1, min(64, self.log_bytes // (16 * MIB)))
        settings = {
            "segment_size": f"{segment} MiB",
            "log_buffer": f"{min(segment, 8)} MiB",
            "cache_size": "64 MiB",
            # All of the log is to be recovered in the end.
            "checkpoint_interval": "1 h",
            "checkpoint_log_volume": "64 GiB",
        }
        path.mkdir(parents=True)
        lines = [f'{name} = "{value}"\n' for name, value in settings.items()]
        lines.append(f"recover_on_demand = {str(self.opens_early).lower()}\n")
        (path / "reliability.toml").write_text("".join(lines), "utf-8")
        self.path = path

    def orders(self, **changed: Any) -> Orders:
        """Work of the usual kind; transactions are larger where there is much to write."""
        records = 20 if self.log_bytes < _LARGE else 200
        return Orders(**{"log_bytes": self.log_bytes, "records": records, **changed})

    def work(
        self, orders: Orders, *, until: str = "ready", then: str = "kill", delay_s: float = 0.0
    ) -> list[Message]:
        """Let a process work until it has said the words of `until`, one after the other; then kill it, or
        have it close. Returns what it said beside its commits.
        """
        self.shape = orders.shape
        awaited = until.split()
        heard: list[Message] = []
        log = self.folder / "processes.log"
        arguments = [str(self.path), json.dumps(asdict(orders))]
        with Victim("tests.crash.labourer", arguments, log, **self.environment) as victim:
            for message in victim.messages():
                if message[0] == "done":
                    self.acknowledged[message[1]] = message[2] + 1
                    continue
                heard.append(message)
                if message[0] == "wrong":
                    raise AssertionError(message[1])
                if awaited and message[0] == awaited[0]:
                    awaited.pop(0)
                    if awaited:
                        continue
                    if then == "kill":
                        victim.kill_after(delay_s)
                    else:
                        victim.say("close")
            # Nothing is wrong with a process that runs out of memory and dies of it.
            self.figures["died_by_itself"] = then == "kill" and not victim.was_killed
            if self.figures["died_by_itself"] and not orders.memory_bytes:
                raise AssertionError(f"the process ended by itself, with status {victim.status}; see {log}")
        self.figures["commits"] = sum(self.acknowledged.values())
        return heard

    def holdfast(
        self,
        *arguments: str,
        memory_bytes: int = 0,
        is_stranger: bool = False,
        interrupt_after_s: float | None = None,
        kill_after_s: float = TIMEOUT_S,
    ) -> Told:
        """A `holdfast` command as a process of its own."""
        limits = json.dumps({"memory_bytes": memory_bytes, "is_stranger": is_stranger})
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-c", _COMMAND, limits, *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        ) as process:
            timers = [threading.Timer(kill_after_s, process.kill)]
            if interrupt_after_s is not None:
                timers.append(threading.Timer(interrupt_after_s, process.send_signal, (signal.SIGINT,)))
            for timer in timers:
                timer.start()
            out, errors = process.communicate()
            for timer in timers:
                timer.cancel()
                timer.join()
        peak = re.search(r"^peak (\d+)$", errors, re.MULTILINE)
        answer = json.loads(out) if out.startswith("{") and process.returncode >= 0 else {}
        return Told(
            process.returncode,
            answer,
            time.monotonic() - began,
            1024 * int(peak[1]) if peak else 0,
            errors,
        )

    def attempt(self, *arguments: str, **limits: Any) -> Told:
        """A recovery, as it may end: `holdfast recover`, or a command that opens the database and closes it.

        What has `arguments` of its own, as a fallback has, is always `holdfast recover`.
        """
        if not self.opens_early or arguments:
            return self.holdfast("recover", str(self.path), *arguments, **limits)
        is_needed = engine.inspect(self.path).state is not DatabaseState.CLEAN
        told = self.holdfast("checkpoint", str(self.path), **limits)
        if told.status != 0:
            return told
        state = json.loads((self.path / STATE_FILE).read_text("utf-8"))
        is_told = state["report"]["on_demand"] and state["status"] == "completed"
        # One that was killed after its close had nothing left to do but to say so.
        if is_needed and not is_told:
            raise AssertionError(f"the database was not recovered behind its opening: {state}")
        return replace(told, answer=state["report"])

    def recover(self, *arguments: str, memory_bytes: int = 0) -> Told:
        """A recovery, noted in the figures. Raises `AssertionError` where it fails."""
        told = self.attempt(*arguments, memory_bytes=memory_bytes)
        if told.status != 0:
            raise AssertionError(
                f"the recovery ended with {told.status}: {told.answer.get('error')}{told.errors}"
            )
        self.note(told)
        return told

    def first_query(self) -> dict[str, Any]:
        """Open the database behind its recovery in a process of its own, and ask for one record.

        Returns the figures; see `tests.crash.opener`. Raises `AssertionError` where it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.opener", str(self.path)],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"the opening ended with {done.returncode}: {done.stderr}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def note(self, told: Told) -> None:
        """Take the figures of a recovery."""
        analysis, undo = told.answer["analysis"], told.answer["undo"] or {}
        seconds = float(told.answer["seconds"])
        changes = sum(loser["changes"] for loser in analysis.get("losers", ())) if analysis else 0
        # All that was read, from the checkpoint on; redo needs less where pages were written since.
        log_bytes = int(analysis.get("bytes", 0)) if analysis else 0
        self.figures |= {
            "recovery_s": round(seconds, 2),
            "log_bytes": log_bytes,
            "mb_per_s": round(log_bytes / seconds / 1e6) if seconds else 0,
            "peak_bytes": told.peak_bytes,
            "taken_bytes": told.answer.get("memory_bytes", 0),
            "losers": len(analysis.get("losers", ())) if analysis else 0,
            # Behind an open database a loser is rolled back as any transaction is.
            "undone": changes if undo.get("transactions_left") == 0 else undo.get("records", 0),
        }

    def verify(self, *, may_lack: bool = False, path: Path | None = None) -> Verdict:
        """Open the database, and hold what is there against what was acknowledged."""
        with engine.open(path or self.path, create=False) as database:
            verdict = verify(database, self.shape, self.acknowledged, may_lack=may_lack)
        self.figures["commits_found"] = verdict.commits
        self.figures["records"] = verdict.records
        return verdict
