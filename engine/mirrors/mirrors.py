"""The mirrors of an open database: add, watch, prove, remove, and let one take over."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.errors import (
    HoldfastError,
    InvalidArgument,
    MirrorIncomplete,
    StoreClosed,
    TargetNotEmpty,
    from_exception,
    from_kernel,
)
from engine.mirrors import register
from engine.mirrors.failover import FailOver, fail_over_task
from engine.mirrors.outlook import Proof, known_mirrors, outlook, proved
from engine.tasks import Task
from engine.types import MirrorInfo, MirrorOutlook, MirrorPhase

if TYPE_CHECKING:
    from engine.database import Database

_LOOK_S = 0.05
_RENEWAL_S = 60.0


class Mirrors:
    """Any thread may ask. The kernel's threads ship and redo; nothing of that runs here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> tuple[MirrorInfo, ...]:
        """How each mirror stands, now."""
        return tuple(_info(raw) for raw in self._database.store.mirrors())

    def standing(self) -> tuple[MirrorInfo, ...]:
        """As `list`; empty once the database is closed."""
        try:
            return self.list()
        except StoreClosed:
            return ()

    def reached(self, patience_s: float = 5.0) -> bool:
        """Whether a mirror follows; those that nobody has looked at yet are waited for so long."""
        due = time.monotonic() + patience_s
        while any(info.phase is MirrorPhase.CONNECTING for info in self.standing()):
            if time.monotonic() > due:
                break
            time.sleep(_LOOK_S)
        return any(info.phase is MirrorPhase.FOLLOWING for info in self.standing())

    def find(self, path: str | Path) -> MirrorInfo:
        """One mirror. Raises `InvalidArgument` (-2) where `path` is none of this database."""
        wanted = _place(path)
        for info in self.list():
            if info.path == str(wanted):
                return info
        raise InvalidArgument(argument="path", issue=f"{wanted} is no mirror of this database")

    def add(self, path: str | Path, *, synchronous: bool = False) -> MirrorInfo:
        """Keep a mirror in the directory `path`: missing or empty, or one that was a mirror before.

        Returns at once; the first copy is made in the background, while the database is in use. A
        former primary that holds nothing of its own goes on from where it is. Raises
        `TargetNotEmpty` (-63) where something else is in the directory.
        """
        place = _place(path)
        self._check_place(place)
        try:
            place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise from_exception(error, "make the directory of a mirror") from error
        self._database.store.mirror_add(str(place), synchronous)
        if self._database.config.mirror_fail_over == "automatic":
            self._database.guard.start()
        self.note()
        self._database.events.publish("mirrors_changed", path=str(place))
        return self.find(place)

    def note(self) -> None:
        """Note the mirrors outside of the database, for the day its disk is gone."""
        path = self._database.path
        with suppress(HoldfastError):
            register.note(path, [mirror for mirror, _waits in known_mirrors(path)])

    def _check_place(self, place: Path) -> None:
        own = self._database.path
        if place == own or own in place.parents or place in own.parents:
            raise InvalidArgument(
                argument="path", issue="a mirror lies neither in its database nor around it"
            )
        if not place.parent.is_dir():
            raise InvalidArgument(argument="path", issue=f"{place.parent} is not there")
        is_ours = place.is_dir() and bridge.mirror_standing(str(place)) is not None
        if place.exists() and not is_ours and (not place.is_dir() or any(place.iterdir())):
            raise TargetNotEmpty(path=str(place))

    def remove(self, path: str | Path, *, remove_files: bool = False) -> None:
        """Keep this mirror no longer; its files stay, unless they are to go."""
        self._database.store.mirror_remove(str(_place(path)), remove_files)
        self.note()
        self._database.events.publish("mirrors_changed", path=str(_place(path)))

    def former(self) -> Path | None:
        """The directory whose place this one took last, which can have it back; None where it took none."""
        says = bridge.mirror_standing(str(self._database.path))
        took_over = says is not None and says["role"] == "primary" and says["parted_at"] > 0
        return Path(says["other"]) if says is not None and took_over and says["other"] else None

    def outlook(self, path: str | Path) -> MirrorOutlook:
        """What a fail over to this mirror would lose if the database died now; changes nothing."""
        return outlook(_place(path), self._database.path)

    def level_task(self, path: str | Path) -> Task[MirrorInfo]:
        """Wait until the mirror has its copy and all that is durable; start the task, or run it.

        Raises the mirror's own error where it is refused, or lost.
        """

        def work(task: Task[MirrorInfo]) -> MirrorInfo:
            return self.wait_level(path, task)

        return Task("Wait for the mirror", work)

    def wait_level(self, path: str | Path, task: Task[Any], patience_s: float = 30.0) -> MirrorInfo:
        """As the task, in another one; a lost mirror is waited for as long as `patience_s`."""
        lost_since: float | None = None
        furthest = 0
        while True:
            info = self.find(path)
            if info.is_level:
                return info
            if info.phase is MirrorPhase.COPYING:
                task.stage(f"Copying: {info.copied:,} of {info.to_copy:,} pages")
            elif info.phase is MirrorPhase.FOLLOWING:
                lost_since = None
            if info.copied > furthest:
                # A copy that ends at the same damaged page each time is none that gets on.
                furthest, lost_since = info.copied, None
            if info.phase in (MirrorPhase.LOST, MirrorPhase.REFUSED):
                lost_since = time.monotonic() if lost_since is None else lost_since
                if info.phase is MirrorPhase.REFUSED or time.monotonic() - lost_since > patience_s:
                    raise self.error_of(path) or MirrorIncomplete(path=info.path, reason=info.error)
            task.proceed()
            time.sleep(_LOOK_S)

    def error_of(self, path: str | Path) -> HoldfastError | None:
        """Why a mirror is lost or refused."""
        wanted = str(_place(path))
        for raw in self._database.store.mirrors():
            if raw["path"] == wanted and raw["error"] is not None:
                code, fields = raw["error"]
                return from_kernel(code, {"path": wanted, **fields})
        return None

    def verify_task(self, path: str | Path, scratch: str | Path | None = None) -> Task[Proof]:
        """Prove a mirror: recover it beside itself, in a scratch folder, and check all of it.

        The mirror goes on following meanwhile. Raises `MirrorIncomplete` (-111), and what a recovery
        raises where it cannot be carried out. Damage, of pages or of the log, is in the answer.
        """
        place = _place(path)

        def work(task: Task[Proof]) -> Proof:
            job = bridge.Job()
            task.use(job)
            with tempfile.TemporaryDirectory(prefix="holdfast-proof-", dir=scratch) as folder:
                return proved(place, lambda: self._database.store.mirror_verify(str(place), folder, job))

        return Task(f"Prove the mirror {place.name}", work)

    def mend_task(self, path: str | Path) -> Task[int]:
        """Read the log and every page of a mirror, and replace what is damaged by what this database has,
        of the log also by what is archived: no full copy. The answer is the pages. Both are in use meanwhile.

        Redo in the mirror does the same by itself when it meets damage. Where the damaged part of the log is
        kept nowhere any more, the mirror gets a new copy: event `mirror_needs_copy`. Raises
        `MirrorIncomplete` (-111) where the mirror does not follow, and the page's own error where the
        database has it no more either: repair that first.
        """
        place = _place(path)

        def work(task: Task[int]) -> int:
            job = bridge.Job()
            task.use(job)
            return self._database.store.mirror_mend(str(place), job)

        return Task(f"Mend the mirror {place.name}", work)

    def renew_task(self, path: str | Path) -> Task[MirrorInfo]:
        """Give a mirror that is of another history a new copy: what only its directory holds is lost.
        The answer comes once it has everything.

        A former primary that went on alone is such a one; `engine.backups.former` looks at what it holds,
        and saves it. Start the task, or run it; after a cancel the copy goes on by itself. Raises
        `InvalidArgument` (-2) where the mirror follows, and its own error where it cannot be written.
        """
        place = _place(path)

        def work(task: Task[MirrorInfo]) -> MirrorInfo:
            self._database.store.mirror_renew(str(place))
            due = time.monotonic() + _RENEWAL_S
            while self.find(place).phase is MirrorPhase.REFUSED and time.monotonic() < due:
                # What it was refused for is looked at again within a second or two.
                task.proceed()
                time.sleep(_LOOK_S)
            return self.wait_level(place, task)

        return Task(f"Make {place.name} a mirror anew", work)

    def fail_over_task(self, path: str | Path) -> Task[FailOver]:
        """Let the mirror take over from this database. While that works nothing is lost; where its disk
        has failed, what the mirror lacks, as `outlook` says beforehand.

        Waits until the mirror is level, closes the database, and makes the mirror the primary; this
        directory is fenced, and may be the successor's mirror. The database is closed afterwards,
        also where the last step failed.
        """
        place = _place(path)

        def work(task: Task[FailOver]) -> FailOver:
            has_failed = self._database.status().state == "failed"
            task.stage("Waiting for the mirror", step=1, steps=2)
            if not has_failed:
                self.wait_level(place, task)
            task.stage("Taking over", step=2, steps=2)
            try:
                self._database.close()
            except HoldfastError:
                # What has failed cannot end cleanly any more; that is why another one takes over.
                if not has_failed:
                    raise
            return task.carry(fail_over_task(place, self._database.path))

        return Task(f"Fail over to {place.name}", work)


def _place(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _info(raw: dict[str, Any]) -> MirrorInfo:
    code, text = 0, ""
    if raw["error"] is not None:
        code, fields = raw["error"]
        text = from_kernel(code, {"path": raw["path"], **fields}).message
    return MirrorInfo(
        path=raw["path"],
        synchronous=raw["synchronous"],
        in_step=raw["in_step"],
        phase=MirrorPhase(raw["phase"]),
        shipped_lsn=raw["shipped_lsn"],
        redone_lsn=raw["redone_lsn"],
        lag_bytes=raw["lag_bytes"],
        lag_s=raw["lag_s"],
        held=raw["held"],
        copies=raw["copies"],
        copied=raw["copied"],
        to_copy=raw["to_copy"],
        shipped_bytes=raw["shipped_bytes"],
        mended=raw["mended"],
        log_mended=raw["log_mended"],
        error_code=code,
        error=text,
    )
