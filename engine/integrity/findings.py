"""Findings: everything that a checker found wrong, in one list, kept until it is closed.

The list lives in `integrity.json` in the database's directory, private to its owner. It holds
page numbers, names of trees and words, never stored keys or values. It is bounded: the oldest
closed findings go first, and of open ones those beyond `MOST_OPEN` are only counted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from engine.files import write_atomically

FILE_NAME = "integrity.json"
_VERSION = 1
_LARGEST_BYTES = 16 << 20

MOST_OPEN = 1000
MOST_CLOSED = 200
MOST_LOSSES = 500

_log = logging.getLogger(__name__)

R = TypeVar("R")


class Priority(StrEnum):
    """How soon: damaged data (30 s); broken references (2 min); indexes (5 min); lost room (1 h)."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Checker(StrEnum):
    """Who found it."""

    CHECK = "check"
    SCRUBBER = "scrubber"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or was."""

    id: int
    priority: Priority
    code: int
    """The code of the error that a reader of it gets."""
    page: int | None
    tree: str | None
    """The tree, table or index that it touches; None where the checker could not tell."""
    summary: str
    checker: Checker
    first_seen: float
    """Unix seconds, as are the others."""
    last_seen: float
    table: str | None = None
    """The table whose index `tree` is."""
    rows: int | None = None
    """Rows that cannot be read because of it, at most; None where nobody has counted."""
    is_estimate: bool = False
    """Whether `rows` is about how many, as the neighbours of the page have it."""
    closed_at: float | None = None
    outcome: str = ""
    """How it was closed, in words."""

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def is_index(self) -> bool:
        """Whether an index can be rebuilt from its table to get rid of it."""
        return self.table is not None

    @property
    def where(self) -> str:
        """The place in a few words."""
        page = "" if self.page is None else f"page {self.page}"
        tree = (self.tree or "") if self.table is None else f"index {self.tree} of {self.table}"
        return ", ".join(part for part in (page, tree) if part) or "the database"

    def is_about(self, page: int | None, code: int, tree: str | None) -> bool:
        """Whether a new report of this place is a report of this finding."""
        if page is not None or self.page is not None:
            return page == self.page
        return (code, tree) == (self.code, self.tree)


@dataclass(frozen=True, slots=True)
class Loss:
    """A line of the loss ledger: what one repair restored, and what it could not."""

    at: float
    finding: int
    where: str
    source: str
    restored: str
    lost: str
    kept: str
    """The file that holds the damaged bytes, inside the database's directory; empty for none."""
    seconds: float
    verified: bool


@dataclass(frozen=True, slots=True)
class CheckNote:
    """The last check, as it is remembered."""

    at: float
    ok: bool
    detailed: bool
    pages: int
    bytes: int
    records: int
    seconds: float
    problems: int


@dataclass(frozen=True, slots=True)
class ScrubNote:
    """How far the background check has come, over the life of the database."""

    at: float = 0.0
    """When this was noted."""
    next_page: int = 0
    rounds: int = 0
    round_began: float = 0.0
    round_ended: float = 0.0
    """When a round over the whole database was last complete; 0 for never."""
    last_round_pages: int = 0
    last_round_seconds: float = 0.0
    found: int = 0


@dataclass(slots=True)
class Ledger:
    """All that is kept of one database's integrity. Not for two threads at once."""

    findings: list[Finding] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    check: CheckNote | None = None
    scrub: ScrubNote = field(default_factory=ScrubNote)
    abandoned: set[int] = field(default_factory=set)
    """Damaged pages that an index left behind when it was rebuilt: nothing leads to them."""
    next_id: int = 1
    left_out: int = 0
    """Open findings beyond `MOST_OPEN`."""
    note: str = ""
    """What had to be said about the file itself."""

    def report(
        self,
        *,
        priority: Priority,
        code: int,
        page: int | None,
        tree: str | None,
        table: str | None,
        summary: str,
        checker: Checker,
        at: float,
    ) -> Finding | None:
        """Open a finding, or see an open one again; None where the list is full."""
        for place, known in enumerate(self.findings):
            if known.is_open and known.is_about(page, code, tree):
                seen = replace(known, last_seen=at, summary=summary, code=code, priority=priority)
                if tree is not None:
                    seen = replace(seen, tree=tree, table=table)
                self.findings[place] = seen
                return seen
        if sum(f.is_open for f in self.findings) >= MOST_OPEN:
            self.left_out += 1
            return None
        made = Finding(self.next_id, priority, code, page, tree, summary, checker, at, at, table=table)
        self.next_id += 1
        self.findings.append(made)
        return made

    def change(self, finding: Finding) -> None:
        """Put a finding in the place of the one with its id."""
        self.findings = [finding if known.id == finding.id else known for known in self.findings]

    def close(self, finding: Finding, outcome: str, at: float) -> None:
        """Close a finding; the oldest closed ones go where there are too many."""
        self.change(replace(finding, closed_at=at, outcome=outcome))
        closed = sorted((f for f in self.findings if not f.is_open), key=lambda f: f.closed_at or 0.0)
        gone = {f.id for f in closed[: max(0, len(closed) - MOST_CLOSED)]}
        self.findings = [f for f in self.findings if f.id not in gone]

    def add_loss(self, loss: Loss) -> None:
        self.losses = [*self.losses, loss][-MOST_LOSSES:]

    def to_json(self) -> str:
        content = {
            "version": _VERSION,
            "next_id": self.next_id,
            "left_out": self.left_out,
            "findings": [asdict(finding) for finding in self.findings],
            "losses": [asdict(loss) for loss in self.losses],
            "check": None if self.check is None else asdict(self.check),
            "scrub": asdict(self.scrub),
            "abandoned": sorted(self.abandoned),
        }
        return json.dumps(content, indent=1)


def save(ledger: Ledger, directory: Path) -> None:
    """Write the list. Where the disk does not take it, that is noted and the list stays in memory."""
    try:
        write_atomically(directory / FILE_NAME, ledger.to_json())
    except OSError as error:
        ledger.note = f"The list of findings could not be written: {error.strerror or error}."
        _log.warning("%s", ledger.note)


def load(directory: Path) -> Ledger:
    """Read the list; one that is missing is empty, one that is damaged is kept aside and begun anew.

    Never raises for what is in the file: findings must not keep a database from being opened.
    """
    path = directory / FILE_NAME
    try:
        if not path.exists():
            return Ledger()
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError("it is larger than it can be")
        return _read(json.loads(path.read_text("utf-8")))
    except OSError as error:
        return Ledger(note=f"The list of findings could not be read: {error.strerror or error}.")
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        aside = path.with_name(f"{FILE_NAME}.damaged-{int(time.time())}")
        with suppress(OSError):
            path.rename(aside)
        note = f"The list of findings was damaged and was begun anew; the old one is kept as {aside.name}."
        _log.warning("%s", note)
        return Ledger(note=note)


def _read(raw: Mapping[str, Any]) -> Ledger:
    if raw["version"] != _VERSION:
        raise ValueError("another version wrote it")
    findings = [_finding(entry) for entry in _list(raw["findings"])]
    return Ledger(
        findings=findings[-(MOST_OPEN + MOST_CLOSED) :],
        losses=[_record(Loss, entry) for entry in _list(raw["losses"])][-MOST_LOSSES:],
        check=None if raw["check"] is None else _record(CheckNote, raw["check"]),
        scrub=_record(ScrubNote, raw["scrub"]),
        abandoned={int(page) for page in _list(raw["abandoned"])},
        next_id=max([int(raw["next_id"]), *(finding.id + 1 for finding in findings)]),
        left_out=int(raw["left_out"]),
    )


def _list(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _finding(raw: Mapping[str, Any]) -> Finding:
    found = _record(Finding, raw)
    return replace(found, priority=Priority(found.priority), checker=Checker(found.checker))


# What a field may hold, by the words of its annotation: bytes from a file are never trusted.
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "str": (str,),
    "Priority": (str,),
    "Checker": (str,),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
    "str | None": (str, type(None)),
}


def _record(kind: type[R], raw: Mapping[str, Any]) -> R:
    values = {}
    for place in fields(kind):  # type: ignore[arg-type]  # only dataclasses are passed
        if place.name not in raw and place.default is not MISSING:
            # An earlier version wrote it.
            continue
        value = raw[place.name]
        if not isinstance(value, _KINDS[str(place.type)]):
            raise TypeError(f"{place.name} is not what it should be")
        values[place.name] = value
    return kind(**values)
