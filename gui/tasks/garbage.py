"""Python's cyclic garbage, collected on the interface thread only.

Python collects on whichever thread has just made an object. What belongs to a window that was closed
is then destroyed there: Qt holds a mutex meanwhile and waits for the interpreter, the interface thread
has the interpreter and waits for the mutex, and the program stands still for good.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_EVERY_MS = 100
"""As often as this at most; what comes together in that time is collected in some milliseconds."""


class GarbageCollector(QObject):
    """Looks, on the thread that made it, whether there is enough to collect: as Python would, elsewhere."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        self._beat = QTimer(self)
        self._beat.setInterval(_EVERY_MS)
        self._beat.timeout.connect(collect_due)
        self._beat.start()


def collect_due() -> None:
    """Collect the oldest generation that has reached its threshold."""
    counts, thresholds = gc.get_count(), gc.get_threshold()
    due = [age for age in range(3) if counts[age] > thresholds[age] > 0]
    if due:
        gc.collect(due[-1])
