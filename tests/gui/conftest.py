"""What tests of the interface get: a theme, a window, and a watch over the event loop."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import shiboken6
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from gui.app import SWITCH_INTERVAL_S, spare_built
from gui.main_window import MainWindow
from gui.session import Preferences
from gui.theme import ThemeManager, ThemeMode

log = logging.getLogger(__name__)

# On a shared machine that only runs tests, processors come and go: there the watch finds what blocks
# for long, and the 50 ms are for a machine of one's own.
LONGEST_BLOCK_S = 0.400 if os.environ.get("CI") else 0.050
BUSY_MACHINE = 0.25
"""Where other programs take more than this share of the processors, three times as long is allowed, or as
many times as programs stand in line for each processor: whoever holds the interpreter may then be kept
waiting itself, which no one here can help."""
_BEAT_MS = 5


def _waited_for_processor() -> float:
    """Seconds that this thread was ready to run and another program had the processor.

    Linux tells it; elsewhere nothing is taken off, and a busy machine counts against us.
    """
    try:
        fields = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) / 1e9


def _used_by_others() -> tuple[float, float]:
    """Processor seconds that other programs have used until now, and the time now."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    return busy - own.user - own.system, time.monotonic()


class EventLoopWatch:
    """A heartbeat on the interface thread; a gap between two beats is a block."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._seen: traceback.StackSummary | None = None
        self._beat_at = 0.0
        self._waited = 0.0
        self._main = threading.get_ident()
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[EventLoopWatch]:
        """Watch while the test runs the event loop (`qtbot.wait`, `waitUntil`, `waitSignal`)."""
        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setInterval(_BEAT_MS)
        timer.timeout.connect(self._beat)
        # As the application does; the heap of a test run is many times as large.
        spare_built()
        self._beat_at, self._waited = time.monotonic(), _waited_for_processor()
        looker = threading.Thread(target=self._look, name="watch", daemon=True)
        used, began = _used_by_others()
        timer.start()
        looker.start()
        try:
            yield self
        finally:
            timer.stop()
            self._over.set()
            looker.join()
            gc.unfreeze()
        used_after, ended = _used_by_others()
        share = (used_after - used) / max(ended - began, 0.01) / (psutil.cpu_count() or 1)
        crowd = max(3.0, psutil.getloadavg()[0] / (psutil.cpu_count() or 1))
        limit = LONGEST_BLOCK_S * (crowd if share > BUSY_MACHINE else 1)
        figures = self.longest_s * 1000, share * 100, self.where
        log.info("longest gap %.0f ms; others used %.0f %% of the processors\n%s", *figures)
        assert self.longest_s <= limit, (
            f"the interface was blocked for {self.longest_s * 1000:.0f} ms in\n{self.where}"
        )

    @property
    def where(self) -> str:
        """Where the interface thread was during the longest gap."""
        return "" if self._seen is None else "".join(list(reversed(self._seen.format()))[-8:])

    def _beat(self) -> None:
        now, waited = time.monotonic(), _waited_for_processor()
        gap = (now - self._beat_at) - (waited - self._waited)
        self._beat_at, self._waited = now, waited
        self.longest_s = max(self.longest_s, gap)

    def _look(self) -> None:
        # Remembers where the interface thread is while a beat is late.
        while not self._over.wait(0.01):
            late = time.monotonic() - self._beat_at
            if late > LONGEST_BLOCK_S and late > self.longest_s:
                frame = sys._current_frames().get(self._main)
                # Source lines are looked up later: to read files here would hold up the thread looked at.
                self._seen = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
                # A frame that is kept keeps its painter, and a painter must not outlive its paint event.
                del frame


@pytest.fixture
def watch() -> EventLoopWatch:
    """Fails a test in which the event loop was blocked for over 50 ms, on a machine to itself."""
    return EventLoopWatch()


@pytest.fixture(autouse=True)
def no_timer_outlives_its_test(qapp: QApplication) -> Iterator[None]:
    """A timer that still runs after its widgets have gone is a leak."""
    before = {id(timer) for timer in _running_timers()}
    yield
    qapp.sendPostedEvents()
    qapp.processEvents()
    leaked = [timer for timer in _running_timers() if id(timer) not in before]
    assert not leaked, f"timers left behind: {[(t.interval(), t.parent()) for t in leaked]}"


def _running_timers() -> list[QTimer]:
    found = [thing for thing in gc.get_objects() if isinstance(thing, QTimer)]
    return [timer for timer in found if shiboken6.isValid(timer) and timer.isActive()]


@pytest.fixture
def theme(qapp: QApplication) -> Iterator[ThemeManager]:
    """Our own look, as in the application."""
    manager = ThemeManager(qapp, ThemeMode.LIGHT)
    yield manager
    manager.deleteLater()


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    kept = Preferences(tmp_path / "config", tmp_path / "state")
    kept.folder = tmp_path
    return kept


@pytest.fixture
def window(qtbot: Any, theme: ThemeManager, preferences: Preferences) -> Iterator[MainWindow]:
    """The main window, shown, and closed with its database at the end."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    made = MainWindow(preferences, theme)
    made.show()
    qtbot.waitExposed(made)
    yield made
    if made.isVisible():
        # Not `close`: it would ask about a job whose end is told a moment after its database has closed.
        with qtbot.waitSignal(made.left, timeout=20_000):
            made.leave()
    made.deleteLater()
    qtbot.wait(1)
    sys.setswitchinterval(before)


@pytest.fixture
def until(qtbot: Any) -> Callable[[Callable[[], bool]], None]:
    """Run the event loop until something holds."""
    return lambda condition: qtbot.waitUntil(condition, timeout=20_000)
