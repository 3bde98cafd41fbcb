"""Work off the interface thread, answered by a signal on it.

    worker.run(lambda: database.check(), receiver=self).done(self.show).failed(self.complain)

`run` returns at once. The work runs on the worker's own thread, in the order it was asked for;
the answer arrives through the event loop of the interface thread, so handlers that are
attached in the same breath are always in time. Where `receiver` has gone by then, the answer
is dropped. A worker is never waited for on the interface thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import shiboken6
from PySide6.QtCore import QObject

from gui.tasks.turns import Courier

log = logging.getLogger(__name__)

Work = Callable[[], Any]


class Answer:
    """What will come of a piece of work. Used on the interface thread only."""

    def __init__(self, receiver: QObject | None) -> None:
        self._receiver = receiver
        self._has_receiver = receiver is not None
        self._done: Callable[[Any], object] | None = None
        self._failed: Callable[[BaseException], object] | None = None
        self._finally: Callable[[], object] | None = None
        self._dropped = False
        self.is_told_elsewhere = False
        """Somebody else shows errors: the jobs panel does."""

    def done(self, handler: Callable[[Any], object]) -> Answer:
        """Call `handler(result)` when the work has succeeded."""
        self._done = handler
        return self

    def failed(self, handler: Callable[[BaseException], object]) -> Answer:
        """Call `handler(error)` when the work has raised."""
        self._failed = handler
        return self

    def finally_(self, handler: Callable[[], object]) -> Answer:
        """Call `handler()` after either, unless the answer was dropped."""
        self._finally = handler
        return self

    def drop(self) -> None:
        """Nobody wants this answer any more. The work itself is not stopped."""
        self._dropped = True

    @property
    def dropped(self) -> bool:
        return self._dropped or (self._has_receiver and not shiboken6.isValid(self._receiver))

    def deliver(self, result: Any, error: BaseException | None) -> None:
        if self.dropped:
            return
        if error is None:
            if self._done is not None:
                self._done(result)
        elif self._failed is not None:
            self._failed(error)
        elif not self.is_told_elsewhere:
            log.error("work failed and nobody asked to be told", exc_info=error)
        if self._finally is not None and not self.dropped:
            self._finally()


class Worker:
    """One thread that does what it is given, in order. Starts with the first piece of work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[tuple[Work, Answer] | None] = queue.SimpleQueue()
        self._courier = Courier()
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Work, receiver: QObject | None = None) -> Answer:
        """Do `work()` on the worker's thread. Call it from the interface thread."""
        answer = Answer(receiver)
        if self._closed:
            answer.drop()
            return answer
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._work.put((work, answer))
        return answer

    def close(self) -> None:
        """Take no more work; the thread ends when it has done what it was given."""
        if not self._closed:
            self._closed = True
            self._work.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread. Not for the interface thread, except when all is over."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, answer = item
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:
                error = caught
            if not shiboken6.isValid(self._courier):
                return
            try:
                self._courier.send(partial(answer.deliver, result, error))
            except RuntimeError:
                # The interface was torn down between the question and the answer.
                return
            # Nothing of the work is kept alive until the next piece comes.
            del item, work, answer, result, error
