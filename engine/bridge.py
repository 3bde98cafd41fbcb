"""The one place that talks to the kernel: its dictionaries become the values of `engine.types`.

Importing it raises `KernelMissing` (-65) where the compiled kernel cannot be loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from engine import types
from engine.config import Config
from engine.errors import KernelMissing

try:
    from engine import _kernel
except ImportError as error:
    raise KernelMissing(detail=f"engine/_kernel is missing or unusable ({type(error).__name__})") from error

Cursor = _kernel.Cursor
Job = _kernel.Job
Opener = _kernel.Opener
PageCopies = _kernel.PageCopies
Recovery = _kernel.Recovery
RowCursor = _kernel.RowCursor
Sealer = _kernel.Sealer
Store = _kernel.Store
Table = _kernel.Table
Transaction = _kernel.Transaction
Tree = _kernel.Tree
Vault = _kernel.Vault

ERROR_CODES = _kernel.ERROR_CODES
describe_source = _kernel.describe_source
mirror_fail_over = _kernel.mirror_fail_over
mirror_outlook = _kernel.mirror_outlook
mirror_standing = _kernel.mirror_standing
mirror_verify = _kernel.mirror_verify
inspect = _kernel.inspect
is_unfinished_backup = _kernel.is_unfinished_backup
restore_backup = _kernel.restore_backup
restore_point = _kernel.restore_point
sniff_csv = _kernel.sniff_csv
verify_backup = _kernel.verify_backup

V = TypeVar("V")


def store_options(config: Config, *, read_only: bool = False) -> dict[str, Any]:
    """What `Store.create`, `Store.open` and `Recovery.begin` take, from the settings."""
    return {
        "page_size": config.page_size,
        "cache_bytes": config.cache_size,
        "segment_bytes": config.segment_size,
        "log_buffer_bytes": config.log_buffer,
        "archive_log": config.archive_log,
        "archive_at": str(config.archive_place) if config.archive_place else None,
        "archive_wait_bytes": config.archive_wait_limit,
        "sync_mode": config.sync_mode,
        "sync_interval_ms": round(config.sync_interval * 1000),
        "checkpoint_interval_s": config.checkpoint_interval,
        "checkpoint_log_bytes": config.checkpoint_log_volume,
        "lock_timeout_s": config.lock_timeout,
        "deadlock_victim": config.deadlock_victim,
        "image_every_changes": config.image_every_changes,
        "on_damage": config.corruption_action,
        "snapshot_log_bytes": config.snapshot_log_limit,
        "transaction_log_bytes": config.transaction_log_limit,
        "aborts_long_transactions": config.long_transaction_action == "abort",
        "mirror_hold_bytes": config.mirror_log_limit,
        "mirror_patience_s": config.mirror_timeout,
        "gives_up_mirrors": config.mirror_loss_action == "go_on",
        "read_only": read_only,
    }


def create(path: Path, config: Config) -> _kernel.Store:
    """Create a database in the directory `path`, which must be missing or empty."""
    return Store.create(str(path), store_options(config))


def open_store(path: Path, config: Config, *, read_only: bool = False) -> _kernel.Store:
    """Open a cleanly closed database; raises `RecoveryNeeded` where it was not closed."""
    return Store.open(str(path), store_options(config, read_only=read_only))


def begin_recovery(path: Path, config: Config, ground: str, beside: Path | None = None) -> _kernel.Recovery:
    """Take the database's lock for a recovery, and settle what an earlier one left.

    `ground` is one of `engine.recovery.ground`; a rehearsal writes to the folder `beside`. A page that
    the log does not bring back is taken from a mirror, or from the backups in their folder.
    """
    options = {
        **store_options(config),
        "backup_folders": [str(config.backup_folder_of(path))],
        "log_places": list(config.log_places_of(path)),
    }
    return Recovery.begin(str(path), options, ground, str(beside) if beside else None)


def look_at_snapshot(
    store: _kernel.Store, name: str, beside: Path, config: Config, job: _kernel.Job
) -> _kernel.Store:
    """Open a snapshot of an open database read-only; the folder `beside` takes what that writes."""
    return store.look_at_snapshot(name, str(beside), store_options(config, read_only=True), job)


def mirror_look(path: Path, beside: Path, config: Config, job: _kernel.Job) -> _kernel.Store:
    """Open what a former primary in `path` holds, read-only; the folder `beside` takes what that writes."""
    return _kernel.mirror_look(str(path), str(beside), store_options(config, read_only=True), job)


def revert_to_snapshot(path: Path, name: str, config: Config, job: _kernel.Job) -> int:
    """Make the closed database in `path` what its snapshot is, in place; returns the pages put back."""
    return _kernel.revert_to_snapshot(str(path), name, store_options(config), job)


def salvage(source: Path, target: Path, beside: Path, config: Config, job: _kernel.Job) -> dict[str, Any]:
    """Put the readable records of `source` into a new database in the empty directory `target`."""
    return _kernel.salvage(str(source), str(target), str(beside), store_options(config), job)


def status(store: _kernel.Store, at: float) -> types.StoreStatus:
    """One sample of a running engine, taken at the time `at`."""
    raw = store.status()
    return types.StoreStatus(
        at=at,
        state=raw["state"],
        reason=raw["reason"] or "",
        read_only=raw["read_only"],
        pages=raw["pages"],
        free_pages=raw["free_pages"],
        log=_value(types.LogStatus, raw["log"], sync_mode=types.SyncMode(raw["log"]["sync_mode"])),
        checkpoint=_value(types.CheckpointStatus, raw["checkpoint"]),
        cache=_value(types.CacheStatus, {"page_size": raw["page_size"], **raw["cache"]}),
        transactions=_value(types.TransactionCounters, raw["transactions"]),
        waiters=raw["locks"]["waiters"],
        splits=raw["splits"],
        latency={name: _value(types.Latency, figures) for name, figures in raw["latency"].items()},
        recovery=_recovery(raw["recovery"]),
        is_halted=raw["halted"],
    )


def recovery_standing(store: _kernel.Store) -> types.RecoveryStanding | None:
    """How far the recovery of an open database has come; also after its close."""
    return _recovery(store.status()["recovery"])


def _recovery(raw: Mapping[str, Any] | None) -> types.RecoveryStanding | None:
    if raw is None:
        return None
    damaged = tuple((entry["page"], entry["reason"]) for entry in raw["damaged"])
    return _value(types.RecoveryStanding, raw, damaged=damaged)


def transactions(store: _kernel.Store) -> tuple[types.TransactionInfo, ...]:
    """The transactions that are running."""
    return tuple(
        _value(types.TransactionInfo, raw, isolation=types.Isolation(raw["isolation"]))
        for raw in store.transactions()
    )


def locks(store: _kernel.Store) -> tuple[types.LockInfo, ...]:
    """The locks that are held or waited for."""
    return tuple(
        _value(
            types.LockInfo,
            raw,
            holders=tuple(raw["holders"]),
            waiters=tuple(_value(types.LockWaiter, waiter) for waiter in raw["waiters"]),
        )
        for raw in store.locks()
    )


@contextmanager
def held_log(store: _kernel.Store) -> Iterator[tuple[int, bytes]]:
    """Meanwhile the log stays that a recovery of the files needs, as they are copied in this block: from the
    segment of the given number on. The bytes are the control file that belongs to the copy."""
    hold, first_segment, control = store.hold_log()
    try:
        yield first_segment, control
    finally:
        store.release_log(hold)


def wait_for_graph(store: _kernel.Store) -> tuple[types.WaitEdge, ...]:
    """Who waits for whom."""
    return tuple(_value(types.WaitEdge, raw) for raw in store.wait_for_graph())


def check_report(raw: Mapping[str, Any]) -> types.CheckReport:
    """What `Store.check` and `Recovery.check` found."""
    skipped = tuple(raw.get("skipped", ()))
    return _value(types.CheckReport, raw, problems=_problems(raw["problems"]), skipped=skipped)


def table_info(store: _kernel.Store, name: str) -> types.TableInfo:
    """The columns, key, indexes and number of rows of a table."""
    raw = json.loads(store.table_schema(name))
    key = tuple(raw["primary_key"])
    return types.TableInfo(
        name=raw["name"],
        rows=raw["rows"],
        columns=tuple(_column(column, key) for column in raw["columns"]),
        primary_key=key,
        indexes=tuple(
            types.IndexInfo(index["name"], tuple(index["columns"]), index["unique"])
            for index in raw["indexes"]
        ),
    )


def _column(raw: Mapping[str, Any], key: tuple[str, ...]) -> types.ColumnInfo:
    place = key.index(raw["name"]) + 1 if raw["name"] in key else 0
    return _value(types.ColumnInfo, raw, primary_key=place)


def _problems(raw: Iterable[Mapping[str, Any]]) -> tuple[types.Problem, ...]:
    return tuple(_value(types.Problem, problem) for problem in raw)


def _value(kind: type[V], raw: Mapping[str, Any], **converted: Any) -> V:
    """Build a frozen value from the keys of the same names; `converted` replaces some of them."""
    chosen = dict(converted)
    for field in fields(kind):  # type: ignore[arg-type]  # only dataclasses are passed
        if field.name in chosen:
            continue
        if field.name in raw or (field.default is MISSING and field.default_factory is MISSING):
            chosen[field.name] = raw[field.name]
    return kind(**chosen)
