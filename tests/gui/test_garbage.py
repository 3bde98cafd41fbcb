"""Where Python's garbage is collected."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import shiboken6
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from gui.tasks.garbage import GarbageCollector

Until = Callable[[Callable[[], bool]], None]


class Ring:
    """Garbage that only the collector finds; it tells on which thread it was destroyed."""

    def __init__(self, told: list[int]) -> None:
        self._self = self
        self._told = told

    def __del__(self) -> None:
        self._told.append(threading.get_ident())


def test_garbage_of_any_thread_is_collected_on_the_interface_thread(qapp: QApplication, until: Until) -> None:
    keeper = QObject()
    GarbageCollector(keeper)
    assert not gc.isenabled()
    told: list[int] = []

    def litter() -> None:
        for _ in range(3 * gc.get_threshold()[0]):
            Ring(told)

    worker = threading.Thread(target=litter)
    worker.start()
    worker.join()
    assert told == []
    until(lambda: len(told) > gc.get_threshold()[0])
    assert set(told) == {threading.get_ident()}
    shiboken6.delete(keeper)
