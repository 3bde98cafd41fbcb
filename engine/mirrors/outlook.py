"""What directories say of themselves, and what a fail over would come to; without opening anything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import bridge
from engine.errors import WalCorrupted
from engine.tasks import Task
from engine.types import MirrorOutlook


@dataclass(frozen=True, slots=True)
class Proof:
    """A mirror was recovered beside itself, and all of it was checked."""

    path: Path
    end_lsn: int
    pages: int
    records: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def known_mirrors(path: str | Path) -> tuple[tuple[Path, bool], ...]:
    """The mirrors that a database knows of, and which of them are synchronous; it may be open or not."""
    found = bridge.mirror_standing(str(path))
    mirrors = found["mirrors"] if found is not None else []
    return tuple((Path(known["path"]), known["synchronous"]) for known in mirrors)


def outlook(mirror: str | Path, primary: str | Path | None = None) -> MirrorOutlook:
    """What a fail over to `mirror` would lose, as far as `primary` can be read; changes nothing.

    Raises `MirrorIncomplete` (-111) where it could not take over.
    """
    raw = bridge.mirror_outlook(str(mirror), None if primary is None else str(primary))
    return outlook_of(Path(mirror), raw)


def outlook_of(mirror: Path, raw: dict[str, Any]) -> MirrorOutlook:
    return MirrorOutlook(
        path=str(mirror),
        primary=raw["primary"],
        epoch=raw["epoch"],
        end_lsn=raw["end_lsn"],
        last_commit_at=raw["last_commit_at"],
        redo_bytes=raw["redo_bytes"],
        lost_bytes=raw["lost_bytes"],
        lost_commits=raw["lost_commits"],
        broken=raw["broken"] or "",
        begun=raw["begun"],
    )


def verify_task(mirror: str | Path, scratch: str | Path | None = None) -> Task[Proof]:
    """Prove a mirror that nobody is keeping at the moment; see `Mirrors.verify_task`."""
    place = Path(mirror).expanduser().absolute()

    def work(task: Task[Proof]) -> Proof:
        job = bridge.Job()
        task.use(job)
        with tempfile.TemporaryDirectory(prefix="holdfast-proof-", dir=scratch) as folder:
            return proved(place, lambda: bridge.mirror_verify(str(place), folder, job))

    return Task(f"Prove the mirror {place.name}", work)


def proved(mirror: Path, recover: Callable[[], dict[str, Any]]) -> Proof:
    """What recovering a mirror beside itself has shown.

    A damaged log is a finding of the proof: of a database its error says to restore a backup, and the log
    of a mirror comes again from the database.
    """
    try:
        raw = recover()
    except WalCorrupted as error:
        at = error.fields.get("lsn")
        where = "" if at is None else f" at LSN {at}"
        return Proof(mirror, 0, 0, 0, (f"its log is damaged{where}",))
    return Proof(mirror, raw["end_lsn"], raw["pages"], raw["records"], tuple(raw["problems"]))
