"""Work on the interface thread in pieces, one a turn of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

Piece = Callable[[], object]


class Turns(QObject):
    """Does what it is given in order. Between two pieces the event loop takes a turn: what the one has
    changed is laid out and drawn, and keys and clicks are heard, before the next.

    Pieces that are still waiting when it goes are dropped. `add` and `drop` are for the interface thread.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: deque[Piece] = deque()
        # A timer: what is merely posted is done in the same turn.
        self._next = QTimer(self)
        self._next.setSingleShot(True)
        self._next.setInterval(0)
        self._next.timeout.connect(self._do_next)

    def add(self, piece: Piece) -> None:
        """Have `piece()` done in a turn of its own, after those that wait."""
        self._waiting.append(piece)
        self._next.start()

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._next.stop()

    @Slot()
    def _do_next(self) -> None:
        piece = self._waiting.popleft()
        if self._waiting:
            # Asked for first: a piece may raise, or run an event loop of its own.
            self._next.start()
        piece()


class Courier(QObject):
    """Brings pieces of work from any thread to the interface thread, where it lives.

    Answers that arrive together do not add up to one long pause: each has its turn.
    """

    _arrived = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._turns = Turns(self)
        self._arrived.connect(self._turns.add, Qt.ConnectionType.QueuedConnection)

    def send(self, piece: Piece) -> None:
        """Have `piece()` done on the interface thread. RuntimeError where the interface has gone."""
        self._arrived.emit(piece)
