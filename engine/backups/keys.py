"""Keys of encrypted backups: a passphrase, or the content of a key file.

Holdfast keeps neither. Of a key file it notes the path beside each backup, so that whoever can read
the file needs to say nothing; a passphrase is asked for each time. Without its key nobody can read a
backup.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.backups.history import kept_backup, kept_backups
from engine.errors import BackupLocked, InvalidArgument, from_exception

_LEAST_CHARACTERS = 10
_LEAST_BYTES = 16
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupKey:
    """What opens an encrypted backup. It never shows its secret."""

    kind: Literal["passphrase", "key_file"]
    secret: bytes = field(repr=False)
    path: str = ""
    """Where the key file is; empty for a passphrase."""


def passphrase(text: str) -> BackupKey:
    """The key of a passphrase. Raises `InvalidArgument` where it is too short to be one."""
    if len(text) < _LEAST_CHARACTERS:
        raise InvalidArgument(
            argument="the passphrase", issue=f"it needs at least {_LEAST_CHARACTERS} characters"
        )
    return BackupKey("passphrase", text.encode())


def key_file(path: str | Path) -> BackupKey:
    """The key in a file. Raises `BackupLocked` (-93) where it cannot be read, or holds too little."""
    place = Path(path).expanduser().absolute()
    try:
        with place.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BackupLocked(reason=f"the key file {place} cannot be read") from error
    if not _LEAST_BYTES <= len(content) <= _MOST_BYTES:
        raise BackupLocked(reason=f"{place} is no key file: it needs {_LEAST_BYTES} bytes to 1 MiB")
    return BackupKey("key_file", content, str(place))


def make_key_file(path: str | Path) -> BackupKey:
    """Write a new random key into the file `path`, which must not be there; only its owner can read it."""
    place = Path(path).expanduser().absolute()
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise from_exception(error, "write the key file") from error
    return key_file(place)


def key_of(source: str | Path, given: BackupKey | None = None) -> BackupKey | None:
    """What opens the newest backup in a folder, or one backup: the key that was given, else the key
    file that is noted with it; None where it has none, or a passphrase that nobody gave."""
    if given is not None:
        return given
    path = Path(source).expanduser().absolute()
    alone = kept_backup(path)
    found = kept_backups(path) if alone is None else (alone,)
    noted = found[0].info.key_file if found else ""
    return key_file(noted) if noted else None


def pair_of(key: BackupKey | None) -> tuple[str, bytes] | None:
    """A key as the kernel takes it."""
    return None if key is None else (key.kind, key.secret)
