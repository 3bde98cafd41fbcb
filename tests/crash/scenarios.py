"""The scenarios that a recovery must pass, each as a real run: how it is made, and what comes of it.

A scenario works on a database of its own through a `Run`, ends it in its own way, recovers it with
`holdfast recover`, and gives the verdict of the workload's model on what is there afterwards.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from tests.crash import faults
from tests.crash.run import MIB, Run
from tests.crash.workload import Verdict

LOW_MEMORY = 256 * MIB
MOST_LOSER_CHANGES = 500_000
_CHANGE_BYTES = 150
"""Of log, for one change of a loser."""
_MOST_KILLS = 5
"""Of a process that is killed until it has left what a scenario needs."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way in which things go wrong."""

    name: str
    words: str
    play: Callable[[Run], Verdict]
    missing: str = ""
    """Why it cannot be played here; empty where it can."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(words: str, missing: str = "") -> Callable[[Callable[[Run], Verdict]], Callable[[Run], Verdict]]:
    """Declare a scenario under the name of its function."""

    def declare(play: Callable[[Run], Verdict]) -> Callable[[Run], Verdict]:
        name = play.__name__.replace("_", "-")
        SCENARIOS[name] = Scenario(name, words, play, missing)
        return play

    return declare


class NotAsItMustBe(Exception):
    """A command answered in a way that it must not."""


def ensure(holds: bool, what: str) -> None:
    """Raise `NotAsItMustBe` unless it holds."""
    if not holds:
        raise NotAsItMustBe(what)


@scenario("closed properly")
def normal_shutdown(run: Run) -> Verdict:
    run.work(run.orders(), then="close")
    told = run.holdfast("info", str(run.path))
    ensure(told.answer["state"] == "clean", f"closed, and info says {told.answer['state']}")
    return run.verify()


@scenario("the process is killed at work")
def simple_crash(run: Run) -> Verdict:
    run.work(run.orders(losers=1))
    run.recover()
    return run.verify()


@scenario("killed at work, opened after analysis and asked for a record while pages are redone")
def first_query(run: Run) -> Verdict:
    run.work(run.orders(losers=1))
    run.figures |= run.first_query()
    told, acknowledged = run.figures["number"] + 1, sum(run.acknowledged.values())
    ensure(told >= acknowledged, f"the first query knew {told} commits of {acknowledged}")
    run.figures["recovery_s"] = run.figures["through_s"]
    return run.verify()


@scenario("the process is killed while it takes a checkpoint, three times")
def crash_during_a_checkpoint(run: Run) -> Verdict:
    dice = random.Random(run.log_bytes)
    orders = run.orders(checkpoints=True, threads=2, stops=False, log_bytes=run.log_bytes // 3)
    for _ in range(3):
        run.work(orders, until="full checkpoint", delay_s=dice.uniform(0, 0.02))
        run.recover()
    return run.verify()


@scenario("many short transactions on eight threads, 300 unfinished ones")
def many_transactions(run: Run) -> Verdict:
    run.work(run.orders(threads=8, records=3, value_bytes=200, losers=300, loser_changes=5))
    run.recover()
    ensure(
        run.figures["losers"] == 300, f"of 300 unfinished transactions {run.figures['losers']} were undone"
    )
    return run.verify()


@scenario("records in the middle of the log are overwritten; then recovered up to there")
def corrupted_log_records(run: Run) -> Verdict:
    run.work(run.orders())
    with faults.log_damaged(run.path):
        return _up_to_the_damage(run)


def _up_to_the_damage(run: Run) -> Verdict:
    """What cannot be recovered whole is refused, its cost told, and then taken up to the damage."""
    refused = run.attempt()
    ensure(refused.code == -71, f"a damaged log was answered with {refused.code}")
    told = run.holdfast("recover", str(run.path), "--fallbacks").answer["fallbacks"][0]
    ensure(bool(told["possible"]), f"there is no last valid record: {told['why_not']}")
    run.recover("--fallback", "last-valid")
    verdict = run.verify(may_lack=True)
    lost = sum(run.acknowledged.values()) - verdict.commits
    promised = int(told["figures"]["lost_commits"])
    # What a damaged segment held cannot be counted; nor is what was in flight known here.
    run.figures |= {"lost_commits": lost, "told_lost_commits": promised}
    run.figures["durable"] = f"to the damage: {lost} commits lost, {promised} told beforehand"
    ensure(lost > 0, "a damaged log lost nothing")
    return verdict


@scenario("pages whose write was under way are torn")
def torn_page_writes(run: Run) -> Verdict:
    for _ in range(_MOST_KILLS):
        run.work(run.orders(cache="1 MiB"))
        run.figures["torn_pages"] = faults.tear_pages(run.path)
        # Killed while it wrote the copies, no page had come to its place yet.
        if run.figures["torn_pages"]:
            break
    ensure(run.figures["torn_pages"] > 0, "no page could be torn")
    run.recover()
    return run.verify()


@scenario("one transaction of half the log never ended")
def very_long_transaction(run: Run) -> Verdict:
    changes = min(MOST_LOSER_CHANGES, run.log_bytes // 2 // _CHANGE_BYTES)
    run.work(run.orders(log_bytes=run.log_bytes // 2, losers=1, loser_changes=changes))
    run.recover()
    ensure(run.figures["undone"] >= changes, f"{run.figures['undone']} of {changes} changes were undone")
    return run.verify()


@scenario("killed in recovery, in its rollback, in the retry; then log and double-write damaged together")
def cascading_failures(run: Run) -> Verdict:
    run.work(run.orders(losers=1))
    whole_s = run.holdfast("recover", str(run.path), "--rehearse").seconds
    dice = random.Random(run.log_bytes)
    for _ in range(3):
        killed = run.attempt(kill_after_s=dice.uniform(0.3, 0.9) * whole_s)
        run.figures["recoveries_killed"] = run.figures.get("recoveries_killed", 0) + (killed.status != 0)
    stopped = run.attempt(interrupt_after_s=0.6 * whole_s, kill_after_s=0.6 * whole_s + 0.05)
    run.figures["rollbacks_killed"] = int(stopped.status != 0)
    run.recover()
    verdict = run.verify()
    if verdict.problems:
        return verdict
    run.work(run.orders(log_bytes=max(run.log_bytes // 4, MIB)))
    (run.path / "doublewrite").write_bytes(bytes((run.path / "doublewrite").stat().st_size))
    with faults.log_damaged(run.path):
        return _up_to_the_damage(run)


@scenario(
    "recovery in a process that may have 256 MB of addresses", "no such limit" if os.name == "nt" else ""
)
def low_memory(run: Run) -> Verdict:
    run.work(run.orders(losers=1))
    # Each thread's arena of the C library would take 64 MB of addresses, and none of memory.
    run.environment["MALLOC_ARENA_MAX"] = "1"
    run.recover(memory_bytes=LOW_MEMORY)
    run.environment.clear()
    return run.verify()


@scenario("the disk fills up at work, and is full when recovery begins", faults.NO_SMALL_DISK)
def disk_full(run: Run) -> Verdict:
    size = max(24 * MIB, run.log_bytes)
    with faults.small_disk(run.folder / "disk", size) as disk:
        run.settle(disk.folder / run.path.name)
        heard = run.work(run.orders(log_bytes=1 << 60))
        codes = [message[1] for message in heard if message[0] == "refused"]
        ensure(codes == [-11], f"work on a full disk ended with {codes}")
        refused = run.attempt()
        ensure(refused.code in (-72, -74, 0), f"recovery on a full disk ended with {refused.code}")
        run.figures["on_the_full_disk"] = f"{refused.code}" if refused.code else "recovered"
        if refused.code:
            disk.grow(3 * size)
            run.recover()
        else:
            run.note(refused)
        return run.verify()


@scenario("memory runs out at work; recovered with 256 MB", "no such limit" if os.name == "nt" else "")
def memory_exhaustion(run: Run) -> Verdict:
    run.environment["MALLOC_ARENA_MAX"] = "1"
    heard = run.work(run.orders(memory_bytes=64 * MIB))
    codes = [message[1] for message in heard if message[0] == "refused"]
    ensure(bool(codes) or run.figures["died_by_itself"], "memory never ran out")
    run.figures["errors_at_work"] = codes
    run.recover(memory_bytes=LOW_MEMORY)
    run.environment.clear()
    return run.verify()


@scenario("a second process recovers, and a third one opens it, while the first recovers")
def two_processes(run: Run) -> Verdict:
    run.work(run.orders())
    with faults.held_by_a_recovery(run.path):
        second = run.holdfast("recover", str(run.path))
        ensure(second.code == -73, f"a second recovery was answered with {second.code}")
        third = run.holdfast("checkpoint", str(run.path))
        ensure(third.code == -80, f"who opened it was answered with {third.code}")
    return run.verify()


@scenario("the clock was set back a day between two crashes", faults.NO_OTHER_CLOCK)
def clock_set_back(run: Run) -> Verdict:
    half = run.log_bytes // 2
    run.work(run.orders(log_bytes=half))
    with faults.clock_a_day_back(run.folder) as environment:
        run.environment = dict(environment)
        run.recover()
        run.work(run.orders(log_bytes=half, losers=1))
    run.environment = {}
    run.recover()
    return run.verify()


@scenario("a segment in the middle of the log is gone; then recovered up to there")
def log_segment_missing(run: Run) -> Verdict:
    run.work(run.orders(log_bytes=max(run.log_bytes, 5 * MIB)))
    with faults.segment_missing(run.path):
        return _up_to_the_damage(run)


@scenario(
    "the account may not write to the directory",
    "" if os.name != "nt" and os.geteuid() == 0 else "needs root",
)
def read_only_directory(run: Run) -> Verdict:
    run.work(run.orders())
    refused = run.attempt(is_stranger=True)
    ensure(refused.code == -77, f"who may not write was answered with {refused.code}")
    run.recover()
    return run.verify()


@scenario("moved to another place and machine: its lock names a process of another host")
def moved_to_another_machine(run: Run) -> Verdict:
    run.work(run.orders())
    elsewhere = run.folder / "another machine" / run.path.name
    elsewhere.parent.mkdir()
    shutil.move(run.path, elsewhere)
    run.path = elsewhere
    # A process with this number lives here too.
    lock = json.loads((run.path / "LOCK").read_text("utf-8"))
    (run.path / "LOCK").write_text(json.dumps({**lock, "pid": os.getpid(), "host": "elsewhere"}), "utf-8")
    run.recover()
    return run.verify()
