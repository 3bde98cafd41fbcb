"""Long work as the interface follows it: one list of `engine.tasks.Task`s, told of by signals."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Signal

from engine.tasks import Task, TaskProgress, TaskState
from engine.types import Outcome
from gui.tasks.turns import Courier
from gui.tasks.worker import Answer

_KEPT = 50


class Job(QObject):
    """A task in the list. Its signals come on the interface thread."""

    progressed = Signal(object)
    """A `TaskProgress`."""
    ended = Signal(object)
    """The last `TaskProgress`, with the outcome."""

    def __init__(self, task: Task[Any], receiver: QObject | None, parent: QObject) -> None:
        super().__init__(parent)
        self.task = task
        self.answer = Answer(receiver)
        self.answer.is_told_elsewhere = True
        self.started_at = time.time()
        self.progress: TaskProgress | None = None
        self.is_over = False
        self._courier = Courier(self)
        self._stop_observing = task.observe(self._tell)

    @property
    def name(self) -> str:
        return self.task.name

    def cancel(self) -> None:
        """Ask the work to stop; the answer comes as progress, then as the outcome."""
        self.task.cancel()

    def _tell(self, progress: TaskProgress) -> None:
        # On a thread of the task.
        try:
            self._courier.send(partial(self._take, progress))
        except RuntimeError:
            self._stop_observing()

    def _take(self, progress: TaskProgress) -> None:
        if self.is_over:
            return
        self.progress = progress
        self.progressed.emit(progress)
        if progress.state is TaskState.ENDED:
            self.is_over = True
            self._stop_observing()
            self.ended.emit(progress)
            failed = progress.outcome in (Outcome.FAILED, Outcome.CANCELLED)
            self.answer.deliver(self.task.result, self.task.error if failed else None)


class Jobs(QObject):
    """Every long work of this window, newest last."""

    added = Signal(object)
    """A `Job`."""
    changed = Signal()
    """A job was added or has ended."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: list[Job] = []

    def start(self, task: Task[Any], receiver: QObject | None = None) -> Job:
        """Start a task and follow it. `job.answer.done(...).failed(...)` hears of its end;
        a cancelled task answers with the error `Cancelled`."""
        job = self.follow(task, receiver)
        task.start()
        return job

    def follow(self, task: Task[Any], receiver: QObject | None = None) -> Job:
        """Follow a task that is started elsewhere: one of the engine's own."""
        job = Job(task, receiver, self)
        job.ended.connect(self._ended)
        self._jobs.append(job)
        self.added.emit(job)
        self.changed.emit()
        return job

    def all(self) -> list[Job]:
        return list(self._jobs)

    def running(self) -> list[Job]:
        return [job for job in self._jobs if not job.is_over]

    def forget_ended(self) -> None:
        """Take the jobs that are over from the list."""
        for job in [job for job in self._jobs if job.is_over]:
            self._jobs.remove(job)
            job.deleteLater()
        self.changed.emit()

    def _ended(self, _progress: TaskProgress) -> None:
        over = [job for job in self._jobs if job.is_over]
        for job in over[: max(0, len(over) - _KEPT)]:
            self._jobs.remove(job)
            job.deleteLater()
        self.changed.emit()
