"""Looks after the mirrors of an open database: tells of them, and fails over where that is set.

The engine stops taking changes when its disk fails. Where `mirror_fail_over` is "automatic", the
mirror that lacks least then takes the place of the database, and is opened: `successor`. Whoever
works with the database learns it by the event `failed_over`, with the new directory.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import HoldfastError
from engine.mirrors.failover import FailOver, fail_over_task
from engine.types import MirrorInfo, MirrorPhase

if TYPE_CHECKING:
    from engine.database import Database

LOOK_S = 0.5
"""A failed disk is noticed this soon, once the engine has met it."""

_log = logging.getLogger(__name__)


class MirrorGuard:
    """One thread, for as long as the database is open; it looks at a flag, and does nothing more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.result: FailOver | None = None
        """What the fail over came to; None where there was none."""
        self.failure: HoldfastError | None = None
        """Why it could not be done."""

    def start(self) -> None:
        """Begin to look; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="holdfast-mirrors", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, unless it is the caller's."""
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LOOK_S + 30.0)

    def candidate(self) -> MirrorInfo | None:
        """The mirror that would take over: whole, and lacking least."""
        known = self._database.mirrors.list()
        whole = [info for info in known if info.shipped_lsn and info.phase is not MirrorPhase.REFUSED]
        whole = [info for info in whole if info.phase is not MirrorPhase.COPYING]
        return min(whole, key=lambda info: (not info.in_step, info.lag_bytes), default=None)

    def _serve(self) -> None:
        while not self._over.wait(LOOK_S):
            database = self._database
            if database.status().state != "failed":
                continue
            if database.config.mirror_fail_over == "automatic":
                self._fail_over()
            return

    def _fail_over(self) -> None:
        database, started = self._database, time.monotonic()
        chosen = self.candidate()
        if chosen is None:
            _log.error("the disk of the database failed, and no mirror can take its place")
            return
        lost = {"lag_bytes": chosen.lag_bytes, "in_step": chosen.in_step}
        with suppress(HoldfastError):
            # It cannot end cleanly any more; what counts is that nobody works with it.
            database.store.close()
        try:
            self.result = fail_over_task(Path(chosen.path), database.path).run()
        except HoldfastError as error:
            self.failure = error
            _log.error("the mirror could not take over: %s", error.message)
            database.events.publish("fail_over_failed", code=error.code, message=error.message)
            return
        seconds = time.monotonic() - started
        database.events.publish("failed_over", path=chosen.path, seconds=seconds, **lost)
