"""The kernel as Python sees it. `engine.bridge` is its only importer.

Every call may be made from any thread. Calls that wait (for a lock, the disk, a sync) let
other Python threads run. Errors are raised as subclasses of `engine.errors.HoldfastError`.
Dictionaries that cross here have fixed keys, named in each docstring.

One file, long as it is: what it describes is one module. Type checkers take a folder of stubs
for a package, whose modules stubtest then looks for in vain in the compiled kernel.
"""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, ClassVar, Self, TypeAlias, final

_Value: TypeAlias = int | float | str | bytes | None
_Row: TypeAlias = tuple[_Value, ...]

__all__ = [
    "ERROR_CODES",
    "Cursor",
    "Job",
    "Opener",
    "PageCopies",
    "Recovery",
    "RowCursor",
    "Sealer",
    "Store",
    "Table",
    "Transaction",
    "Tree",
    "Vault",
    "describe_source",
    "inspect",
    "is_unfinished_backup",
    "mirror_fail_over",
    "mirror_look",
    "mirror_outlook",
    "mirror_standing",
    "mirror_verify",
    "restore_backup",
    "restore_point",
    "revert_to_snapshot",
    "salvage",
    "sniff_csv",
    "verify_backup",
]

ERROR_CODES: dict[str, int]
"""Name -> code of every error the kernel can raise."""

def inspect(path: str) -> dict[str, Any]:
    """Look at a database without opening it: takes no lock, changes nothing.

    Keys: exists (bool), half_made (bool: a creation was cut off, nothing is stored), page_size, pages, database_id (hex), format_version, incarnation,
    checkpoint_lsn, checkpoint_at (Unix seconds), redo_lsn, wal_bytes, wal_segments,
    last_lsn (the end of the last entry of a transaction after the checkpoint, else the checkpoint;
    0 where it cannot be told), log_goes_on (more log follows that was not read: it would take
    long), doublewrite_pages, clean_shutdown (marker present),
    recovery_needed (marker present), recovery_state (text or None), unfinished_installation (a
    recovery was complete and its result is being put in place), holder (dict pid, host,
    since (text), alive; None where nobody has it open).
    """

def is_unfinished_backup(path: str) -> bool:
    """Whether a directory holds a backup that was cut off and can go on."""

def verify_backup(
    path: str, job: Job | None = None, *, key: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """Check a backup, and those it adds to, against their manifests.

    Keys: files, bytes, pages, end_lsn, taken_at, sequence, parent (a name; None for a full one),
    resumed_pages."""

def restore_backup(
    source: str, target: str, job: Job | None = None, *, key: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """Rebuild a database in the empty or missing directory `target`. It needs recovery to its
    end LSN afterwards: open it. Keys: pages, bytes, end_lsn."""

def restore_point(
    source: str,
    target: str | None,
    kind: str,
    value: int,
    logs: Sequence[str],
    job: Job | None = None,
    *,
    key: tuple[str, bytes] | None = None,
) -> dict[str, Any]:
    """Restore to a point, with the log kept in the directories `logs` (databases or archives); without
    a target only say where it is. kind and value: "backup"; "end"; "lsn"; "time" (microseconds since the Unix
    epoch); "transaction". Keys: as verify_backup, and backup (the directory it begins with), lsn (of
    the point), commits, log_bytes, committed_at (of what comes after the backup; Unix seconds, 0 for
    none), is_end (the kept log ends there)."""

def revert_to_snapshot(path: str, name: str, options: dict[str, Any], job: Job | None = None) -> int:
    """Make a closed database what one of its snapshots is, in place; returns the pages put back.

    All of it or nothing: an error with the field `installing` comes after the decision, and the next
    open finishes it. Raises RecoveryNeeded, SnapshotNotFound, SnapshotDamaged."""

def mirror_standing(path: str) -> dict[str, Any] | None:
    """What a directory says that it is; None where it says nothing, and so is a database without
    mirrors or none at all. Keys: role (primary|copying|mirror|superseded), epoch, other (of a mirror
    its primary, of a former primary its successor, of a primary its predecessor), database_id (hex),
    mirrors [{path, synchronous}], parted_at (LSN of the last fail over)."""

def mirror_outlook(path: str, primary: str | None = None) -> dict[str, Any]:
    """What failing over to the mirror in `path` would lose; changes nothing. Keys: epoch, primary (as
    the mirror knows it), end_lsn, last_commit_at (Unix seconds, 0 for none), redo_bytes, lost_bytes and
    lost_commits (what `primary` has beyond; None where it cannot be read), broken (why the end of the
    mirror's log is damaged, or None), begun (the primary is fenced already)."""

def mirror_fail_over(path: str, primary: str | None = None, accept_cut: bool = False) -> dict[str, Any]:
    """Make the mirror in `path` the primary; it needs a recovery afterwards. The former one is fenced
    where it can be reached. Keys: as in mirror_outlook."""

def mirror_look(path: str, beside: str, options: dict[str, Any], job: Job | None = None) -> Store:
    """Open what a former primary, or a mirror, in `path` holds, for reading only; the folder `beside`
    takes what that writes. Nobody else may have it open."""

def mirror_verify(path: str, scratch: str, job: Job | None = None) -> dict[str, Any]:
    """Recover a mirror that nobody keeps at the moment beside itself, in the folder `scratch`, and
    check all of it. Keys: end_lsn, pages, records, problems [text]."""

def salvage(source: str, target: str, beside: str, options: dict[str, Any], job: Job) -> dict[str, Any]:
    """Put the readable records of a database into a new one in the empty directory `target`.

    The folder `beside` takes what redo writes; the source is only read, its lock held meanwhile.
    Keys: pages, damaged_pages [number], trees [{name, is_table, records, lost_values, gaps (stretches of
    keys without a readable page), lost_indexes}], without_log (why the log could not be used; empty
    where it was), has_unfinished (changes of unfinished transactions may be among the records),
    lost_log_bytes, lost_commits.
    """

def sniff_csv(path: str, sample_bytes: int = 1 << 20) -> dict[str, Any]:
    """Guess how a CSV file is written. Keys: delimiter, quote, encoding, header (bool),
    columns [{name, type}], sample [[str]]."""

def describe_source(path: str) -> dict[str, Any]:
    """What an import would read. Keys: kind (sqlite|csv|jsonl), tables [{name, columns, rows
    (or None), indexes, primary_key, without (list of things not carried over)}], without (things that
    belong to no table and are not carried over: views, virtual tables)."""

@final
class Job:
    """A long work's handle: share it with the call, read it from another thread."""

    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...
    def progress(self) -> dict[str, Any]:
        """Keys: stage (text), done, total (units: `unit`), unit (bytes|rows|pages|records), rows;
        records, pages, bytes: what a pass of recovery has gone through until now, 0 where not counted;
        unfinished: while the log is read, the changes of transactions that have not ended so far."""

@final
class Store:
    """One open database."""

    @staticmethod
    def create(path: str, options: dict[str, Any]) -> Store: ...
    @staticmethod
    def open(path: str, options: dict[str, Any]) -> Store:
        """Open a cleanly closed database. Raises RecoveryNeeded where it was not closed.

        Options (all optional): page_size, cache_bytes, segment_bytes, log_buffer_bytes,
        sync_mode ("durable"|"interval"|"off"), sync_interval_ms, checkpoint_interval_s,
        checkpoint_log_bytes, lock_timeout_s, deadlock_victim ("youngest"|"least_work"),
        image_every_changes, snapshot_log_bytes, transaction_log_bytes,
        aborts_long_transactions, mirror_hold_bytes, mirror_patience_s, gives_up_mirrors,
        backup_folders and log_places (lists: where a recovery finds pages that the log does not
        bring back), read_only. Pages are always verified when they are read.
        """
    def begin(self, isolation: str, read_only: bool = False) -> Transaction:
        """Isolation: "read_committed" | "repeatable_read" | "serializable"."""
    def trees(self) -> list[str]: ...
    def tables(self) -> list[str]: ...
    def table_schema(self, name: str) -> str:
        """The schema as JSON: {"name", "columns": [{"name", "type", "declared", "not_null"}],
        "primary_key": [column names], "indexes": [{"name", "columns", "unique"}], "rows"}."""
    def checkpoint(self) -> dict[str, Any]:
        """Keys: as those of `checkpoint` in `status`."""
    def flush(self) -> None: ...
    def status(self) -> dict[str, Any]:
        """Keys: state (open|failed|closed), reason, read_only, halted, page_size, pages, free_pages, splits, log {...}, checkpoint {...},
        cache {...}, transactions {...}, locks {...}, latency {name: {count, p50_us, p99_us, max_us}},
        recovery (None, or what is left of the one that opened it: stage
        (redo|undo|checkpoint|log|check|done|stuck), pages, pages_left, losers, losers_left,
        damaged [{page, reason}], log_bytes, applied, seconds, problems (None before the check),
        segments, segments_validated (of the log, before the opening or since), checking
        (log|pages|trees|indexes), check_unit, check_done, check_total)."""
    def recovery_check(self) -> dict[str, Any] | None:
        """What the check found that follows a recovery behind the opening, as `check`; None before its end."""
    def transactions(self) -> list[dict[str, Any]]:
        """Keys: id, started_at, age_s, isolation, status, changes, log_bytes, locks, waiting_for (txn id or None),
        first_lsn, undo_bytes."""
    def locks(self) -> list[dict[str, Any]]:
        """Keys: resource, mode, holders [txn], waiters [{txn, mode, since_s}], since_s."""
    def wait_for_graph(self) -> list[dict[str, Any]]:
        """Keys: waiter, holder, resource, mode, since_s."""
    def abort_all(self) -> int:
        """Rolls back every transaction in flight; returns how many. Their owners learn it with
        their next calls.
        """
    def abort_transaction(self, txn: int) -> bool:
        """Roll another transaction back; where a call of its owner runs, that call wakes and ends it.
        False where none of that number runs."""
    def drain_events(self, limit: int = 1000) -> tuple[list[dict[str, Any]], int]:
        """What happened since the last call, and how many events were missed.
        Keys of an event: kind, at (Unix seconds), and the kind's own fields; for a deadlock: victim, policy,
        cycle (text), and one place for each participant in transactions, resources, modes, waited_s."""
    def check(self, detailed: bool = True, job: Job | None = None) -> dict[str, Any]:
        """Keys: ok, pages, bytes, records, seconds, problems [{code, page, tree, detail}], left_out (problems
        beyond those), skipped (names of what was in use), lost (pages in use that nothing leads to; 0 where a
        tree is damaged or a transaction runs)."""
    def mirror_add(self, path: str, synchronous: bool = False) -> None:
        """Keep a mirror in the directory `path`, which exists; its first copy is made in the background."""
    def mirror_remove(self, path: str, remove_files: bool = False) -> None:
        """Keep it no longer; its files stay unless they are to go."""
    def mirrors(self) -> list[dict[str, Any]]:
        """How each mirror stands. Keys: path, synchronous, in_step (commits wait for it), phase
        (connecting|copying|following|lost|refused), error (code and fields, or None), shipped_lsn,
        redone_lsn, lag_bytes, lag_s, held (log it lacks is kept), copies, copied and to_copy (pages),
        shipped_bytes, mended (damaged pages of it that were replaced), log_mended (bytes of its damaged
        log that were replaced)."""
    def mirror_renew(self, path: str) -> None:
        """Give a mirror that does not follow a new copy; what only its directory holds is lost."""
    def mirror_verify(self, path: str, scratch: str, job: Job | None = None) -> dict[str, Any]:
        """As the function, of a mirror that is kept; shipping goes on meanwhile."""
    def mirror_mend(self, path: str, job: Job | None = None) -> int:
        """Read every page of a mirror, and replace damaged ones by those of this database; how many.
        MirrorIncomplete where it does not follow; a page's own error where the database has it no more."""
    def copies_from_mirrors(self, pages: Sequence[int], job: Job | None = None) -> PageCopies:
        """Whole copies of pages from the mirrors that follow, brought up to date from the log."""
    def copies_from_backups(
        self,
        pages: Sequence[int],
        backups: Sequence[str],
        logs: Sequence[str],
        job: Job | None = None,
        *,
        key: tuple[str, bytes] | None = None,
    ) -> PageCopies:
        """Whole copies of pages from the newest backups in these folders, brought up to date from the log
        kept in `logs` (databases, archives). What cannot be read of a backup is passed over."""
    def plan_repair(
        self, pages: Sequence[int], job: Job | None = None, copies: PageCopies | None = None
    ) -> dict[str, Any]:
        """What each page could be rebuilt from. Keys: remedies [{page, source (memory|doublewrite|log|
        backup|archive|mirror), place (of the backup or mirror, or empty), base_lsn, changes}], without those that have no
        source; unhelped {page: why its copy does not help}."""
    def give_back(self) -> None:
        """Give back what was dropped and nobody can see any more, as the background does by and by."""

    def sweep(self, job: Job | None = None) -> dict[str, Any]:
        """Give back pages that are marked as in use and that nothing leads to. Checks everything first; gives
        nothing back where a tree is damaged or a transaction runs. Keys: pages (given back), left (that
        nothing leads to, and that stay), check (as of `check`). Raises ReadOnlyDatabase."""
    def hold_log(self) -> tuple[int, int, bytes]:
        """Keep the log that a recovery of the files needs, as somebody copies them from now on, until
        `release_log` gets the first number back; the second is that of the first segment needed. The bytes are
        the control file of the copy: that of the database would have the log believed about pages."""
    def release_log(self, hold: int) -> None: ...
    def repair_page(self, page: int, copies: PageCopies | None = None) -> dict[str, Any]:
        """Repair one page, write it and read it again; the damaged bytes are kept in quarantine/.
        Keys: as a remedy of plan_repair. Raises the page's own error where no source reaches."""
    def pages_set_apart(self) -> list[dict[str, Any]]:
        """Damaged pages that could not be repaired. Keys: page, code, error."""
    def reach_of_pages(self, pages: Sequence[int]) -> list[dict[str, Any]]:
        """What each page that cannot be read keeps out of reach, by its parent in its tree. Keys: page, tree (its
        name), low, high (stored keys: from `low` on and below `high`; None is open), records (about how many, or
        None). Pages that no parent names are absent. Reads the inner pages of the trees."""
    def read_log(self, from_lsn: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Entries from the log. Keys: lsn, end, txn, op, bytes, pages [int], tree, at. Never stored values."""
    def log_line(
        self, logs: Sequence[str], starts: Sequence[int], most: int = 2000, job: Job | None = None
    ) -> dict[str, Any]:
        """The log in the directories `logs` (databases or archives) and in use, as a line of time of no more
        than about `most` bins. `starts`: positions where entries are known to begin, such as ends of backups.
        Keys: end; runs [{from, end, began_at, read_from (None where it could not be read), broken}], stretches
        without a gap; bins [{run, from, end, commits, first_at, last_at, rows {tree number: difference}}];
        checkpoints [(lsn, at)]; made [(tree number, lsn)], trees that are
        newer than that. Times are Unix seconds."""
    def log_commits(
        self, logs: Sequence[str], from_lsn: int, to_lsn: int, limit: int = 1000, job: Job | None = None
    ) -> list[dict[str, Any]]:
        """Commits from `from_lsn`, where an entry begins, up to `to_lsn`. Keys: lsn, end (a database restored to
        here holds it), txn, at, rows {tree number: difference}, touched {tree number: (inserted, updated,
        deleted)}, whole (its transaction began within what was read). Raises WalCorrupted."""
    def tree_names(self) -> list[tuple[int, str, bool]]:
        """Number, name, and whether it is a table, of each tree that is no index."""
    def page_info(self, page: int) -> dict[str, Any]:
        """One page as the data file has it. Keys: page, kind, level, tree, lsn, incarnation, right,
        records, free_bytes, ok, problem (text or None)."""
    def backup(
        self,
        target: str,
        job: Job | None = None,
        *,
        parent: str | None = None,
        bytes_per_second: int = 0,
        part_bytes: int = 0,
        key: tuple[str, bytes] | None = None,
    ) -> dict[str, Any]:
        """A backup while in use: full, or what has changed since the one in the directory `parent`,
        which lies beside `target`; goes on with one that was cut off there, after its last whole
        part of so many bytes of pages. 0 bytes_per_second: no limit.
        `key`: a passphrase or the content of a key_file to encrypt it with. Keys: as verify_backup, and
        seconds."""
    def snapshots(self) -> list[dict[str, Any]]:
        """Oldest first. Keys: number, name, taken_at, scheduled, lsn, committed_at (Unix seconds, 0 for
        none), pages (kept), bytes (of its files), data_bytes (of the data file then), whole, is_open."""
    def snapshot_bytes(self) -> int:
        """What the files of all snapshots take."""
    def take_snapshot(self, name: str, scheduled: bool = False, job: Job | None = None) -> dict[str, Any]:
        """Keys: as in `snapshots`."""
    def drop_snapshot(self, name: str) -> None: ...
    def look_at_snapshot(
        self, name: str, beside: str | PathLike[str], options: dict[str, Any], job: Job | None = None
    ) -> Store:
        """A snapshot, open and read-only; the folder `beside` takes what that writes, and lasts as long."""
    def verify_snapshot(self, name: str, beside: str | PathLike[str], job: Job | None = None) -> int:
        """Check the log and every page of a snapshot; returns the number of pages."""
    def copy_to(self, target: str | PathLike[str], job: Job | None = None) -> int:
        """Make what is open read-only a closed database of its own in the missing or empty `target`;
        returns the bytes written."""
    def rotate_log(self) -> None: ...
    def set_read_only(self, value: bool) -> None: ...
    def halt_writes(self, page: int | None = None, place: str | None = None) -> None:
        """Stop all changes with `WritesHalted`, commits of what was changed included; rollbacks, reads and repairs go
        on. Damage on `page`, or at a place in words, could not be repaired."""
    def allow_writes(self) -> None:
        """Take changes again."""
    def import_file(self, path: str, plan: dict[str, Any], job: Job | None = None) -> dict[str, Any]:
        """Import, all or nothing. `plan`: kind; tables {source name: new name}; for CSV also delimiter,
        quote, encoding, header, columns [{name, type}], primary_key. Keys: tables [{name, rows}], rows, seconds."""
    def export_file(
        self, path: str, kind: str, tables: Sequence[str], job: Job | None = None
    ) -> dict[str, Any]: ...
    def load(self, spec: dict[str, Any], job: Job | None = None) -> dict[str, Any]:
        """A measured workload inside the kernel. `spec`: threads, operations, value_bytes, read_share,
        batch, seed, tree, keys. Keys: operations, seconds, per_second, deadlocks, conflicts,
        latency {name: {count, p50_us, p99_us, max_us}}."""
    def close(self, job: Job | None = None) -> dict[str, Any]:
        """Clean shutdown; a job that is cancelled leaves what an early opening has left to the next open.
        Keys: aborted (number of live transactions aborted)."""

@final
class PageCopies:
    """Whole copies of pages, held in memory."""
    def __len__(self) -> int: ...
    @property
    def locked(self) -> list[tuple[str, str]]:
        """Encrypted backups that were passed over, each with why it stays closed."""

@final
class Vault:
    """What seals and opens the files of one backup that is written from Python.

    Between threads: one at a time uses a sealer or an opener."""
    @staticmethod
    def create(key: tuple[str, bytes]) -> Vault:
        """For a new backup. From a passphrase: slow on purpose."""
    @staticmethod
    def open(locks: str, key: tuple[str, bytes] | None) -> Vault:
        """For one whose manifest has `locks`; raises BackupLocked (-93) where `key` is not the right one,
        BackupDamaged (-62) where `locks` is nothing that `locks` has ever told."""
    @property
    def locks(self) -> str:
        """What a manifest has to say of the key, as JSON; nothing of it is secret."""
    def sign(self, digest: str) -> str:
        """The keyed hash of a manifest, which nobody without the key can make."""
    def sealer(self, file: str) -> Sealer: ...
    def opener(self, file: str) -> Opener: ...

@final
class Sealer:
    """Seals one file."""
    def push(self, content: bytes) -> bytes:
        """Take what comes next; answers what goes into the file now."""
    def finish(self) -> bytes:
        """The end of the file."""

@final
class Opener:
    """Opens one sealed file. Both raise BackupDamaged (-62) where it is not what was sealed."""
    def push(self, content: bytes) -> bytes:
        """Take the next bytes of the file; answers what was sealed in them."""
    def finish(self) -> None:
        """Say that the file has ended."""

@final
class Transaction:
    @property
    def id(self) -> int: ...
    @property
    def status(self) -> str:
        """active | committing | committed | aborted | doomed"""
    @property
    def isolation(self) -> str: ...
    def tree(self, name: str, create: bool = True) -> Tree: ...
    def drop_tree(self, name: str) -> None: ...
    def create_table(self, schema: str) -> Table:
        """`schema` as in Store.table_schema."""
    def table(self, name: str) -> Table: ...
    def drop_table(self, name: str) -> None: ...
    def create_index(self, table: str, name: str, columns: Sequence[str], unique: bool = False) -> None: ...
    def drop_index(self, table: str, name: str) -> None: ...
    def repairs_damage(self) -> None:
        """Damage that has stopped all changes (`Store.halt_writes`) does not stop this transaction, which repairs it."""
    def savepoint(self, name: str) -> None: ...
    def rollback_to(self, name: str) -> None: ...
    def lock(self, name: str, mode: str = "exclusive", timeout_s: float | None = None) -> None:
        """Advisory lock on any name, until the end or `unlock`; one that is held is upgraded. Mode: shared |
        exclusive | intention_shared | intention_exclusive | shared_intention_exclusive."""
    def unlock(self, name: str) -> None: ...
    def unlock_all(self) -> int:
        """Gives every advisory lock back; returns how many there were."""
    def commit(self) -> int:
        """Make it durable, as the sync mode says, and release its locks; returns the LSN of the commit.
        Raises what ended it where somebody else did."""
    def abort(self) -> None:
        """Undo everything and release the locks; nothing where it has ended."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> bool: ...

@final
class Tree:
    """An ordered mutable mapping of bytes to bytes within one transaction; a registered
    `MutableMapping`. Ranges are start <= key < stop; an end is open where it is left out, or `None`
    where both are named. `keys`, `values` and `items` are cursors, to be walked once."""

    @property
    def name(self) -> str: ...
    def __getitem__(self, key: bytes, /) -> bytes: ...
    def __setitem__(self, key: bytes, value: bytes, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __reversed__(self) -> Iterator[bytes]: ...
    def __eq__(self, value: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def get(self, key: bytes, default: Any = None) -> Any: ...
    def keys(
        self, start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Cursor: ...
    def values(
        self, start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Cursor: ...
    def items(
        self, start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Cursor: ...
    def pop(self, key: bytes, *default: Any) -> Any: ...
    def popitem(self) -> tuple[bytes, bytes]:
        """The last one."""
    def setdefault(self, key: bytes, default: bytes | None = None) -> bytes: ...
    def update(self, *arguments: Any, **named: Any) -> None:
        """All or nothing."""
    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """All or nothing, in one call; returns how many."""
    def compare(
        self,
        past: Tree,
        after: bytes | None = None,
        records: int = 10_000,
        keep: int = 0,
        cell_limit: int = 0,
    ) -> dict[str, Any]:
        """As `Table.compare`; a value is a row of one cell."""
    def put_back(
        self,
        past: Tree,
        clears: bool,
        changed: bool = False,
        added: bool = False,
        keys: Sequence[bytes] | None = None,
        after: bytes | None = None,
        records: int = 10_000,
    ) -> dict[str, Any]:
        """As `Table.put_back`."""
    def clear(self) -> None: ...

@final
class Cursor:
    """Lazy, ordered iteration; keeps only its last key between steps."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class Table:
    """Typed rows within one transaction. Rows are tuples in column order."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def schema(self) -> str: ...
    def __len__(self) -> int: ...
    def insert(self, row: _Row | dict[str, _Value]) -> tuple[_Value, ...]:
        """Returns the primary key (a hidden, growing row id where none was declared)."""
    def insert_many(self, rows: Sequence[_Row]) -> int: ...
    def get(self, key: _Value | tuple[_Value, ...]) -> _Row | None: ...
    def update(self, key: _Value | tuple[_Value, ...], changes: dict[str, _Value]) -> bool: ...
    def delete(self, key: _Value | tuple[_Value, ...]) -> bool: ...
    def rows(self, start: Any = None, stop: Any = None, reverse: bool = False) -> RowCursor:
        """By primary key, start <= key < stop."""
    def page(
        self,
        after: tuple[_Value, ...] | None = None,
        limit: int = 200,
        index: str | None = None,
        reverse: bool = False,
        start: Any = None,
        stop: Any = None,
        cell_limit: int = 0,
    ) -> list[tuple[tuple[_Value, ...], _Row]]:
        """One page of (position, row) in key or index order, beginning after the position `after`; `start` and
        `stop` bound the key or the indexed columns. With `cell_limit` > 0, text and blobs are cut to so many bytes.
        A position is opaque; `key_of` gives a row's primary key."""
    def skip(
        self,
        rows: int,
        after: tuple[_Value, ...] | None = None,
        index: str | None = None,
        reverse: bool = False,
        start: Any = None,
        stop: Any = None,
    ) -> tuple[int, tuple[_Value, ...] | None]:
        """Walk over up to `rows` rows without handing them out: how many there were, and the last position."""
    def key_of(self, position: tuple[_Value, ...]) -> tuple[_Value, ...]: ...
    def key_beside(self, bound: bytes, *, before: bool) -> tuple[_Value, ...] | None:
        """The primary key of the last row below a bound of stored keys (see `Store.reach_of_pages`), or of the first
        one from it on."""
    def compare(
        self,
        past: Table,
        after: bytes | None = None,
        records: int = 10_000,
        keep: int = 0,
        cell_limit: int = 0,
    ) -> dict[str, Any]:
        """Compare a portion of this table with what it was, `past`, in another database: at most `records`
        records beyond the key `after`, and at most `keep` differences, which are handed out (none, where 0).
        Keys: same, added, changed, removed (since then), found [(key bytes, key, row then or None, row now or
        None)], next (None at the end). Raises SchemaInvalid where the columns are other ones."""
    def put_back(
        self,
        past: Table,
        clears: bool,
        changed: bool = False,
        added: bool = False,
        keys: Sequence[bytes] | None = None,
        after: bytes | None = None,
        records: int = 10_000,
    ) -> dict[str, Any]:
        """One pass of putting rows back as they were in `past`, over a portion, or over the rows of `keys`. A
        pass that `clears` removes `changed` rows, and `added` ones, where so said; the other one adds those of then
        that are not there. Both in turn, over everything: so rows may exchange unique values. One that clears
        neither only counts. Keys: cleared, removed, filled; kept, extra, missing (changed, added and removed rows
        that it left alone); looked, next. Raises UniqueViolation, NotNullViolation."""
    def by_index(self, index: str, key: _Value | tuple[_Value, ...]) -> list[_Row]: ...

@final
class RowCursor:
    def __iter__(self) -> Self: ...
    def __next__(self) -> _Row: ...

@final
class Recovery:
    """A recovery in progress. Its steps are called in order by the stages of `engine.recovery`."""

    @staticmethod
    def begin(
        path: str, options: dict[str, Any], ground: str = "in_place", beside: str | None = None
    ) -> Recovery:
        """Takes LOCK; raises DatabaseOpenElsewhere. Finishes or drops what an earlier recovery left.

        ground: "in_place" changes the originals; "overlay" writes beside them in the database
        directory until `finish`; "rehearsal" writes to the folder `beside` and never installs.
        """
    @property
    def settled(self) -> str:
        """What an earlier recovery had left: nothing | dropped | installed."""
    @property
    def overlay_bytes(self) -> int:
        """Bytes written beside the originals so far; 0 while a step runs."""
    def discover_log(self, job: Job) -> dict[str, Any]:
        """Keys: segments [{number, start_lsn, bytes, incarnation}], gaps [text], bytes, checkpoint_lsn, redo_lsn."""
    def cut_log(self, job: Job) -> dict[str, Any]:
        """Cut a damaged log at its last valid record, before `validate_log`; on an overlay only.

        Keys: at_lsn, start_lsn (new entries begin there), reason (empty where nothing is damaged), lost_bytes,
        lost_commits (those that can still be recognised), last_commit_at, pages_beyond. Raises
        RecoveryImpossible where no checkpoint is complete before the damage.
        """
    def validate_log(self, job: Job) -> dict[str, Any]:
        """Keys: end_lsn, entries, bytes, end_reason (text). Raises WalCorrupted where the log is damaged before its end."""
    def restore_doublewrite(self, job: Job) -> dict[str, Any]:
        """Keys: pages_found, pages_restored."""
    def analyse(self, job: Job) -> dict[str, Any]:
        """Keys: start_lsn, end_lsn, records, bytes, losers [{txn, started_at, changes, first_lsn}], dirty_pages,
        redo_lsn, committed, seconds."""
    def can_open_early(self) -> bool:
        """Whether `open_early` may follow `analyse`: in place, and the index of the log fits its memory."""
    def open_early(self) -> Store:
        """In place of `redo`, `undo` and `finish`, after `restore_doublewrite`: the open store redoes
        pages when they are first needed, and the rest in the background. Nothing is taken back any more."""
    def redo(self, job: Job) -> dict[str, Any]:
        """Keys: records, applied, skipped, pages, bytes, seconds."""
    def undo(self, job: Job) -> dict[str, Any]:
        """Keys: transactions, records, seconds."""
    def check(self, job: Job) -> dict[str, Any]:
        """As Store.check."""
    def damaged_indexes(self) -> list[dict[str, Any]]:
        """Secondary indexes that cannot be trusted. Keys: table, index, reason."""
    def rebuild_index(self, table: str, index: str, job: Job) -> dict[str, Any]: ...
    def finish(self, job: Job) -> Store:
        """Checkpoint, markers, and the open store; an overlay is installed first.

        An error with the field `installing` comes after the decision: the next open finishes it.
        Any other error from an overlay leaves the originals as they were.
        """
    def rehearsed(self, job: Job | None = None) -> dict[str, Any]:
        """Carries a rehearsal to its end, drops it, releases LOCK. Keys: bytes.

        Raises Cancelled where `job` was cancelled; it is dropped then too."""
    def look(self) -> Store:
        """What a rehearsal came to, open and read-only; LOCK is held until it is closed."""
    def revert(self) -> None:
        """Drops what lies beside the originals and ends the recovery, but keeps LOCK."""
    def abandon(self) -> None:
        """Stop here; the database still needs recovery. Releases LOCK."""
