"""The background check on the page: what it is at, and the buttons that steer it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gui.actions import Actions
from gui.integrity.words import tr
from gui.tasks import EngineSession, Sample
from gui.widgets import StatTile, formats

if TYPE_CHECKING:
    from engine.integrity.scrubber import ScrubProgress

_EVERY_S = 1.0


class ScrubTile(StatTile):
    """Asks for the scrubber's progress once a second while it is in view; never on this thread."""

    def __init__(self) -> None:
        super().__init__(tr("Background check"))
        self._session: EngineSession | None = None
        self._asked_at = 0.0
        self.state = ""

    def add_actions(self, actions: Actions) -> None:
        """Register what can be asked of the scrubber."""
        for action_id, words, handler, keys, drawing in (
            ("integrity.scrub", tr("Begin the background check now"), self.begin, "Ctrl+Alt+B", "play"),
            (
                "integrity.pause",
                tr("Pause or resume the background check"),
                self.toggle,
                "Ctrl+Alt+P",
                "pause",
            ),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        self._session = session
        self._asked_at = 0.0
        session.sampled.connect(self._tick)

    def detach(self) -> None:
        self._session = None
        self.state = ""
        self.show_value("–", "")

    def begin(self) -> None:
        """Cover the whole database now."""
        self._run(lambda scrubber: scrubber.begin_round())

    def toggle(self) -> None:
        """Pause the scrubber, or let it go on."""
        is_paused = self.state == "paused"
        self._run(lambda scrubber: scrubber.resume() if is_paused else scrubber.pause())

    def _run(self, steer: Callable[[Any], object]) -> None:
        if self._session is not None:
            answer = self._session.run(lambda db: _steer(db, steer), self, channel="integrity")
            answer.done(self.show_progress)

    def _tick(self, sample: Sample) -> None:
        if self._session is not None and self.isVisible() and sample.at - self._asked_at >= _EVERY_S:
            self._asked_at = sample.at
            answer = self._session.run(_progress, self, channel="integrity")
            answer.done(self.show_progress)

    def show_progress(self, now: ScrubProgress) -> None:
        """Show where the scrubber is."""
        if self._session is None:
            return
        self.state = str(now.state)
        value, detail = _words(now)
        self.show_value(value, detail)
        covered = now.note
        tip = tr("Never covered the whole database")
        if covered.round_ended:
            tip = tr(
                "{n} pages were covered by {when}, in {s}; rounds so far: {rounds}, damage found: {found}"
            ).format(
                n=formats.count(covered.last_round_pages),
                when=formats.moment(covered.round_ended),
                s=formats.duration(covered.last_round_seconds),
                rounds=formats.count(covered.rounds),
                found=formats.count(covered.found),
            )
        self.setToolTip(tip)
        self.setAccessibleDescription(tip)


def _words(now: ScrubProgress) -> tuple[str, str]:
    state, last = str(now.state), now.note.round_ended
    before = tr("covered {ago}").format(ago=formats.ago(last)) if last else tr("not covered yet")
    if state in ("running", "stepping_back"):
        rate = formats.rate(now.rate, tr("pages"))
        slow = tr("giving way, {rate}") if state == "stepping_back" else "{rate}"
        return f"{100 * now.share:.0f} %", slow.format(rate=rate)
    if state == "paused":
        return tr("paused"), before
    if state == "off":
        return tr("off"), tr("turned off in the settings")
    wait = max(1.0, now.next_round_at - time.time())
    value = formats.ago(last) if last else tr("waiting")
    shown = tr("{n} s").format(n=round(wait)) if wait < 60 else formats.duration(wait)
    return value, tr("next round in {s}").format(s=shown)


def _progress(database: Any) -> ScrubProgress:
    now: ScrubProgress = database.integrity.scrubber.progress()
    return now


def _steer(database: Any, steer: Callable[[Any], object]) -> ScrubProgress:
    steer(database.integrity.scrubber)
    return _progress(database)
