"""Other ways when the preferred recovery fails, each with its cost told before it is chosen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine import bridge, config
from engine.config import Config
from engine.errors import ConfigInvalid, HoldfastError, TargetNotEmpty
from engine.recovery import failures
from engine.recovery.ground import Ground, rehearsal_folder
from engine.tasks import Task
from engine.types import BackupInfo, MirrorOutlook
from engine.units import counted, format_moment, format_size


class FallbackKind(StrEnum):
    MIRROR = "mirror"
    LAST_VALID = "last-valid"
    BACKUP = "backup"
    READ_ONLY = "read-only"
    SALVAGE = "salvage"


@dataclass(frozen=True, slots=True)
class Fallback:
    """One other way to the data."""

    kind: FallbackKind
    title: str
    does: str
    cost: str
    """What it loses or takes, in words, as far as that can be told beforehand."""
    is_possible: bool
    why_not: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "title": self.title,
            "does": self.does,
            "cost": self.cost,
            "possible": self.is_possible,
            "why_not": self.why_not or None,
            "figures": dict(self.figures),
        }


@dataclass(frozen=True, slots=True)
class SavedTree:
    """What a salvage saved of one tree or table."""

    name: str
    is_table: bool
    records: int
    lost_values: int
    """Records whose long value could not be read in full."""
    gaps: int
    """Stretches of keys of which no page could be read."""
    lost_indexes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What a salvage did. The new database is closed and can be opened."""

    source: Path
    target: Path
    pages: int
    damaged_pages: tuple[int, ...]
    trees: tuple[SavedTree, ...]
    without_log: str
    """Why the log could not be used; empty where it was."""
    has_unfinished: bool
    """Changes of transactions that never ended may be among the records."""
    lost_log_bytes: int
    lost_commits: int

    @property
    def is_complete(self) -> bool:
        """True where nothing that the database held is known to be missing."""
        whole = all(not (tree.gaps or tree.lost_values) for tree in self.trees)
        return whole and not (self.damaged_pages or self.lost_log_bytes or self.without_log)

    @property
    def losses(self) -> tuple[str, ...]:
        """Each loss in words."""
        found = [f"{counted(len(self.damaged_pages), 'page')} cannot be read."] if self.damaged_pages else []
        if self.without_log:
            found.append("The log could not be used: changes that had not reached the pages are missing.")
        if self.lost_log_bytes:
            found.append(_lost_log(self.lost_log_bytes, self.lost_commits))
        if self.has_unfinished:
            found.append("Changes of transactions that never ended may be among the records.")
        for tree in self.trees:
            what = f"{'Table' if tree.is_table else 'Tree'} {tree.name}:"
            if tree.gaps:
                found.append(f"{what} {counted(tree.gaps, 'stretch', 'stretches')} of keys missing.")
            if tree.lost_values:
                found.append(
                    f"{what} {counted(tree.lost_values, 'record')} missing: long values that cannot be read."
                )
            found += [f"{what} the index {name} is missing." for name in tree.lost_indexes]
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "target": str(self.target),
            "complete": self.is_complete,
            "losses": list(self.losses),
            "pages": self.pages,
            "damaged_pages": list(self.damaged_pages),
            "has_unfinished": self.has_unfinished,
            "lost_log_bytes": self.lost_log_bytes,
            "lost_commits": self.lost_commits,
            "trees": [
                {
                    "name": tree.name,
                    "table": tree.is_table,
                    "records": tree.records,
                    "lost_values": tree.lost_values,
                    "gaps": tree.gaps,
                    "lost_indexes": list(tree.lost_indexes),
                }
                for tree in self.trees
            ],
        }


def offers(
    path: Path | str, settings: Config | None = None, task: Task[tuple[Fallback, ...]] | None = None
) -> tuple[Fallback, ...]:
    """Every fallback, the one that loses least first, with its cost for this database.

    Reads the log and the pages; changes nothing. Raises `Cancelled`, and -73 where the database is
    open elsewhere.
    """
    directory = Path(path)
    job = bridge.Job()
    if task is not None:
        task.use(job)
    last_valid = _last_valid(directory, settings or _settings(directory), job)
    return (
        last_valid,
        Fallback(FallbackKind.BACKUP, _BACKUP_TITLE, _BACKUP_DOES, _BACKUP_COST, is_possible=True),
        Fallback(
            FallbackKind.READ_ONLY,
            "Open read-only",
            "What was recovered up to the last valid record is shown from a copy beside the database.",
            _READ_ONLY_COST if last_valid.is_possible else "",
            is_possible=last_valid.is_possible,
            # It is such a recovery, into a copy.
            why_not=last_valid.why_not,
        ),
        _salvage_offer(directory),
    )


_READ_ONLY_COST = "Nothing: the database stays as it is, and nothing can be changed."
_BACKUP_TITLE = "Restore a backup and roll forward"
_BACKUP_DOES = "The newest backup is rebuilt in a new directory, then the log kept since is applied to it."
_BACKUP_COST = (
    "What was committed after it, as far as no kept log holds it. The damaged database stays as it is."
)


def backup_offer(newest: BackupInfo | None, folder: Path) -> Fallback:
    """The newest of its backups; not possible without one."""
    if newest is None:
        why_not = f"there is no backup in {folder}"
        return Fallback(FallbackKind.BACKUP, _BACKUP_TITLE, _BACKUP_DOES, "", False, why_not)
    taken = format_moment(newest.taken_at)
    return Fallback(
        FallbackKind.BACKUP,
        _BACKUP_TITLE,
        f"{_BACKUP_DOES} It was taken at {taken}.",
        _BACKUP_COST,
        is_possible=True,
        figures={"path": newest.path, "taken_at": newest.taken_at},
    )


def mirror_offer(
    mirror: Path, outlook: MirrorOutlook | None, *, has_taken_over: bool = False, why_not: str = ""
) -> Fallback:
    """A mirror takes the place of the database; what it lacks is lost.

    Without an `outlook` it cannot, for `why_not`, unless it `has_taken_over` already.
    """
    title = f"Let the mirror {mirror.name} take over"
    does = (
        f"{mirror} follows the database commit by commit: it is recovered, checked and opened in its place. "
        "The damaged database is left as it is."
    )
    if has_taken_over:
        return Fallback(
            FallbackKind.MIRROR,
            title,
            f"{mirror} has taken over already: it is the database now, and only has to be opened.",
            "Nothing more: what it lacked was lost when it took over.",
            is_possible=True,
            figures={"path": str(mirror), "has_taken_over": True},
        )
    if outlook is None:
        return Fallback(FallbackKind.MIRROR, title, does, "", False, why_not)
    figures = {
        "path": str(mirror),
        "lost_bytes": outlook.lost_bytes,
        "lost_commits": outlook.lost_commits,
        "last_commit_at": outlook.last_commit_at,
    }
    return Fallback(FallbackKind.MIRROR, title, does, _lag(outlook), True, figures=figures)


def _lag(outlook: MirrorOutlook) -> str:
    """What the mirror lacks, in words."""
    broken = (
        f" The end of its log is damaged, and has to be given up: {outlook.broken}" if outlook.broken else ""
    )
    if outlook.is_without_loss:
        return "Nothing: the mirror has all that the log of the database holds."
    if outlook.lost_bytes is not None:
        return _lost_log(outlook.lost_bytes, outlook.lost_commits or 0) + broken
    if not outlook.last_commit_at:
        return "What the database has beyond its mirror cannot be read; the mirror knows no commit." + broken
    last = format_moment(outlook.last_commit_at)
    return f"What was committed after {last}, as far as the mirror had not received it." + broken


def salvage_task(path: Path | str, target: Path | str, settings: Config | None = None) -> Task[SalvageReport]:
    """Put every record that can be read into a new database in the empty or missing `target`.

    The damaged database is only read, its lock held meanwhile. Cancel and failure leave `target` as
    it was. Raises `TargetNotEmpty` (-63), -70 where not even the size of a page can be told, -73.
    """
    source, place = Path(path).absolute(), Path(target).expanduser().absolute()
    return Task(f"Salvage to {place.name}", lambda task: _salvage(source, place, settings, task))


def _salvage(source: Path, place: Path, settings: Config | None, task: Task[SalvageReport]) -> SalvageReport:
    existed = place.exists()
    if existed and (not place.is_dir() or any(place.iterdir())):
        raise TargetNotEmpty(path=str(place))
    job = bridge.Job()
    task.use(job)
    place.mkdir(mode=0o700, exist_ok=True)
    try:
        with rehearsal_folder(source) as folder:
            raw = bridge.salvage(source, place, folder, settings or _settings(source), job)
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if existed:
            place.mkdir(mode=0o700, exist_ok=True)
        if isinstance(error, HoldfastError):
            told = failures.stage_error(error, "Salvage")
            raise told from told.__cause__
        raise
    report = SalvageReport(
        source=source,
        target=place,
        pages=raw["pages"],
        damaged_pages=tuple(raw["damaged_pages"]),
        trees=tuple(
            SavedTree(**{**tree, "lost_indexes": tuple(tree["lost_indexes"])}) for tree in raw["trees"]
        ),
        without_log=raw["without_log"],
        has_unfinished=raw["has_unfinished"],
        lost_log_bytes=raw["lost_log_bytes"],
        lost_commits=raw["lost_commits"],
    )
    for loss in report.losses:
        task.warn(loss)
    return report


def _last_valid(directory: Path, settings: Config, job: bridge.Job) -> Fallback:
    title = "Recover up to the last valid record"
    does = (
        "Recovery goes as far as the log can be read; pages that knew later changes are rebuilt as they "
        "were there. It can be rehearsed, and is all or nothing."
    )
    kernel = None
    with rehearsal_folder(directory) as folder:
        try:
            kernel = bridge.begin_recovery(directory, settings, Ground.REHEARSAL, folder)
            cut = kernel.cut_log(job)
            if cut["pages_beyond"]:
                # Whether each of them can be rebuilt, only redo knows.
                kernel.validate_log(job)
                kernel.restore_doublewrite(job)
                kernel.analyse(job)
                kernel.redo(job)
        except HoldfastError as error:
            if job.cancelled:
                raise
            coded = failures.stage_error(error, title)
            return Fallback(
                FallbackKind.LAST_VALID, title, does, "", is_possible=False, why_not=coded.message
            )
        finally:
            if kernel is not None:
                kernel.abandon()
    if not cut["reason"]:
        return Fallback(
            FallbackKind.LAST_VALID,
            title,
            does,
            "Nothing: the log can be read to its end, and this does what a recovery does.",
            is_possible=True,
            figures=cut,
        )
    return Fallback(FallbackKind.LAST_VALID, title, does, cost_of_cut(cut), is_possible=True, figures=cut)


def cost_of_cut(cut: Mapping[str, Any]) -> str:
    """What a cut of the log loses, in words."""
    words = _lost_log(int(cut["lost_bytes"]), int(cut["lost_commits"]))
    if cut["last_commit_at"]:
        last = format_moment(cut["last_commit_at"])
        words += f" The last commit that is kept is of {last}."
    return words


def _lost_log(size: int, commits: int) -> str:
    found = counted(commits, "commit")
    return f"{format_size(size)} of log are lost, in which {found} can still be recognised."


def _salvage_offer(directory: Path) -> Fallback:
    size = (directory / "database.holdfast").stat().st_size if _has_pages(directory) else 0
    return Fallback(
        FallbackKind.SALVAGE,
        "Salvage what can be read",
        "Every record of every page that can be read goes into a new database; indexes are built again.",
        f"Up to {format_size(size)} for the new database. Records on damaged pages are lost, and changes "
        "of unfinished transactions may be among those that are saved. The damaged database stays as it is.",
        is_possible=size > 0,
        why_not="" if size else "the file of the pages is missing or empty",
        figures={"bytes": size},
    )


def _has_pages(directory: Path) -> bool:
    return (directory / "database.holdfast").is_file()


def _settings(directory: Path) -> Config:
    try:
        return config.load(directory)
    except ConfigInvalid:
        # Settings are no reason to give records up.
        return Config()
