"""The scrubber: reads every page of the database in the background, round after round.

It is never in the way: its rate is that of the settings, raised where that is needed to cover the
database in time, and lowered while others work. What it finds becomes a finding, and is repaired,
told, or the reason to stop all changes, as `corruption_action` says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING

from engine import bridge
from engine.errors import Cancelled, HoldfastError, StoreClosed
from engine.hours import Hours
from engine.integrity.findings import Checker, Priority, ScrubNote
from engine.integrity.page_map import is_zeroed, look_at_page
from engine.integrity.repair import repair_found_page
from engine.tasks import Task
from engine.types import StoreStatus

if TYPE_CHECKING:
    from engine.database import Database

_SETTLE_S = 5.0
"""A database that is open for less than this is not scrubbed."""
_BEAT_S = 0.25
"""Between two looks at who else works. Each costs as much as ten pages."""
_NOTE_EVERY_S = 60.0
_AFTER_ERROR_S = 60.0
_FASTEST = 20_000.0
"""Pages per second that the interpreter can look at without being felt."""
_BUSY_COMMITS_PER_S = 20.0
_BUSY_MISSES_PER_S = 100.0
_SECOND_LOOK_S = 0.05
_LOOKS = 4

_log = logging.getLogger(__name__)


class ScrubState(StrEnum):
    OFF = "off"
    WAITING = "waiting"
    RUNNING = "running"
    STEPPING_BACK = "stepping_back"
    """Running slowly, because others work."""
    PAUSED = "paused"


class _Looks(Enum):
    WHOLE = auto()
    ZEROED = auto()
    DAMAGED = auto()


@dataclass(frozen=True, slots=True)
class ScrubProgress:
    """Where the scrubber is, at one moment."""

    state: ScrubState
    next_page: int
    pages: int
    """Of the database as it was when the round began; 0 before the first."""
    rate: float
    """Pages per second that it allows itself now."""
    next_round_at: float
    """Unix seconds; 0 while a round runs, or where none will."""
    note: ScrubNote

    @property
    def share(self) -> float:
        """How much of this round is done, 0 to 1."""
        return min(1.0, self.next_page / self.pages) if self.pages else 0.0


class Pace:
    """How many pages per second are right now: a function of the settings and of who else works."""

    def __init__(self, least: float, cover_within_s: float) -> None:
        self._least = least
        self._cover_within_s = cover_within_s
        self._before: StoreStatus | None = None
        self.is_stepping_back = False

    def rate(self, now: StoreStatus) -> float:
        """The rate after a look at the engine. Others at work: the least; others waiting: a quarter of it."""
        before, self._before = self._before, now
        wanted = min(_FASTEST, max(self._least, now.pages / self._cover_within_s))
        load = 0 if before is None else self._load(before, now)
        self.is_stepping_back = load > 0
        return (wanted, min(wanted, self._least), min(wanted, self._least) / 4)[load]

    @staticmethod
    def _load(before: StoreStatus, now: StoreStatus) -> int:
        if now.waiters:
            return 2
        passed = max(now.at - before.at, 0.01)
        commits = (now.transactions.committed - before.transactions.committed) / passed
        misses = (now.cache.misses - before.cache.misses) / passed
        return int(commits > _BUSY_COMMITS_PER_S or misses > _BUSY_MISSES_PER_S)


class Scrubber:
    """Scrubs one open database on a thread of its own. Any thread may steer it."""

    def __init__(self, database: Database, *, settle_s: float | None = None) -> None:
        self._database = database
        self._settle_s = _SETTLE_S if settle_s is None else settle_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._paused = False
        self._asked = False
        self._cleared: set[int] = set()
        """Pages that look damaged and are not in use, as the engine's own sweep said."""
        self._free_pages = -1
        """How many pages were free when that was said."""
        self._zeros: set[int] = set()
        self._backup_tried: dict[int, float] = {}
        """Damaged pages, and how new the newest backup was when it was asked for them."""
        """Pages of zeros of this round that are not cleared."""
        self._job: bridge.Job | None = None
        config = database.config
        self._hours = Hours.parse(config.scrub_hours)
        self._now = ScrubProgress(ScrubState.OFF, 0, 0, 0.0, 0.0, ScrubNote())

    def start(self) -> None:
        """Begin, where the settings want it; returns at once."""
        if self._database.config.enable_continuous_validation:
            self._start()

    def _start(self) -> None:
        if self._thread is not None or self._stop.is_set():
            return
        note, first = self._database.integrity.scrubbed, time.time() + self._settle_s
        self._show(state=ScrubState.WAITING, note=note, next_round_at=first)
        self._thread = threading.Thread(target=self._serve, name="holdfast-scrubber", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the page in progress, and remember how far it came. May be called twice."""
        self._stop.set()
        self._wake.set()
        job = self._job
        if job is not None:
            job.cancel()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def pause(self) -> None:
        """Read no more pages until `resume`."""
        self._paused = True
        self._wake.set()

    def resume(self) -> None:
        self._paused = False
        self._wake.set()

    def begin_round(self) -> None:
        """Begin a round now, whatever the schedule says; one that runs goes on.

        Starts the scrubber where the settings leave it off.
        """
        self._paused = False
        self._asked = self.progress().state not in (ScrubState.RUNNING, ScrubState.STEPPING_BACK)
        self._start()
        self._wake.set()

    def progress(self) -> ScrubProgress:
        """Where it is now. Takes no lock of the engine."""
        with self._lock:
            return self._now

    # On the thread

    def _serve(self) -> None:
        try:
            self._wait(self._settle_s)
            while not self._stop.is_set():
                try:
                    self._step()
                except (Cancelled, StoreClosed):
                    raise
                except HoldfastError as error:
                    # The next round tries again; what is wrong with the engine is told elsewhere.
                    _log.warning("a round of the scrubber ended: %s", error.title)
                    self._wait(_AFTER_ERROR_S)
        except (Cancelled, StoreClosed):
            # The database is being closed; what was found is kept.
            _log.debug("the scrubber ends with its database")
        finally:
            self._show(state=ScrubState.OFF, next_round_at=0.0, rate=0.0)

    def _step(self) -> None:
        if self._is_due():
            is_asked, self._asked = self._asked, False
            self._round(is_asked)
        else:
            self._wait(self._until_due())

    def _wait(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _is_due(self) -> bool:
        if self._paused:
            self._show(state=ScrubState.PAUSED, next_round_at=0.0, rate=0.0)
            return False
        return self._asked or self._until_due() <= 0

    def _until_due(self) -> float:
        if self._paused:
            return 3600.0
        now, note = time.time(), self._database.integrity.scrubbed
        is_begun = note.next_page > 0
        rest = 0.0 if is_begun else note.round_ended + self._database.config.scrub_pause - now
        # A clock that was set back must not put the next round off for good.
        rest = min(max(rest, 0.0), self._database.config.scrub_pause)
        wait = max(rest, self._hours.wait_s(now))
        self._show(state=ScrubState.WAITING, next_round_at=now + wait, rate=0.0)
        return wait

    def _round(self, is_asked: bool) -> None:
        """One round, or what was left of one. Asked for by a person, it goes on past the schedule's hours."""
        note, status = self._database.integrity.scrubbed, self._database.status()
        if not note.next_page or note.next_page >= status.pages:
            note = replace(note, next_page=0, round_began=time.time())
        self._zeros = set()
        if status.free_pages != self._free_pages:
            self._cleared, self._free_pages = set(), status.free_pages
        began = time.monotonic()
        note = self._read_pages(note, status.pages, is_asked)
        rounds = note.rounds
        if note.next_page >= status.pages and not self._stop.is_set():
            # Pages of zeros are free, or lost in full: the engine knows which.
            note = replace(note, found=note.found + (self._sweep(None) if self._zeros else 0))
            note = self._end_round(note, status.pages, time.monotonic() - began)
        self._note(note)
        if note.rounds > rounds:
            self._database.events.publish("scrub_round_finished", pages=status.pages, found=note.found)

    def _read_pages(self, note: ScrubNote, pages: int, is_asked: bool) -> ScrubNote:
        """Read on from where the note says, at the pace that the load allows; returns how far it came."""
        config = self._database.config
        pace = Pace(config.scrub_rate, config.scrub_cover_within)
        noted = time.monotonic()
        while note.next_page < pages and not self._stop.is_set() and not self._paused:
            beat = time.monotonic()
            rate = pace.rate(self._database.status())
            state = ScrubState.STEPPING_BACK if pace.is_stepping_back else ScrubState.RUNNING
            self._show(state=state, next_page=note.next_page, pages=pages, rate=rate, next_round_at=0.0)
            note = self._read_some(note, min(pages, note.next_page + max(1, round(rate * _BEAT_S))))
            if beat - noted > _NOTE_EVERY_S:
                noted = beat
                self._note(note)
            self._rest(beat, rate)
            if not is_asked and not self._hours.holds(time.time()):
                break
        return note

    def _read_some(self, note: ScrubNote, last: int) -> ScrubNote:
        page, found = note.next_page, note.found
        while page < last and not self._stop.is_set():
            looks = self._look(page)
            if looks is _Looks.ZEROED:
                self._zeros.add(page)
            elif looks is _Looks.DAMAGED:
                found += self._sweep(page)
            page += 1
        return replace(note, next_page=page, found=found, at=time.time())

    def _note(self, note: ScrubNote) -> None:
        self._database.integrity.note_scrub(note)
        self._show(note=note, next_page=note.next_page)

    def _rest(self, beat: float, rate: float) -> None:
        # A rate below four pages a second is one page and a longer rest.
        length = max(_BEAT_S, 1.0 / rate)
        self._stop.wait(max(0.0, length - (time.monotonic() - beat)))

    @staticmethod
    def _end_round(note: ScrubNote, pages: int, seconds: float) -> ScrubNote:
        return replace(
            note,
            next_page=0,
            rounds=note.rounds + 1,
            round_ended=time.time(),
            last_round_pages=pages,
            last_round_seconds=seconds,
        )

    def _look(self, page: int) -> _Looks:
        for attempt in range(_LOOKS):
            info = look_at_page(self._database, page)
            if info is not None and info["ok"]:
                self._cleared.discard(page)
                return _Looks.WHOLE
            if page in self._cleared:
                return _Looks.WHOLE
            if info is not None and is_zeroed(info):
                return _Looks.ZEROED
            # What is being written may look torn for a moment: damage stays.
            if attempt < _LOOKS - 1 and self._stop.wait(_SECOND_LOOK_S):
                return _Looks.WHOLE
        return _Looks.DAMAGED

    def _sweep(self, suspect: int | None) -> int:
        """Have the engine sweep all pages: it knows which are in use, and which are whole in memory.

        Everything that it finds is met at once. Returns how many findings were new.
        """
        known = {finding.page for finding in self._database.integrity.findings()}
        if suspect is not None and suspect in known:
            # Met before; whether it can be repaired by now is tried once in a round.
            return self._meet_again(suspect)
        self._job = bridge.Job()
        if self._stop.is_set():
            raise Cancelled(operation="scrub")
        try:
            problems = self._database.store.check(False, self._job)["problems"]
        finally:
            self._job = None
        damaged = {int(problem["page"]): problem for problem in problems if problem["page"] is not None}
        if suspect is not None and suspect not in damaged:
            self._cleared.add(suspect)
        for page in damaged.keys() - known:
            self._meet(page, int(damaged[page]["code"]), str(damaged[page]["detail"]))
        if suspect is None:
            self._clear_zeros(damaged.keys())
        return len(damaged.keys() - known)

    def _clear_zeros(self, damaged: Iterable[int]) -> None:
        self._cleared |= self._zeros - set(damaged)
        self._zeros = set()

    def _meet_again(self, page: int) -> int:
        finding = next((f for f in self._database.integrity.findings() if f.page == page), None)
        if finding is not None:
            self._meet(page, finding.code, finding.summary)
        return 0

    def _meet(self, page: int, code: int, words: str) -> None:
        """Damage: make it a finding, and do what the settings say."""
        integrity, action = self._database.integrity, self._database.config.corruption_action
        finding = integrity.report_page(page, code, words, Checker.SCRUBBER)
        if finding is None or action == "report" or finding.priority is Priority.P3:
            return
        try:
            repair_found_page(self._database, finding, from_backups=self._may_read_backups(page))
        except (Cancelled, StoreClosed):
            raise
        except HoldfastError as error:
            _log.warning("page %d could not be repaired: %s", page, error.title)
            integrity.halting.halt([finding])

    def _may_read_backups(self, page: int) -> bool:
        """Whether a backup may help that was not there when this page was met the last time."""
        newest = self._database.keeper.standing().taken_at
        if self._backup_tried.get(page) == newest:
            return False
        self._backup_tried[page] = newest
        return True

    def _show(self, **changed: object) -> None:
        with self._lock:
            self._now = replace(self._now, **changed)  # type: ignore[arg-type]


def scrub_task(database: Database) -> Task[ScrubNote]:
    """One round as work with progress and cancel; start it, or run it.

    The scrubber's own thread does it, at its own pace; where a round runs already, its end is
    waited for. Cancel pauses the scrubber; what was covered stays covered.
    """

    def work(task: Task[ScrubNote]) -> ScrubNote:
        scrubber, ended = database.integrity.scrubber, threading.Event()
        listening = database.events.subscribe(lambda _event: ended.set(), ("scrub_round_finished",))
        try:
            scrubber.begin_round()
            task.stage("Pages", total=database.status().pages, unit="pages")
            done = 0
            while not ended.wait(_BEAT_S):
                if task.is_cancelled:
                    scrubber.pause()
                if database.is_closed:
                    raise StoreClosed()
                task.advance(max(0, scrubber.progress().next_page - done))
                done = max(done, scrubber.progress().next_page)
        finally:
            listening.close()
        return scrubber.progress().note

    return Task("Background check", work)
