"""The alerts of one open database: looked at by a thread of their own, answered by people.

The thread leaves the database alone for its first moments, so that a script that opens it for a moment has no
part in it, unless somebody attends (the window does). Then it glances at the engine each second, which takes
no lock, and looks at everything each `health_check_interval`, or at once where the glance shows a change.
"""

from __future__ import annotations

import getpass
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.alerts import rules
from engine.alerts.alert import Alert, AlertState, AlertType, News, Silence
from engine.alerts.board import Board, state_of
from engine.alerts.channels import Desktop, LogFile, Router, log_file
from engine.alerts.escalation import Policy
from engine.errors import HoldfastError, InvalidArgument, StoreClosed
from engine.keeper import save_settings

if TYPE_CHECKING:
    from engine.database import Database

SETTLE_S = 20.0
GLANCE_S = 1.0
_CLOSE_S = 30.0

CHANGED = "alerts_changed"
"""The kind of the event that tells of an answer: acknowledged or silenced."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlertsView:
    """All alerts at one moment, as they are shown."""

    at: float
    alerts: tuple[Alert, ...]
    """The open ones, the gravest first."""
    cleared: tuple[Alert, ...]
    silences: tuple[Silence, ...]
    note: str
    """What has to be said about their history; empty for nothing."""
    unreachable: tuple[str, ...]
    """Channels that the settings name for critical alerts, and that this version cannot reach."""

    def state(self, alert: Alert) -> AlertState:
        return state_of(alert, self.silences, self.at)

    @property
    def unanswered(self) -> tuple[Alert, ...]:
        """Those that wait for somebody."""
        return tuple(alert for alert in self.alerts if self.state(alert) is AlertState.OPEN)


class Alerts:
    """Any thread may ask. What looks at the database reads small files and no page of it."""

    def __init__(
        self,
        database: Database,
        *,
        may_write: bool | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`may_write` says whether alerts are kept; left out, they are where the database may be changed."""
        self._database = database
        self._clock, self._monotonic = clock, monotonic
        path = database.path
        self._router = Router([Desktop(database.events), LogFile(log_file(path, database.config), path)])
        if may_write is None:
            may_write = not bool(database.store.status()["read_only"])
        self.board = Board(
            path,
            may_write=may_write,
            policy=lambda: Policy.of(database.config),
            tell=self._tell,
            clock=clock,
            monotonic=monotonic,
        )
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        self._glanced: object = None
        self._looked: float | None = None

    def start(self) -> None:
        """Begin to look; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="holdfast-alerts", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread and let go of the files."""
        self._over = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            # A folder of backups on a share that does not answer must not keep a database from closing.
            self._thread.join(_CLOSE_S)
        if self._looking.acquire(timeout=_CLOSE_S):
            self._router.close()
            self._looking.release()

    def attend(self) -> AlertsView:
        """Somebody watches from now on: look at once, and leave the database alone no longer."""
        self.look()
        self._wake.set()
        return self.view()

    def look(self) -> None:
        """Look at everything now: raise, clear and escalate. Not for the interface thread."""
        with self._looking:
            if self._over:
                return
            self._looked = self._monotonic()
            try:
                seen = self._see()
            except StoreClosed:
                raise
            except Exception as error:
                if not isinstance(error, HoldfastError):
                    _log.exception("the health of the database could not be looked at")
                self.board.see([rules.failed_look(error)], lambda rule: rule == rules.FAILED_LOOK)
                return
            if seen.report.status.state != "closed":
                has_looked = self._database.keeper.has_looked
                self.board.see(
                    rules.conditions(seen), lambda rule: has_looked or rule not in rules.ABOUT_BACKUPS
                )

    def list(self, *, cleared: bool = False) -> tuple[Alert, ...]:
        """Those that are open, the gravest first; with `cleared`, those that are over, the newest first."""
        return self.board.alerts(cleared=cleared)

    def view(self) -> AlertsView:
        """All of them at this moment, as the last look left them."""
        return AlertsView(
            at=self._clock(),
            alerts=self.board.alerts(),
            cleared=self.board.alerts(cleared=True),
            silences=self.board.silences(),
            note=self.board.history.note,
            unreachable=self._router.missing(self._database.config),
        )

    def acknowledge(self, alert_id: int, by: str = "") -> Alert:
        """Somebody (this account, where none is named) looks after it: it is escalated no further.

        Raises `InvalidArgument` (-2) where no such alert is open.
        """
        answered = self.board.acknowledge(alert_id, by or this_account())
        self._database.events.publish(CHANGED, alert=alert_id)
        return answered

    def silence(self, which: int | AlertType | str, seconds: float) -> Alert | Silence:
        """Tell nothing of an alert, or of all of a type, for so long; 0 ends a silence.

        They stay on the list. Raises `InvalidArgument` (-2) for what there is not.
        """
        made = silence(self.board, which, seconds)
        self._database.events.publish(CHANGED, alert=which if isinstance(which, int) else None)
        return made

    def change(self, **values: Any) -> None:
        """Change settings of alerts in `reliability.toml`, in force at once.

        Raises `ConfigInvalid` that names every wrong value; nothing is changed then.
        """
        self._database.config = save_settings(self._database, values)

    def _see(self) -> rules.Seen:
        database = self._database
        worst = next(iter(database.integrity.findings()), None)
        return rules.Seen(
            report=database.health.report(),
            integrity=database.integrity.standing(),
            damage_code=None if worst is None else worst.code,
            backup_failure=database.keeper.failure(),
            fail_over_failure=database.guard.failure,
        )

    def _tell(self, news: News) -> None:
        self._router.tell(news, self._database.config)

    def _serve(self) -> None:
        self._wake.wait(SETTLE_S)
        while not self._over:
            self._wake.clear()
            try:
                if self._is_due():
                    self.look()
            except StoreClosed:
                return
            except Exception:
                _log.exception("the alerts could not be looked after")
            if not self._over:
                self._wake.wait(GLANCE_S)

    def _is_due(self) -> bool:
        """Whether the time has come for a look, or the engine is not as it was."""
        database = self._database
        status = database.status()
        is_stuck = status.recovery is not None and status.recovery.stage == "stuck"
        standing = database.integrity.standing()
        has_looked = database.keeper.has_looked
        glance = (status.state, status.is_halted, is_stuck, has_looked, standing.urgent, standing.indexes)
        has_changed, self._glanced = glance != self._glanced, glance
        last, every = self._looked, database.config.health_check_interval
        return has_changed or last is None or self._monotonic() - last >= every


def silence(board: Board, which: int | AlertType | str, seconds: float) -> Alert | Silence:
    """As `Alerts.silence`, on the board of a database that need not be open."""
    if isinstance(which, int):
        return board.silence(which, seconds)
    try:
        kind = AlertType(which)
    except ValueError:
        known = ", ".join(kind.value for kind in AlertType)
        raise InvalidArgument(argument="alert type", issue=f"it must be one of {known}") from None
    return board.silence_type(kind, seconds)


def this_account() -> str:
    """Who works here, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
