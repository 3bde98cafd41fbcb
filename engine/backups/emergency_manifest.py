"""The manifest of an emergency backup: what it holds, what it lacks, and what it is encrypted with.

It stays readable where the files are sealed: names and sizes, never what is stored. Then it carries a keyed
hash too, so that nobody without the key can change it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from engine import bridge
from engine.backups.claim import EMERGENCY
from engine.backups.keys import BackupKey, key_file, pair_of
from engine.errors import BackupDamaged, BackupLocked

MANIFEST = EMERGENCY
SEALED = ".sealed"
"""What the names of encrypted files end with: nothing takes them for a database."""
_PLAIN, _ENCRYPTED = 1, 2
"""Formats. A version that knows nothing of keys refuses the second one."""
_PART = 1 << 20


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file as it was copied."""

    name: str
    bytes: int
    """Of its content, before it was encrypted."""
    blake3: str
    """Of what lies in the backup."""
    unreadable: tuple[tuple[int, int], ...] = ()
    """Stretches that could not be read, as first byte and length; the copy has zeros there."""


@dataclass(frozen=True, slots=True)
class EmergencyBackup:
    """What an emergency backup holds and lacks."""

    path: str
    database: str
    taken_at: float
    files: tuple[CopiedFile, ...]
    damaged_pages: tuple[int, ...]
    """Pages whose checksum is wrong in the copy: the first thousand of them."""
    missing: tuple[str, ...]
    """What is lacking, in sentences; empty where everything could be read."""
    encryption: str = ""
    """passphrase | key_file; empty where everybody can read it."""
    key_file: str = ""
    """Where the key file was when it was taken."""
    locks: str = ""
    """What has to be known of the key to open it, as JSON; nothing of it is secret."""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def stored(self, file: CopiedFile) -> Path:
        """Where the copy of a file lies."""
        return Path(self.path) / (file.name + SEALED if self.encryption else file.name)


def signed(backup: EmergencyBackup, vault: bridge.Vault | None) -> str:
    """The manifest as it is written."""
    value: dict[str, Any] = {
        "format": _PLAIN if vault is None else _ENCRYPTED,
        **asdict(backup),
        "path": Path(backup.path).name,
    }
    value["seal"] = _digest(value)
    if vault is not None:
        value["mac"] = vault.sign(value["seal"])
    return json.dumps(value, indent=1)


def _digest(value: dict[str, Any]) -> str:
    return blake3(json.dumps(value).encode()).hexdigest()


def emergency_backups(target: str | Path) -> tuple[EmergencyBackup, ...]:
    """The emergency backups in a folder whose manifests can be believed, newest first."""
    found = []
    for manifest in Path(target).expanduser().absolute().glob(f"emergency-*/{MANIFEST}"):
        with suppress(BackupDamaged):
            found.append(read_emergency(manifest.parent))
    return tuple(sorted(found, key=lambda backup: backup.taken_at, reverse=True))


def is_emergency(path: str | Path) -> bool:
    return (Path(path).expanduser() / MANIFEST).is_file()


def read_emergency(path: str | Path) -> EmergencyBackup:
    """What the emergency backup in `path` says of itself, without its key; raises `BackupDamaged` (-62)."""
    return _read(Path(path).expanduser().absolute())[0]


def _read(place: Path) -> tuple[EmergencyBackup, str, str]:
    """The manifest, its hash, and the keyed hash of that; empty where it is not encrypted."""
    try:
        value = json.loads((place / MANIFEST).read_text("utf-8"))
        mac, seal = value.pop("mac", ""), value.pop("seal")
        is_encrypted = bool(value.get("encryption"))
        if _digest(value) != seal or value["format"] != (_ENCRYPTED if is_encrypted else _PLAIN):
            raise ValueError("changed")
        files = tuple(
            CopiedFile(
                file["name"],
                file["bytes"],
                file["blake3"],
                tuple((first, length) for first, length in file["unreadable"]),
            )
            for file in value["files"]
        )
        backup = EmergencyBackup(
            path=str(place),
            database=value["database"],
            taken_at=value["taken_at"],
            files=files,
            damaged_pages=tuple(value["damaged_pages"]),
            missing=tuple(value["missing"]),
            encryption=value.get("encryption", ""),
            key_file=value.get("key_file", ""),
            locks=value.get("locks", ""),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _damaged(place, MANIFEST, "its manifest is missing, cut off or changed") from None
    return backup, seal, mac


def vault_of(backup: EmergencyBackup, key: BackupKey | None) -> bridge.Vault | None:
    """What opens its files: `key`, else the key file that is noted with it; None where it is not encrypted.

    Raises `BackupLocked` (-93) where neither does, `BackupDamaged` (-62) where somebody without the key has
    changed the manifest.
    """
    if not backup.encryption:
        return None
    place = Path(backup.path)
    if key is None and backup.key_file:
        key = key_file(backup.key_file)
    try:
        vault = bridge.Vault.open(backup.locks, pair_of(key))
    except BackupLocked as error:
        raise BackupLocked(path=backup.path, reason=error.fields["reason"]) from error
    except BackupDamaged:
        raise _damaged(place, MANIFEST, "what it says of its key is impossible") from None
    known, seal, mac = _read(place)
    if known != backup or vault.sign(seal) != mac:
        raise _damaged(place, MANIFEST, "it was changed by somebody without the key")
    return vault


def content_of(backup: EmergencyBackup, file: CopiedFile, vault: bridge.Vault | None) -> Iterator[bytes]:
    """The content of one file, part by part, compared with the manifest by the end of it.

    Raises `BackupDamaged` (-62): nothing that was read before can be believed then.
    """
    place, name = Path(backup.path), file.name
    try:
        with backup.stored(file).open("rb") as stored:
            yield from _opened(stored, file, None if vault is None else vault.opener(name))
    except FileNotFoundError:
        raise _damaged(place, name, "it is missing") from None
    except BackupDamaged:
        raise _damaged(place, name, "its content is not what was written") from None


def _opened(stored: BinaryIO, file: CopiedFile, opener: bridge.Opener | None) -> Iterator[bytes]:
    size, seal = 0, blake3()
    while data := stored.read(_PART):
        seal.update(data)
        content = data if opener is None else opener.push(data)
        size += len(content)
        yield content
    if opener is not None:
        opener.finish()
    if seal.hexdigest() != file.blake3 or size != file.bytes:
        raise BackupDamaged(path="", file=file.name, detail="changed")


def _damaged(place: Path, file: str, detail: str) -> BackupDamaged:
    return BackupDamaged(path=str(place), file=file, detail=detail)
