"""What keeps data safe: recovery, check, backup, checkpoints; and the memory of it all."""

from __future__ import annotations

from functools import partial

from tests.bench import child, limits
from tests.bench.bench import Bench, Measurement
from tests.bench.clock import lap
from tests.bench.files import copy, forget_cached
from tests.bench.peers.base import Peer
from tests.bench.settings import MIB
from tests.bench.workload import WRITING_AS_MUCH, Limit, Workload, only_holdfast
from tests.bench.workloads import checkpoints

_SMALL_CACHE = 40 * MIB


def _recovery(bench: Bench, kind: type[Peer]) -> Measurement:
    """A child process is killed; another one opens what it left. Half of the rows, in batches."""
    rows = max(bench.settings.rows // 2, 1)
    with bench.place() as place:
        directory = place / "killed.holdfast"
        victim = child.start("fill", kind, directory, rows, _SMALL_CACHE)
        try:
            left = child.answer(victim)
        finally:
            child.end(victim, kill=True)
        saviour = child.start("recover", kind, directory, rows, _SMALL_CACHE)
        try:
            done = child.answer(saviour)
        finally:
            child.end(saviour)
    megabytes = left["log_bytes"] / 1e6
    extras = {"log MB": megabytes, "log MB/s": megabytes / done["seconds"], "memory MB": done["memory_mb"]}
    if "records" in done:
        # Of the recovery itself, which gives its cache back before the database is open.
        extras |= {"records/s": done["records"] / done["seconds"], "distinct pages": done["pages"]}
        extras |= {"cache MiB": _SMALL_CACHE / MIB, "peak memory MB": done["peak_mb"]}
    facts = {name: int(done[name]) for name in ("rows", "bytes", "found")}
    return Measurement(done["seconds"], extras=extras, facts=facts)


def _read_log(bench: Bench, of_holdfast: Measurement) -> float:
    """Seconds to read as many bytes as Holdfast's log had, from the system's cache."""
    with bench.place() as place:
        size = int(of_holdfast.extras["log MB"] * 1e6)
        limits.write_and_sync(place, size)
        return limits.read(place / "copy")


def _check(bench: Bench, kind: type[Peer], from_disk: bool) -> Measurement:
    if from_disk:
        with bench.place() as place:
            directory = copy(bench.base(kind), place / "copy.holdfast")
            forget_cached(directory)
            return _checked(bench, kind(directory, bench.opening()))
    with bench.opened(kind) as peer:
        return _checked(bench, peer, closes=False)


def _checked(bench: Bench, peer: Peer, *, closes: bool = True) -> Measurement:
    try:
        with lap() as timed:
            is_sound = peer.check()
        size = peer.data_bytes()
    finally:
        if closes:
            peer.close()
    extras = {"MB": size / 1e6, "MB/s": size / 1e6 / timed.seconds}
    return Measurement(timed.seconds, extras=extras, facts={"sound": int(bool(is_sound))})


def _hashed(bench: Bench, of_holdfast: Measurement) -> float:
    return limits.hash_pages(int(of_holdfast.extras["MB"] * 1e6))


def _read_from_disk(bench: Bench, of_holdfast: Measurement) -> float:
    with bench.place() as place:
        limits.write_and_sync(place, int(of_holdfast.extras["MB"] * 1e6))
        # Where the system's cache cannot be emptied, neither was it for the databases.
        forget_cached(place)
        return limits.read(place / "copy")


def _backup(bench: Bench, kind: type[Peer]) -> Measurement:
    with bench.opened(kind) as peer, bench.place() as place:
        with lap() as timed:
            peer.backup(place / "backup")
        size = peer.data_bytes()
        work = place / "work"
        work.mkdir()
        restored = kind.restored(place / "backup", work, bench.opening())
        rows, _ = restored.scan()
        bench.verify(restored, dict(bench.data.pairs))
        restored.close()
    extras = {"MB": size / 1e6, "MB/s": size / 1e6 / timed.seconds}
    return Measurement(timed.seconds, extras=extras, facts={"rows": rows})


def _memory(bench: Bench, kind: type[Peer]) -> Measurement:
    with bench.place() as place:
        directory = place / "memory.holdfast"
        process = child.start("remember", kind, directory, bench.settings.rows, _SMALL_CACHE)
        try:
            done = child.answer(process)
        finally:
            child.end(process)
    return Measurement(done["memory_mb"], facts={"found": int(done["found"])})


def _no_log(kind: type[Peer]) -> str:
    return "" if kind.has_log else "it has no log: there is nothing to redo"


def _no_check(kind: type[Peer]) -> str:
    return "" if kind.check is not Peer.check else "the binding has no check"


WORKLOADS = [
    Workload(
        name="recovery",
        title="open after a kill, half of all rows in the log, cache of 40 MiB",
        unit="s",
        more_is_better=False,
        measure=_recovery,
        limit=Limit(title="reading as many bytes from the system's cache", measure=_read_log),
        without=_no_log,
    ),
    Workload(
        name="check-memory",
        title="integrity check, everything in memory",
        unit="s",
        more_is_better=False,
        measure=partial(_check, from_disk=False),
        limit=Limit(title="BLAKE3 of as many bytes, one thread", measure=_hashed),
        without=_no_check,
    ),
    Workload(
        name="check-disk",
        title="integrity check, nothing in memory",
        unit="s",
        more_is_better=False,
        measure=partial(_check, from_disk=True),
        limit=Limit(title="reading as many bytes from the disk", measure=_read_from_disk),
        without=_no_check,
    ),
    Workload(
        name="backup",
        title="hot backup, synced",
        unit="s",
        more_is_better=False,
        measure=_backup,
        limit=WRITING_AS_MUCH,
    ),
    Workload(
        name="memory",
        title="memory of loading and getting all rows, cache of 40 MiB",
        unit="MiB",
        more_is_better=False,
        measure=_memory,
    ),
    Workload(
        name="checkpoints",
        title="time that checkpoints add to half gets, half puts by 2 threads, not synced",
        unit="%",
        more_is_better=False,
        measure=checkpoints.measure,
        without=only_holdfast,
        minor=True,
    ),
]
