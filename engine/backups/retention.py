"""Which backups are kept, and why; the rest can be removed.

The rules are the usual ones: the newest few, and the newest of each of the last days, weeks and
months that have one. Above all rules: nothing that somebody asked for is removed, nor the newest
backup, nor the last one that is proved, nor one that a kept increment continues.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.backups.claim import REMOVING, claimed
from engine.backups.history import KeptBackup, files_of, kept_backups, newest_first
from engine.backups.reading import is_being_read
from engine.config import Config
from engine.errors import BackupNotFound, BackupTargetInUse, from_exception
from engine.tasks import Task
from engine.types import BackupOrigin, ProofStep


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that stays, with every reason for it."""

    backup: KeptBackup
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What retention would do with a folder of backups, newest first."""

    kept: tuple[Kept, ...]
    removed: tuple[KeptBackup, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(backup.info.bytes for backup in self.removed)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed."""

    names: tuple[str, ...]
    freed_bytes: int


def retention_plan(
    backups: Sequence[KeptBackup], config: Config, database: str | None = None
) -> RetentionPlan:
    """What the rules of `config` keep of these backups. Looks at nothing else; removes nothing.

    `database` is the identity of the database whose rules they are: where a folder holds backups
    of several, those of the others all stay, and count for nothing.
    """
    ours = [backup for backup in backups if database is None or backup.database == database]
    plan = _plan(ours, config)
    others = tuple(Kept(b, (_whose(b),)) for b in backups if b not in ours)
    return RetentionPlan((*plan.kept, *others), plan.removed)


def _plan(backups: Sequence[KeptBackup], config: Config) -> RetentionPlan:
    ordered = newest_first(backups)
    reasons: dict[str, list[str]] = {backup.name: [] for backup in ordered}
    for backup in ordered:
        reasons[backup.name] += _above_all_rules(backup)
    for backup in ordered[: config.keep_last_backups]:
        reasons[backup.name].append(f"among the last {config.keep_last_backups}")
    for count, period, word in (
        (config.keep_daily_backups, "%Y-%m-%d", "day"),
        (config.keep_weekly_backups, "%G-W%V", "week"),
        (config.keep_monthly_backups, "%Y-%m", "month"),
    ):
        for name in _newest_of_each(ordered, period, count):
            reasons[name].append(f"the newest of its {word}")
    for step, word in (
        (ProofStep.QUERIED, "the last that was proved"),
        (ProofStep.CHECKSUMMED, "the last that is known whole"),
    ):
        last = next((b for b in ordered if b.at(step) is not None and b.setback is None), None)
        if last is not None:
            reasons[last.name].append(word)
    _keep_parents(ordered, reasons)
    return RetentionPlan(
        tuple(Kept(b, tuple(reasons[b.name])) for b in ordered if reasons[b.name]),
        tuple(b for b in ordered if not reasons[b.name]),
    )


def prune_task(folder: str | Path, config: Config, database: str) -> Task[Pruned]:
    """Remove from a folder what `retention_plan` does not keep of a database's backups.

    Start the task, or run it.
    The plan is made again under the folder's claim, so that what has become needed meanwhile stays.
    Raises `BackupTargetInUse` (-66) while a backup is written there. While one is read there, nothing is
    removed, and the task says so.
    """
    chain = Path(folder).expanduser().absolute()

    def work(task: Task[Pruned]) -> Pruned:
        if not chain.is_dir():
            return Pruned((), 0)
        with claimed(chain):
            plan = retention_plan(kept_backups(chain), config, database)
            if plan.removed and is_being_read(chain):
                task.warn("No backup was removed: one of this folder is being read.")
                return Pruned((), 0)
            return _remove(plan.removed, task)

    return Task("Remove old backups", work)


def remove_task(backup: str | Path) -> Task[Pruned]:
    """Remove one backup that a person has chosen; start the task, or run it.

    Increments that continue it go with it. Raises `BackupNotFound` (-99) where it is none, and
    `BackupTargetInUse` (-66) while a backup is read or written there.
    """
    path = Path(backup).expanduser().absolute()

    def work(task: Task[Pruned]) -> Pruned:
        with claimed(path.parent):
            there = kept_backups(path.parent)
            if not any(kept.name == path.name for kept in there):
                raise BackupNotFound(path=str(path))
            if is_being_read(path.parent):
                raise BackupTargetInUse(path=str(path.parent), use="a backup in it is being read")
            return _remove(with_increments(path.name, there), task)

    return Task("Remove backup", work)


def with_increments(name: str, backups: Iterable[KeptBackup]) -> tuple[KeptBackup, ...]:
    """A backup and all that continue it, the last of them first: nothing is ever left without its parent."""
    there = tuple(backups)
    found = [backup for backup in there if backup.name == name]
    for backup in found:
        found += [after for after in there if after.parent == backup.name and after not in found]
    return tuple(reversed(found))


def _whose(backup: KeptBackup) -> str:
    return "of another database" if backup.database else "its manifest cannot be read"


def _above_all_rules(backup: KeptBackup) -> list[str]:
    if backup.origin is BackupOrigin.MANUAL:
        return ["taken by hand"]
    return ["an emergency backup"] if backup.origin is BackupOrigin.EMERGENCY else []


def _newest_of_each(newest_first: Sequence[KeptBackup], period: str, count: int) -> list[str]:
    found: dict[str, str] = {}
    for backup in newest_first:
        found.setdefault(time.strftime(period, time.localtime(backup.info.taken_at)), backup.name)
    return list(found.values())[:count]


def _keep_parents(newest_first: Sequence[KeptBackup], reasons: dict[str, list[str]]) -> None:
    by_name = {backup.name: backup for backup in newest_first}
    wanted = [backup for backup in newest_first if reasons[backup.name]]
    for backup in wanted:
        parent = by_name.get(backup.parent)
        if parent is not None and not reasons[parent.name]:
            reasons[parent.name].append("an increment that is kept continues it")
            wanted.append(parent)


def _remove(backups: Sequence[KeptBackup], task: Task[Pruned]) -> Pruned:
    task.stage("Removing backups", total=len(backups), unit="backups")
    removed: list[KeptBackup] = []
    for backup in backups:
        task.proceed()
        path = Path(backup.info.path)
        try:
            _remove_one(path)
        except OSError as error:
            raise from_exception(error, "remove the backup") from error
        removed.append(backup)
        task.advance()
    return Pruned(tuple(b.name for b in removed), sum(b.info.bytes for b in removed))


def _remove_one(path: Path) -> None:
    # It loses its name in one step: a kill in the middle leaves no half of a backup in the list.
    doomed = path.with_name(f"{path.name}{REMOVING}")
    path.rename(doomed)
    for beside in files_of(path):
        beside.unlink(missing_ok=True)
    shutil.rmtree(doomed)
