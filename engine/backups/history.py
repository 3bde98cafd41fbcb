"""What is known of each backup in a folder: who asked for it, what proved it, what went wrong.

Beside each backup lies a small file, `NAME.proof.json`, replaced in one step. One that is missing
or damaged is made up for from the backup's own manifest: then only what the manifest says is known,
and `note` says so. None of it holds stored keys or values.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.backups.claim import REMOVING, UNFINISHED
from engine.errors import HoldfastError, from_exception
from engine.files import write_atomically
from engine.types import BackupInfo, BackupOrigin, ProofStep

if TYPE_CHECKING:
    from engine.database import Database

PROOF_ENDING = ".proof.json"
MANIFEST = "manifest.json"
RECORD_ENDING = ".backup.json"
_LARGEST_BYTES = 16 << 20
_VERSION = 1

_WRONG = (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError)
"""What reading a file of unknown content may raise."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Numbers of rows, by table and by tree, noted around the taking of a backup."""

    tables: Mapping[str, int] = field(default_factory=dict)
    trees: Mapping[str, int] = field(default_factory=dict)
    is_exact: bool = False
    """Nothing was committed meanwhile, so a restored backup must hold just these."""

    @property
    def total(self) -> int:
        return sum(self.tables.values()) + sum(self.trees.values())


@dataclass(frozen=True, slots=True)
class Setback:
    """The step that a backup failed, and why."""

    step: ProofStep
    at: float
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class KeptBackup:
    """One backup in a folder, with its four steps."""

    info: BackupInfo
    origin: BackupOrigin = BackupOrigin.MANUAL
    restored_at: float | None = None
    queried_at: float | None = None
    noted: RowCounts | None = None
    """Of the database when the backup was taken."""
    counted: RowCounts | None = None
    """Of the restored backup."""
    setback: Setback | None = None
    database: str = ""
    """The identity of the database that it is of; empty where its manifest cannot be read."""
    note: str = ""
    """A word on what could not be read; empty where everything could."""

    @property
    def name(self) -> str:
        return Path(self.info.path).name

    @property
    def parent(self) -> str:
        """The name of the backup that it continues; empty for a full one."""
        return Path(self.info.parent).name

    @property
    def is_proved(self) -> bool:
        """It was restored, opened, checked and counted, and has not failed since."""
        return self.queried_at is not None and self.setback is None

    def at(self, step: ProofStep) -> float | None:
        """When a step was reached last; None where it was not."""
        dates = (self.info.taken_at, self.info.verified_at, self.restored_at, self.queried_at)
        return dict(zip(ProofStep, dates, strict=True))[step]


def kept_backups(folder: str | Path) -> tuple[KeptBackup, ...]:
    """Every finished backup in a folder with its proof, newest first.

    Raises `IoError` (-10) or `PermissionDenied` where the folder is there and cannot be read.
    """
    chain = Path(folder).expanduser().absolute()
    if not chain.is_dir():
        return ()
    try:
        entries = [entry for entry in chain.iterdir() if _is_backup(entry)]
    except OSError as error:
        raise from_exception(error, "read") from error
    found = [kept for entry in entries if (kept := kept_backup(entry)) is not None]
    return tuple(newest_first(found))


def newest_first(backups: Iterable[KeptBackup]) -> list[KeptBackup]:
    """Backups of one folder by the order in which they were taken, whatever the clock said then."""
    return sorted(backups, key=_order, reverse=True)


def _order(kept: KeptBackup) -> tuple[int, float, int]:
    # The number in the chain first: the clock may have been set back between two backups.
    return kept.info.sequence, kept.info.taken_at, kept.info.end_lsn


def kept_backup(path: Path) -> KeptBackup | None:
    """One backup with its proof; None where neither its manifest nor the record beside it can be read."""
    manifest = _read(path / MANIFEST)
    record = _read(path.with_name(f"{path.name}{RECORD_ENDING}"))
    info = _info_of(path, record, manifest)
    if info is None:
        return None
    database = str((manifest or {}).get("database") or "")
    try:
        return _kept(info, database, json.loads(_text(_proof_path(path))))
    except FileNotFoundError:
        return KeptBackup(info, database=database)
    except _WRONG:
        note = "Its proof could not be read and was made up for from the manifest: rehearse it again."
        return KeptBackup(info, database=database, note=note)


def noted(database: Database, origin: BackupOrigin, take: Callable[[], BackupInfo]) -> BackupInfo:
    """Take a backup, and keep beside it who asked for it and how many rows there were."""
    before, written = _count(database), _written(database)
    info = take()
    is_exact = before is not None and _written(database) == written and before == _count(database)
    counts = None if before is None else replace(before, is_exact=is_exact)
    write_proof(KeptBackup(info, origin, noted=counts))
    return info


def note_restored(path: Path, counted: RowCounts) -> KeptBackup | None:
    """The backup was restored, checked and counted just now."""
    now = time.time()
    return _change(path, restored_at=now, queried_at=now, counted=counted, setback=None, note="")


def note_whole(path: Path) -> KeptBackup | None:
    """The backup's checksums were all right just now: a setback of that kind is over."""
    kept = kept_backup(path)
    if kept is None or kept.setback is None or kept.setback.step is not ProofStep.CHECKSUMMED:
        return kept
    return _change(path, setback=None)


def note_setback(path: Path, step: ProofStep, error: HoldfastError) -> KeptBackup | None:
    """The backup failed a step just now; what it had passed of the later ones no longer counts."""
    setback = Setback(step, time.time(), error.code, error.message)
    return _change(path, setback=setback)


def write_proof(kept: KeptBackup) -> None:
    """Replace the small file beside a backup, where the folder can be written to."""
    setback = kept.setback
    content = {
        "format": _VERSION,
        "origin": kept.origin,
        "restored_at": kept.restored_at,
        "queried_at": kept.queried_at,
        "noted": _counts_to_json(kept.noted),
        "counted": _counts_to_json(kept.counted),
        "setback": None
        if setback is None
        else {"step": setback.step, "at": setback.at, "code": setback.code, "message": setback.message},
    }
    try:
        write_atomically(_proof_path(Path(kept.info.path)), json.dumps(content, indent=1))
    except OSError as error:
        # A backup on a read-only medium can be proved all the same; it is told, not remembered.
        _log.warning("the proof of %s could not be kept: %s", kept.name, error.strerror)


def files_of(path: Path) -> tuple[Path, Path]:
    """The small files beside a backup."""
    return (path.with_name(f"{path.name}{RECORD_ENDING}"), _proof_path(path))


def _change(path: Path, **changes: Any) -> KeptBackup | None:
    kept = kept_backup(path)
    if kept is None:
        return None
    changed = replace(kept, **changes)
    write_proof(changed)
    return changed


def _is_backup(entry: Path) -> bool:
    if entry.name.startswith(".") or entry.name.endswith((UNFINISHED, REMOVING)):
        return False
    # One that lost its manifest is still told of, so that somebody learns that it is damaged.
    return (entry / MANIFEST).is_file() or (entry.is_dir() and files_of(entry)[0].is_file())


def _info_of(
    path: Path, record: Mapping[str, Any] | None, manifest: Mapping[str, Any] | None
) -> BackupInfo | None:
    try:
        if record is not None:
            verified = record.get("verified_at")
            return BackupInfo(
                path=str(path),
                taken_at=_moment(record["taken_at"]),
                end_lsn=int(record["end_lsn"]),
                pages=int(record["pages"]),
                bytes=int(record["bytes"]),
                verified_at=None if verified is None else _moment(verified),
                parent=str(record.get("parent") or ""),
                sequence=int(record.get("sequence") or 0),
                logs=tuple(str(log) for log in record.get("logs") or ()),
                encryption=_encryption(manifest),
                key_file=str(record.get("key_file") or ""),
            )
    except _WRONG:
        pass
    try:
        assert manifest is not None
        return BackupInfo(
            path=str(path),
            # The kernel's own file counts in microseconds.
            taken_at=_moment(manifest["taken_at"] / 1e6),
            end_lsn=int(manifest["end_lsn"]),
            pages=int(manifest["pages"]),
            bytes=sum(int(file["bytes"]) for file in manifest["files"]),
            verified_at=None,
            parent=str(manifest.get("parent") or ""),
            sequence=int(manifest.get("sequence") or 0),
            encryption=_encryption(manifest),
        )
    except (*_WRONG, AssertionError):
        return None


def _encryption(manifest: Mapping[str, Any] | None) -> str:
    told = (manifest or {}).get("encryption")
    return str(told.get("key", "")) if isinstance(told, Mapping) else ""


def _kept(info: BackupInfo, database: str, raw: Mapping[str, Any]) -> KeptBackup:
    setback = raw["setback"]
    return KeptBackup(
        info,
        BackupOrigin(raw["origin"]),
        _moment_or_none(raw["restored_at"]),
        _moment_or_none(raw["queried_at"]),
        _counts_from_json(raw["noted"]),
        _counts_from_json(raw["counted"]),
        None
        if setback is None
        else Setback(
            ProofStep(setback["step"]),
            _moment(setback["at"]),
            int(setback["code"]),
            str(setback["message"]),
        ),
        database,
    )


def _counts_to_json(counts: RowCounts | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    return {"tables": dict(counts.tables), "trees": dict(counts.trees), "exact": counts.is_exact}


def _counts_from_json(raw: Mapping[str, Any] | None) -> RowCounts | None:
    if raw is None:
        return None
    tables = {str(name): int(rows) for name, rows in raw["tables"].items()}
    trees = {str(name): int(rows) for name, rows in raw["trees"].items()}
    return RowCounts(tables, trees, bool(raw["exact"]))


def count_kept(database: Database) -> RowCounts:
    """The numbers of rows as the database keeps them: read from its catalogue, at once."""
    store = database.store
    tables = {name: bridge.table_info(store, name).rows for name in sorted(store.tables())}
    with database.transaction(read_only=True) as txn:
        trees = {name: len(txn.tree(name, create=False)) for name in database.trees() if name not in tables}
    return RowCounts(tables, trees)


def _count(database: Database) -> RowCounts | None:
    try:
        return count_kept(database)
    except HoldfastError as error:
        # What cannot be counted is all the more worth a backup.
        _log.warning("the rows could not be counted before a backup: %s", error.message)
        return None


def _written(database: Database) -> int:
    return database.status().transactions.written


def _proof_path(backup: Path) -> Path:
    return backup.with_name(f"{backup.name}{PROOF_ENDING}")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError("too large to be ours")
    return content.decode("utf-8")


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        value = json.loads(_text(path))
    except _WRONG:
        return None
    return value if isinstance(value, dict) else None


def _moment(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError("not a time")
    return number


def _moment_or_none(value: Any) -> float | None:
    return None if value is None else _moment(value)
