"""What a restore would give and take, told before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.backups.backup import newest
from engine.backups.history import KeptBackup, kept_backup
from engine.backups.keys import BackupKey, key_of
from engine.backups.rehearsal import room_needed
from engine.errors import BackupDamaged, BackupLocked
from engine.types import TargetState


@dataclass(frozen=True, slots=True)
class RestorePreview:
    """What would be there after a restore, and what it takes."""

    backup: KeptBackup
    needed_bytes: int
    free_bytes: int
    """Of the disk that it would go to."""
    target: TargetState
    is_locked: bool = False
    """It is encrypted, and nothing that is known opens it: a key has to be given."""

    @property
    def has_room(self) -> bool:
        return self.free_bytes >= self.needed_bytes


def restore_preview(
    source: str | Path, target: str | Path, *, key: BackupKey | None = None
) -> RestorePreview:
    """Look at the newest backup in a folder, or at one backup, and at the place it would go to.

    Writes nothing; whether `key` is the right one is not tried. Raises `BackupDamaged` (-62) where the
    manifest cannot be read, `IoError` (-10).
    """
    path = newest(source)
    place = Path(target).expanduser().absolute()
    kept = kept_backup(path)
    if kept is None:
        raise BackupDamaged(path=str(path), detail="its manifest cannot be read")
    return RestorePreview(kept, room_needed(path), _free(place.parent), _state(place), _is_locked(kept, key))


def _is_locked(kept: KeptBackup, key: BackupKey | None) -> bool:
    if not kept.info.encryption:
        return False
    try:
        return key_of(kept.info.path, key) is None
    except BackupLocked:
        return True


def _state(place: Path) -> TargetState:
    try:
        if place.is_dir():
            return TargetState.NOT_EMPTY if any(place.iterdir()) else TargetState.EMPTY
        if place.exists():
            return TargetState.NOT_EMPTY
        return TargetState.MISSING if place.parent.is_dir() else TargetState.NO_PARENT
    except OSError:
        # What may not be looked into may not be written into either.
        return TargetState.NOT_EMPTY


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
