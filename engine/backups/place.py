"""The directory that a restore fills: held for one restore at a time, and as it was after an error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from engine.backups.claim import take_claim
from engine.errors import DatabaseNotFound, TargetNotEmpty, from_exception

_CUT_OFF = "a restore into it was cut off, so it may not be whole"


@contextmanager
def filling(place: Path) -> Iterator[None]:
    """Hold the missing or empty directory `place` while it is filled.

    After an error it is missing or empty again. Raises `TargetNotEmpty` (-63) where it holds something
    or another restore fills it, `DatabaseNotFound` (-14) where there is no folder for it, and what the
    file system says.
    """
    with ExitStack() as held:
        cut_off = _claim(place, held)
        existed = place.exists()
        if existed and (not place.is_dir() or any(place.iterdir())):
            if not cut_off:
                raise TargetNotEmpty(path=str(place))
            # It is told as often as anybody asks.
            held.pop_all()
            _claim_of(place).write_bytes(cut_off)
            raise TargetNotEmpty(path=str(place), detail=_CUT_OFF)
        if not place.parent.is_dir():
            raise DatabaseNotFound(path=str(place.parent))
        try:
            yield
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if existed:
                place.mkdir(mode=0o700, exist_ok=True)
            if isinstance(error, OSError):
                raise from_exception(error, "restore to") from error
            raise


def _claim_of(place: Path) -> Path:
    # Beside it, for the kernel wants it empty: two that both saw it empty would fill it together, and
    # the one that fails would clear away what the other has written.
    return place.with_name(f".{place.name}.being-restored")


def _claim(place: Path, held: ExitStack) -> bytes:
    """Hold `place`; returns the claim of a restore that held it and never came to its end, or nothing."""
    claim = _claim_of(place)
    # A disk may be restored to whose parent belongs to somebody else, or the parent is missing.
    with suppress(OSError):
        left = claim.read_bytes() if claim.exists() else b""
        if not take_claim(claim):
            raise TargetNotEmpty(path=str(place), detail="another restore fills it at this moment")
        held.callback(claim.unlink, missing_ok=True)
        return left
    return b""
