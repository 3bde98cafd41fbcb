"""Integrity of one open database: what was found, what was repaired, and what was checked when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ChecksumMismatch, HoldfastError, InvalidArgument, from_exception
from engine.files import write_atomically
from engine.integrity import findings as kept
from engine.integrity.extent import Reach, reach_of
from engine.integrity.findings import Checker, CheckNote, Finding, Ledger, Loss, Priority, ScrubNote
from engine.integrity.halting import Halting
from engine.integrity.scrubber import Scrubber
from engine.types import CheckReport, Event, IntegrityStanding, Problem
from engine.units import counted

if TYPE_CHECKING:
    from engine.database import Database

_LEAKED = -29
_INDEX_DIFFERS = -75
_PAGE_CODES = (-10, -20, -21, -22)
"""Of a page that cannot be read, is missing, or is not what was written."""


class Integrity:
    """The list of findings and the loss ledger of one database. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._may_write = not bool(database.store.status()["read_only"])
        self._ledger: Ledger = kept.load(database.path)
        self._indexes: dict[str, str] = {}
        self._awaited: set[int] = set()
        self._held: set[int] = set()
        self.halting = Halting(database)
        self.scrubber = Scrubber(database)
        """The background check of the pages; `Database` starts and stops it."""
        database.events.subscribe(self._hear, ("page_repaired", "page_set_apart", "page_placed"))
        self._halt_for(self.findings())

    # What is known

    def findings(self, *, closed: bool = False) -> tuple[Finding, ...]:
        """The open findings, most urgent first; with `closed`, those that are closed, newest first."""
        with self._lock:
            chosen = [finding for finding in self._ledger.findings if finding.is_open is not closed]
        if closed:
            return tuple(sorted(chosen, key=lambda f: f.closed_at or 0.0, reverse=True))
        return tuple(sorted(chosen, key=lambda f: (f.priority, f.id)))

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The loss ledger, oldest first."""
        with self._lock:
            return tuple(self._ledger.losses)

    @property
    def last_check(self) -> CheckNote | None:
        with self._lock:
            return self._ledger.check

    @property
    def scrubbed(self) -> ScrubNote:
        """How far the background check has come."""
        with self._lock:
            return self._ledger.scrub

    @property
    def note(self) -> str:
        """What has to be said about the kept list itself; empty for nothing."""
        with self._lock:
            return self._ledger.note

    @property
    def left_out(self) -> int:
        """Findings beyond the most that are kept."""
        with self._lock:
            return self._ledger.left_out

    def standing(self) -> IntegrityStanding:
        """All of it in a few figures, for whoever judges the database."""
        with self._lock:
            check = self._ledger.check
            priorities = [finding.priority for finding in self._ledger.findings if finding.is_open]
        return IntegrityStanding(
            checked_at=0.0 if check is None else check.at,
            is_checked_well=check is not None and check.ok,
            urgent=sum(priority in (Priority.P0, Priority.P1) for priority in priorities),
            indexes=priorities.count(Priority.P2),
        )

    # What checkers tell

    def note_check(self, report: CheckReport, detailed: bool) -> None:
        """Take in what a check found: new findings open, and what it no longer finds closes."""
        now = time.time()
        self._learn_indexes()
        lost = [p.page for p in report.problems if p.page is not None and p.code in _PAGE_CODES]
        reached = reach_of(self._database, lost) if lost else {}
        with self._lock:
            self._ledger.left_out = report.left_out
            for problem in report.problems:
                self._report(problem, Checker.CHECK, now, reached.get(problem.page or 0))
            self._close_what_is_gone(report, detailed, now)
            self._ledger.check = CheckNote(
                at=now,
                ok=report.ok,
                detailed=detailed,
                pages=report.pages,
                bytes=report.bytes,
                records=report.records,
                seconds=report.seconds,
                problems=len(report.problems) + report.left_out,
            )
            self._save()
            held = set(self._held)
        self._halt_for([finding for finding in self.findings() if finding.id not in held])
        self._settle()

    def report_page(self, page: int, code: int, detail: str, checker: Checker) -> Finding | None:
        """Open a finding about one page, or see it again. Its tree and rows come from the page's parent."""
        reach = None
        if not self._is_placed(page) and (reach := reach_of(self._database, (page,)).get(page)):
            self._learn_indexes()
        with self._lock:
            problem = Problem(code, page, None if reach is None else reach.tree, detail)
            made = self._report(problem, checker, time.time(), reach)
            self._save()
        if made is not None:
            self._database.events.publish("finding_opened", finding=made.id, page=page)
        return made

    def note_scrub(self, note: ScrubNote) -> None:
        """Remember how far the background check has come."""
        with self._lock:
            self._ledger.scrub = note
            self._save()

    def note_rows(self, finding: Finding, rows: int) -> None:
        """Remember how many rows a finding keeps from being read."""
        with self._lock:
            known = next((f for f in self._ledger.findings if f.id == finding.id), None)
            if known is not None and (known.rows != rows or known.is_estimate):
                self._ledger.change(replace(known, rows=rows, is_estimate=False))
                self._save()

    def note_reach(self, finding: Finding, reach: Reach) -> None:
        """Remember the tree that a finding touches and about how many rows; never its keys."""
        self._learn_indexes()
        with self._lock:
            known = next((f for f in self._ledger.findings if f.id == finding.id), None)
            if known is not None and self._place(known, reach) != known:
                self._save()

    def table_of_index(self, name: str) -> str | None:
        """The table of an index, as far as it was learned."""
        with self._lock:
            return self._indexes.get(name)

    def note_abandoned(self, pages: Iterable[int]) -> None:
        """Remember damaged pages that nothing leads to any more."""
        with self._lock:
            self._ledger.abandoned.update(pages)
            self._save()

    def forget_abandoned(self, pages: Iterable[int]) -> None:
        """They were given back: what is found there from now on is somebody else's."""
        with self._lock:
            self._ledger.abandoned.difference_update(pages)
            self._save()

    # What repairs tell

    @contextmanager
    def holding(self, findings: Iterable[Finding]) -> Iterator[None]:
        """A check in this block verifies repairs: these findings are closed by whoever repaired them."""
        ids = {finding.id for finding in findings}
        with self._lock:
            self._held |= ids
        try:
            yield
        finally:
            with self._lock:
                self._held -= ids

    def close_finding(self, finding: Finding, outcome: str, loss: Loss | None = None) -> None:
        """Close a finding, with its line in the loss ledger where it was repaired."""
        with self._lock:
            self._ledger.close(finding, outcome, time.time())
            if loss is not None:
                self._ledger.add_loss(loss)
            self._save()
        self._database.events.publish("finding_closed", finding=finding.id, outcome=outcome)
        self._settle()

    def await_repair(self, page: int) -> None:
        """Whoever repairs this page now tells of it in full: its event needs no line of its own."""
        with self._lock:
            self._awaited.add(page)

    def forget_repair(self, page: int) -> None:
        """The repair of this page tells no event after all."""
        with self._lock:
            self._awaited.discard(page)

    def dismiss(self, finding_id: int, reason: str) -> Finding:
        """Close a finding by hand; a check that meets it again opens another one."""
        chosen = next((f for f in self.findings() if f.id == finding_id), None)
        if chosen is None:
            raise InvalidArgument(argument="finding", issue=f"no finding {finding_id} is open")
        self.close_finding(chosen, reason)
        return chosen

    def export_losses(self, target: str | Path) -> Path:
        """Write the loss ledger as JSON to the file `target`; returns its path. Holds no stored values."""
        path = Path(target).expanduser().absolute()
        content = {
            "database": str(self._database.path),
            "written_at": time.time(),
            "losses": [asdict(loss) for loss in self.losses],
            "open_findings": [asdict(finding) for finding in self.findings()],
        }
        try:
            write_atomically(path, json.dumps(content, indent=1))
        except OSError as error:
            raise from_exception(error, "write the loss ledger to") from error
        return path

    def kept_bytes(self, page: int) -> str:
        """The newest file with the damaged bytes of a page, inside the database's directory; else empty."""
        found = sorted((self._database.path / "quarantine").glob(f"{page:010d}-*.page"))
        return f"quarantine/{found[-1].name}" if found else ""

    # Inside

    def _hear(self, event: Event) -> None:
        # On the thread of the subscription.
        page = int(event.fields["page"])
        if event.kind == "page_repaired" and not self._may_write:
            words = "damaged in the file; whole in memory while the database is open"
            self.report_page(page, ChecksumMismatch.code, words, Checker.READ)
            return
        if event.kind == "page_placed":
            self._place_page(page)
            return
        if event.kind == "page_set_apart":
            code = self._code_set_apart(page)
            if code is not None:
                words = "set apart: nothing here could rebuild it when it was read"
                made = self.report_page(page, code, words, Checker.READ)
                if made is not None and self._may_write:
                    self.halting.halt([made])
            else:
                # The engine stopped all changes when it was read, and it was repaired since.
                self._settle()
            return
        now = time.time()
        with self._lock:
            if page in self._awaited:
                self._awaited.discard(page)
                return
            made = self._report(
                Problem(ChecksumMismatch.code, page, None, "damage met by a read"), Checker.READ, now
            )
            if made is None:
                return
            source = str(event.fields["source"])
            changes = counted(int(event.fields["changes"]), "change")
            loss = Loss(
                at=now,
                finding=made.id,
                where=made.where,
                source=source,
                restored=f"the whole page, with {changes} from the log",
                lost="nothing",
                kept=self.kept_bytes(page),
                seconds=float(event.fields["seconds"]),
                verified=True,
            )
        self.close_finding(made, f"repaired when it was read, from: {source}", loss)

    def _place_page(self, page: int) -> None:
        """A read knew which record a page of a long value belongs to: the finding about it names its tree."""
        reach = None if self._is_placed(page) else reach_of(self._database, (page,)).get(page)
        with self._lock:
            known = next((f for f in self._ledger.findings if f.is_open and f.page == page), None)
        if known is not None and reach is not None:
            self.note_reach(known, reach)
            self._database.events.publish("finding_placed", finding=known.id, page=page)

    def _code_set_apart(self, page: int) -> int | None:
        """Why a page was set apart; None where it was repaired or given back since."""
        try:
            entries = self._database.store.pages_set_apart()
        except HoldfastError:
            # Closed meanwhile; that it was set apart is known all the same.
            return ChecksumMismatch.code
        return next((int(entry["code"]) for entry in entries if entry["page"] == page), None)

    def _halt_for(self, findings: Collection[Finding]) -> None:
        if self._may_write:
            self.halting.halt_for_what_stays(findings)

    def _settle(self) -> None:
        if self._may_write:
            self.halting.settle([finding.id for finding in self.findings()])

    def _is_placed(self, page: int) -> bool:
        with self._lock:
            known = next((f for f in self._ledger.findings if f.is_open and f.page == page), None)
        return known is not None and known.tree is not None

    def _report(
        self, problem: Problem, checker: Checker, at: float, reach: Reach | None = None
    ) -> Finding | None:
        table = self._table_of(problem)
        made = self._ledger.report(
            priority=self._priority(problem, table),
            code=problem.code,
            page=problem.page,
            tree=problem.tree,
            table=table,
            summary=problem.detail,
            checker=checker,
            at=at,
        )
        return made if made is None or reach is None else self._place(made, reach)

    def _place(self, finding: Finding, reach: Reach) -> Finding:
        """The finding with the tree and the rows that its page keeps out of reach, where it lacks them."""
        placed = finding
        if finding.tree is None:
            table = self._indexes.get(reach.tree)
            problem = Problem(finding.code, finding.page, reach.tree, finding.summary)
            placed = replace(placed, tree=reach.tree, table=table, priority=self._priority(problem, table))
        holds_rows = placed.table is None and placed.tree != "catalogue"
        if placed.rows is None and reach.records is not None and holds_rows:
            placed = replace(placed, rows=max(1, reach.records), is_estimate=True)
        if placed != finding:
            self._ledger.change(placed)
        return placed

    def _table_of(self, problem: Problem) -> str | None:
        if problem.tree is None:
            return None
        known = self._indexes.get(problem.tree)
        if known is None and problem.code == _INDEX_DIFFERS and problem.detail.startswith("table "):
            # The list of tables could not be read, but the checker named it.
            known = problem.detail[len("table ") :].partition(":")[0] or None
        return known

    def _priority(self, problem: Problem, table: str | None) -> Priority:
        if problem.code == _LEAKED or problem.page in self._ledger.abandoned:
            return Priority.P3
        if table is not None:
            return Priority.P2
        return Priority.P0 if problem.code in _PAGE_CODES else Priority.P1

    def _learn_indexes(self) -> None:
        try:
            tables = self._database.tables.list()
        except HoldfastError:
            # Where the catalogue is damaged, what was learned before has to do.
            return
        names = {table.name for table in tables}
        found = {index.name: table.name for table in tables for index in table.indexes}
        with self._lock:
            self._indexes = {index: table for index, table in found.items() if index not in names}

    def _close_what_is_gone(self, report: CheckReport, detailed: bool, now: float) -> None:
        if report.left_out:
            # What is not listed may be among those that were left out.
            return
        for finding in [f for f in self._ledger.findings if f.is_open]:
            is_seen = finding.last_seen >= now or finding.id in self._held
            if is_seen or finding.tree in report.skipped or finding.table in report.skipped:
                continue
            is_checked = detailed or (finding.page is not None and finding.code in _PAGE_CODES)
            if is_checked:
                self._ledger.close(finding, "a later check did not find it any more", now)
                if finding.page is not None:
                    self._ledger.abandoned.discard(finding.page)

    def _save(self) -> None:
        if self._may_write:
            kept.save(self._ledger, self._database.path)
