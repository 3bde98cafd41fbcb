"""Proving a backup: its checksums, or a restore of it into a scratch folder that is checked and counted.

A rehearsal does what a restore does, so that what is proved is the way back itself. It opens the
restored database, checks every invariant of it, reads every row of every table, and compares
the numbers with those that were noted when the backup was taken. The scratch folder goes afterwards.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backups import history
from engine.backups.backup import newest, verify_task
from engine.backups.history import MANIFEST, RowCounts
from engine.backups.keys import BackupKey
from engine.backups.restore import restore_task
from engine.errors import (
    BackupDamaged,
    Cancelled,
    DiskFull,
    HoldfastError,
    IoError,
    RehearsalFailed,
    from_exception,
)
from engine.files import scratch_folder
from engine.tasks import Task
from engine.types import BackupInfo, ProofStep
from engine.units import counted

if TYPE_CHECKING:
    from engine.database import Database

_PREFIX = ".holdfast-rehearsal-"
_PAGE = 500
"""Rows read at once: so few that the interpreter is never held for long."""
_SPARE_BYTES = 80 << 20
"""What recovery and check write beside what is restored: a log segment and its cache."""
_STEPS = 4


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A backup that came back: restored, opened, checked, counted."""

    path: Path
    """The backup."""
    end_lsn: int
    pages: int
    records: int
    """Records that the check read, those of indexes among them."""
    counted: RowCounts
    noted: RowCounts | None
    """What the database held when the backup was taken; None where nobody noted it."""
    seconds: float

    @property
    def is_compared(self) -> bool:
        """Whether the numbers had to be, and were, just those that were noted."""
        return self.noted is not None and self.noted.is_exact


def checksum_task(target: str | Path, key: BackupKey | None = None) -> Task[BackupInfo]:
    """Check the newest backup in a folder, or one backup, without restoring it; keep the outcome.

    Start the task, or run it. Raises `BackupDamaged` (-62) that names the file.
    """

    def work(task: Task[BackupInfo]) -> BackupInfo:
        path = newest(target)
        with _setbacks_noted(path, ProofStep.CHECKSUMMED):
            info = task.carry(verify_task(path, key))
        history.note_whole(path)
        return info

    return Task("Verify backup", work)


def rehearse_task(
    target: str | Path, *, scratch: str | Path | None = None, key: BackupKey | None = None
) -> Task[Rehearsal]:
    """Restore the newest backup in a folder, or one backup, into a scratch folder, and prove it there.

    Start the task, or run it. `scratch` is the folder to make that folder in; else it is the system's
    for temporary files, or that of the backups, whichever has room. Cancel and failure leave nothing
    behind. Raises `DiskFull` (-11) beforehand where there is no room, `BackupDamaged` (-62),
    `RehearsalFailed` (-69), and what a restore raises.
    """

    def work(task: Task[Rehearsal]) -> Rehearsal:
        path = newest(target)
        began = time.monotonic()
        task.stage("Looking for room", step=1, steps=_STEPS)
        parent = scratch_place(path, None if scratch is None else Path(scratch), "rehearse the backup in")
        try:
            with scratch_folder(parent, _PREFIX) as folder, _setbacks_noted(path, ProofStep.RESTORED):
                return _rehearse(path, folder / "restored.holdfast", task, began, key)
        except OSError as error:
            raise from_exception(error, "rehearse the backup in") from error

    return Task("Rehearse backup", work)


def room_needed(path: Path) -> int:
    """Bytes that a rehearsal of a backup takes on the disk; raises `BackupDamaged` (-62)."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        restored = sum(int(file["restored_bytes"]) for file in manifest["files"])
    except (OSError, ValueError, TypeError, LookupError):
        raise BackupDamaged(path=str(path), file=MANIFEST, detail="it cannot be read") from None
    # An increment says the whole size of what it and those before it are restored to.
    return restored + _SPARE_BYTES


def scratch_place(path: Path, wanted: Path | None, operation: str) -> Path:
    """A folder with room for a scratch folder with a restored backup: `wanted`, else that for temporary
    files, or that of the backups. Raises `DiskFull` (-11), naming the operation, where none has room."""
    need = room_needed(path)
    places = [wanted] if wanted is not None else [Path(tempfile.gettempdir()), path.parent]
    free = {place: _free(place) for place in places}
    for place, room in free.items():
        if room >= need:
            return place
    best = max(free, key=lambda place: free[place])
    raise DiskFull(operation=operation, path=str(best), required=need, available=free[best])


def _free(place: Path) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _rehearse(
    path: Path, place: Path, task: Task[Rehearsal], began: float, key: BackupKey | None
) -> Rehearsal:
    # Imported here: the database owns the backups.
    from engine.opening import open_database

    task.stage("Restoring into a scratch folder", step=2, steps=_STEPS)
    restored = task.carry(restore_task(path, place, key=key))
    task.stage("Opening and checking it", step=3, steps=_STEPS)
    with open_database(place, create=False, recovery="never") as database:
        report = task.carry(database.check_task())
        if not report.ok:
            worst = report.problems[0].detail
            raise RehearsalFailed(path=str(path), detail=f"the check of it found {worst}")
        task.stage("Counting rows", step=4, steps=_STEPS)
        found = _count(database, task)
        kept = history.count_kept(database)
    noted = _noted(path)
    _compare(path, found, kept, "its catalogue")
    if noted is not None and noted.is_exact:
        _compare(path, found, noted, "the database at that time")
    history.note_restored(path, found)
    return Rehearsal(
        path, restored.end_lsn, report.pages, report.records, found, noted, time.monotonic() - began
    )


def _count(database: Database, task: Task[Any]) -> RowCounts:
    """Read every row of every table, and the first and last of every other tree; the check read the rest."""
    names = database.tables.names()
    task.stage("Counting rows", total=sum(database.tables.info(name).rows for name in names), unit="rows")
    tables, trees = {}, {}
    with database.transaction(read_only=True) as txn:
        for name in names:
            table, rows, after = txn.table(name), 0, None
            while page := table.page(after, _PAGE, cell_limit=1):
                rows, after = rows + len(page), page[-1][0]
                task.advance(len(page))
            tables[name] = rows
        for name in database.trees():
            if name not in tables:
                tree = txn.tree(name, create=False)
                next(iter(tree.items()), None)
                next(iter(tree.items(reverse=True)), None)
                trees[name] = len(tree)
    return RowCounts(tables, trees)


def _compare(path: Path, found: RowCounts, wanted: RowCounts, whose: str) -> None:
    for kind, have, want in (
        ("table", found.tables, wanted.tables),
        ("tree", found.trees, wanted.trees),
    ):
        for name in sorted({*have, *want}):
            if have.get(name) != want.get(name):
                here, told = _rows(have.get(name)), _rows(want.get(name))
                detail = f"the {kind} {name} has {here}, {whose} says {told}"
                raise RehearsalFailed(path=str(path), detail=detail)


def _rows(count: int | None) -> str:
    return "none of that name" if count is None else counted(count, "row")


def _noted(path: Path) -> RowCounts | None:
    kept = history.kept_backup(path)
    return None if kept is None else kept.noted


@contextmanager
def _setbacks_noted(path: Path, step: ProofStep) -> Iterator[None]:
    """Keep beside the backup that it failed a step; what is not the backup's fault is not kept."""
    try:
        yield
    except (BackupDamaged, RehearsalFailed) as error:
        history.note_setback(path, step, error)
        raise
    except (Cancelled, IoError, DiskFull):
        raise
    except HoldfastError as error:
        if step is ProofStep.RESTORED and not error.is_retryable():
            history.note_setback(path, step, error)
        raise
