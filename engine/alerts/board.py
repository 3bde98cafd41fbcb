"""The board: which conditions hold, since when, who has answered, and how far the rest is escalated.

One condition is one alert: seen again it only counts. It clears when the condition is gone, and one that
comes back within `REOPENED_S` is the same alert, so that a figure about a limit makes one and not a hundred.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from engine.alerts.alert import RANK, Alert, AlertState, AlertType, Condition, News, NewsKind, Silence
from engine.alerts.escalation import Policy
from engine.alerts.history import History, Ledger
from engine.errors import InvalidArgument
from engine.types import Severity

REOPENED_S = 600.0
_TOLD = tuple({field.name for field in fields(Condition)} & {field.name for field in fields(Alert)} - {"key"})


class Board:
    """Any thread may use it. `tell` is called with each piece of news, outside the lock of the history."""

    def __init__(
        self,
        directory: Path,
        *,
        may_write: bool = True,
        policy: Callable[[], Policy] = Policy,
        tell: Callable[[News], object] = lambda _news: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = History(directory, may_write=may_write)
        self._policy, self._tell = policy, tell
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.RLock()
        self._seen: float | None = None
        self._pending: dict[str, float] = {}

    def alerts(self, *, cleared: bool = False) -> tuple[Alert, ...]:
        """Those that are open, the gravest first; with `cleared`, those that are over, the newest first."""
        found = [alert for alert in self.history.read().alerts.values() if alert.is_open is not cleared]
        if cleared:
            return tuple(sorted(found, key=lambda a: (a.cleared_at or 0.0, a.id), reverse=True))
        return tuple(sorted(found, key=lambda a: (RANK[a.severity], a.raised_at, a.id)))

    def silences(self) -> tuple[Silence, ...]:
        """The types that are silent now."""
        now = self._clock()
        return tuple(silence for silence in self.history.read().silences.values() if silence.holds(now))

    def see(self, found: Iterable[Condition], is_asked: Callable[[str], bool] = lambda _rule: True) -> None:
        """Take in all that is wrong now: raises, counts, clears, escalates, and tells.

        `is_asked` says whether a rule was asked; what the others had found stays as it is.
        """
        with self._lock:
            now, monotonic = self._clock(), self._monotonic()
            passed = 0.0 if self._seen is None else max(0.0, monotonic - self._seen)
            self._seen = monotonic
            wrong = {condition.key: condition for condition in found if is_asked(condition.rule)}
            self._remember(wrong, is_asked, monotonic)
            policy = self._policy()
            with self.history.changing() as kept:
                news = _update(kept, wrong, is_asked, now)
                for condition in wrong.values():
                    if monotonic - self._pending[condition.key] >= condition.after_s:
                        _raise(kept, condition, now)
                news += _wait(kept, policy, passed, now)
                news += _sum_up(kept, policy, now)
                kept.silences = {kind: s for kind, s in kept.silences.items() if s.holds(now)}
                kept.prune(now - policy.kept_s)
        for told in news:
            self._tell(told)

    def acknowledge(self, alert_id: int, by: str) -> Alert:
        """Somebody looks after it: it is escalated no further. Raises `InvalidArgument` (-2)."""
        with self._lock, self.history.changing() as kept:
            answered = replace(_open(kept, alert_id), acknowledged_at=self._clock(), acknowledged_by=by)
            kept.put(answered)
        return answered

    def silence(self, alert_id: int, seconds: float) -> Alert:
        """Tell nothing of an alert for so long; 0 ends a silence. Raises `InvalidArgument` (-2)."""
        with self._lock, self.history.changing() as kept:
            now = self._clock()
            since, until = (now, now + seconds) if seconds > 0 else (None, None)
            silent = replace(_open(kept, alert_id), silenced_at=since, silenced_until=until)
            kept.put(silent)
        return silent

    def silence_type(self, kind: AlertType, seconds: float) -> Silence:
        """Tell nothing of alerts of a type for so long; 0 ends a silence."""
        with self._lock, self.history.changing() as kept:
            now = self._clock()
            made = Silence(kind, now, now + max(0.0, seconds))
            kept.silences[kind] = made
            if seconds <= 0:
                del kept.silences[kind]
        return made

    def state(self, alert: Alert) -> AlertState:
        """Where an alert stands now, the silence of its type counted in."""
        return state_of(alert, self.silences(), self._clock())

    def _remember(self, wrong: Collection[str], is_asked: Callable[[str], bool], monotonic: float) -> None:
        """Since when each condition holds, whether it was told of or not."""
        unasked = {key: at for key, at in self._pending.items() if not is_asked(_rule(key))}
        self._pending = {key: self._pending.get(key, monotonic) for key in wrong} | unasked


def state_of(alert: Alert, silences: Iterable[Silence], now: float) -> AlertState:
    """Where an alert stands at a moment, with these types silent."""
    state = alert.state(now)
    if state is not AlertState.CLEARED and any(s.type is alert.type and s.holds(now) for s in silences):
        return AlertState.SILENCED
    return state


def _open(kept: Ledger, alert_id: int) -> Alert:
    alert = kept.alerts.get(alert_id)
    if alert is None or not alert.is_open:
        raise InvalidArgument(argument="alert", issue=f"no alert {alert_id} is open")
    return alert


def _rule(key: str) -> str:
    return key.partition(":")[0]


def _update(
    kept: Ledger, wrong: dict[str, Condition], is_asked: Callable[[str], bool], now: float
) -> list[News]:
    """Count what is seen again, taking it out of `wrong`; clear what is gone, and tell of it."""
    news = []
    for alert in [alert for alert in kept.alerts.values() if alert.is_open]:
        if alert.key in wrong:
            kept.put(_seen_again(alert, wrong.pop(alert.key), now))
        elif is_asked(_rule(alert.key)):
            kept.put(replace(alert, cleared_at=now))
            if _is_told(alert):
                news.append(News(NewsKind.CLEARED, now, (kept.alerts[alert.id],)))
    return news


def _is_told(alert: Alert) -> bool:
    return alert.told_level >= 0


def _told(condition: Condition) -> dict[str, Any]:
    """What an alert says of its condition."""
    return {name: getattr(condition, name) for name in _TOLD}


def _seen_again(alert: Alert, condition: Condition, now: float) -> Alert:
    """The alert with the words of today. One that has become graver is told and waits for an answer anew."""
    if RANK[condition.severity] < RANK[alert.severity]:
        alert = replace(alert, waited_s=0.0, level=0, told_level=-1, acknowledged_at=None, acknowledged_by="")
    return replace(alert, last_seen_at=now, **_told(condition))


def _raise(kept: Ledger, condition: Condition, now: float) -> None:
    """A new alert, or the one of the same condition that was cleared a moment ago."""
    before = [alert for alert in kept.alerts.values() if alert.key == condition.key]
    last = max(before, key=lambda alert: alert.id, default=None)
    if last is not None and last.cleared_at is not None and 0 <= now - last.cleared_at < REOPENED_S:
        again = replace(last, cleared_at=None, count=last.count + 1)
        kept.put(_seen_again(again, condition, now))
        return
    kept.put(Alert(id=kept.next_id, key=condition.key, raised_at=now, last_seen_at=now, **_told(condition)))


def _wait(kept: Ledger, policy: Policy, passed: float, now: float) -> list[News]:
    """Let those that nobody answers wait so long, and tell what has come of it.

    Time in which the database was closed does not count: nobody could have seen it.
    """
    news = []
    for alert in [alert for alert in kept.alerts.values() if alert.is_open]:
        if state_of(alert, kept.silences.values(), now) is not AlertState.OPEN:
            continue
        # It waits from when it was told on.
        waited = alert.waited_s + (passed if _is_told(alert) else 0.0)
        level = max(alert.level, policy.level(alert.severity, waited))
        alert = replace(alert, waited_s=waited, level=level)
        if alert.severity is not Severity.LOW and level > alert.told_level:
            kind = NewsKind.ESCALATED if _is_told(alert) else NewsKind.RAISED
            alert = replace(alert, told_level=level)
            news.append(News(kind, now, (alert,)))
        kept.put(alert)
    return news


def _sum_up(kept: Ledger, policy: Policy, now: float) -> list[News]:
    """The summary of the lesser alerts, where one is due."""
    if policy.summary_every_s is None:
        return []
    low = [
        alert
        for alert in kept.alerts.values()
        if alert.severity is Severity.LOW and state_of(alert, kept.silences.values(), now) is AlertState.OPEN
    ]
    if not low:
        return []
    last = kept.summed_up_at
    if last is None or last > now:
        # The first one, or the clock was set back: a period is counted from here.
        kept.summed_up_at = now
        return []
    if now - last < policy.summary_every_s:
        return []
    kept.summed_up_at = now
    return [News(NewsKind.SUMMARY, now, tuple(sorted(low, key=lambda alert: alert.id)))]
