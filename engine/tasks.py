"""Long work: progress, time left, cancel that answers, and one of four outcomes.

A `Task` runs on a thread of its own (`start`) or on the caller's (`run`). Whoever watches it
takes immutable `TaskProgress` values, by asking (`progress`) or by being told (`observe`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, cast

from engine.errors import Cancelled, HoldfastError, from_exception
from engine.types import Outcome

T = TypeVar("T")
U = TypeVar("U")

_TICK_S = 0.1
_WINDOW_S = 10.0
"""The rate is that of the last seconds: a disk that slows down shows at once."""

_log = logging.getLogger(__name__)


class TaskState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    ENDED = "ended"


class JobHandle(Protocol):
    """The kernel's side of a long work: `engine._kernel.Job`."""

    def cancel(self) -> None: ...
    def progress(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task is, at one moment."""

    name: str
    state: TaskState
    outcome: Outcome | None
    stage: str
    step: int
    """1-based number of the stage among `steps`; 0 where the work has no stages."""
    steps: int
    done: float
    total: float
    """0 where it is not known."""
    unit: str
    """bytes | rows | pages | records | % of work that is counted in several | empty"""
    rate: float
    """Units per second, of the last ten seconds."""
    elapsed_s: float
    remaining_s: float | None
    """Of this stage; None while it cannot be told."""

    @property
    def share(self) -> float | None:
        """How much of the whole is done, 0 to 1; None where it is not known."""
        if self.outcome in (Outcome.SUCCEEDED, Outcome.WARNINGS):
            return 1.0
        inside = min(self.done / self.total, 1.0) if self.total > 0 else None
        if self.steps:
            return (max(self.step - 1, 0) + (inside or 0.0)) / self.steps
        return inside

    @property
    def text(self) -> str:
        """The state in a word or two, as it is shown."""
        if self.state is TaskState.CANCELLING:
            return "Cancelling"
        if self.outcome is not None:
            return _OUTCOMES[self.outcome]
        return self.stage or ("Waiting" if self.state is TaskState.WAITING else "Running")


_OUTCOMES = {
    Outcome.SUCCEEDED: "Succeeded",
    Outcome.WARNINGS: "Succeeded with warnings",
    Outcome.FAILED: "Failed",
    Outcome.CANCELLED: "Cancelled",
}


class _Meter:
    """Rate and time left of one stage, from samples of the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def sample(self, now: float, done: float) -> float:
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end - start >= _TICK_S else 0.0


class Task(Generic[T]):
    """One long work. `work(task)` reports through the task and asks it whether to go on."""

    def __init__(
        self, name: str, work: Callable[[Task[T]], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.warnings: tuple[str, ...] = ()
        self._work = work
        self._clock = clock
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ended = threading.Event()
        self._cancel = threading.Event()
        self._state = TaskState.WAITING
        self._outcome: Outcome | None = None
        self._result: T | None = None
        self._error: HoldfastError | None = None
        self._stage, self._step, self._steps = "", 0, 0
        self._done, self._total, self._unit = 0.0, 0.0, ""
        self._meter = _Meter()
        self._job: JobHandle | None = None
        self._observers: list[Callable[[TaskProgress], None]] = []
        self._thread: threading.Thread | None = None
        self._began = self._finished = 0.0

    def then(self, follow: Callable[[T], object]) -> Task[T]:
        """Let `follow` have the result once the work has succeeded, within the task. Said before it runs."""
        work = self._work

        def whole(task: Task[T]) -> T:
            result = work(task)
            follow(result)
            return result

        self._work = whole
        return self

    def start(self) -> Task[T]:
        """Run on a thread of its own; returns at once."""
        self._thread = threading.Thread(
            target=self._run_quietly, name=f"holdfast-task-{self.name}", daemon=True
        )
        self._thread.start()
        return self

    def run(self) -> T:
        """Run here; return the result or raise the error, `Cancelled` among them."""
        self._begin()
        ticker = threading.Thread(target=self._tick, name="holdfast-task-ticker", daemon=True)
        ticker.start()
        try:
            self.proceed()
            result = self._work(self)
        except BaseException as error:
            coded = from_exception(error)
            self._end(Outcome.CANCELLED if isinstance(coded, Cancelled) else Outcome.FAILED, error=coded)
            if coded is error or not isinstance(error, Exception):
                raise
            _log.error("%s failed", self.name, exc_info=error)
            raise coded from error
        else:
            self._end(Outcome.WARNINGS if self.warnings else Outcome.SUCCEEDED, result=result)
            return result
        finally:
            ticker.join()
            self._tell()
            self._ended.set()

    def cancel(self) -> None:
        """Ask the work to stop. It answers: the state is "Cancelling" until it has."""
        with self._lock:
            if self._state is TaskState.ENDED:
                return
            self._cancel.set()
            if self._state is TaskState.RUNNING:
                self._state = TaskState.CANCELLING
            if self._job is not None:
                self._job.cancel()
        self._tell()

    def wait(self, timeout_s: float | None = None) -> T:
        """Wait for the end; return the result or raise the error. `TimeoutError` if it runs on."""
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"{self.name} is still running")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._error is not None:
            raise self._error
        return cast(T, self._result)

    def observe(self, observer: Callable[[TaskProgress], None]) -> Callable[[], None]:
        """Tell `observer` of every change, at most about ten times a second, and of the end.

        It is called on threads of the task and must return soon; of a task that has ended, it
        hears at once, on this thread. Returns a call that ends it.
        """
        with self._lock:
            self._observers.append(observer)
            has_ended = self._state is TaskState.ENDED
        if has_ended:
            observer(self.progress())

        def stop() -> None:
            with self._lock:
                if observer in self._observers:
                    self._observers.remove(observer)

        return stop

    def progress(self) -> TaskProgress:
        """How far it is now. Takes no lock of the engine."""
        with self._lock:
            self._read_job()
            now = self._finished if self._state is TaskState.ENDED else self._clock()
            rate = self._meter.sample(now, self._done)
            left = self._total - self._done
            has_rate = rate > 0 and self._total > 0 and self._state is not TaskState.ENDED
            return TaskProgress(
                name=self.name,
                state=self._state,
                outcome=self._outcome,
                stage=self._stage,
                step=self._step,
                steps=self._steps,
                done=self._done,
                total=self._total,
                unit=self._unit,
                rate=rate,
                elapsed_s=now - self._began if self._began else 0.0,
                remaining_s=max(left, 0.0) / rate if has_rate else None,
            )

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it has not."""
        return self._outcome

    @property
    def result(self) -> T | None:
        return self._result

    @property
    def error(self) -> HoldfastError | None:
        return self._error

    @property
    def is_cancelled(self) -> bool:
        """Whether someone asked it to stop."""
        return self._cancel.is_set()

    def stage(self, name: str, *, step: int = 0, steps: int = 0, total: float = 0.0, unit: str = "") -> None:
        """Begin a part of the work; a job of the part before is let go.

        Raises `Cancelled` where that was asked for.
        """
        self.proceed()
        with self._lock:
            self._job = None
            self._stage = name
            self._step, self._steps = step or self._step, steps or self._steps
            self._done, self._total, self._unit = 0.0, total, unit
            self._meter = _Meter()
        self._tell()

    def advance(self, count: float = 1.0) -> None:
        """Count something as done. Raises `Cancelled` where that was asked for."""
        self.proceed()
        with self._lock:
            self._done += count

    def warn(self, text: str) -> None:
        """Note something that makes the outcome "succeeded with warnings"."""
        with self._lock:
            self.warnings = (*self.warnings, text)

    def proceed(self) -> None:
        """Raise `Cancelled` where that was asked for."""
        if self._cancel.is_set():
            raise Cancelled(operation=self.name)

    def use(self, job: JobHandle) -> None:
        """Take progress from the kernel's `job` from now on, and pass cancel on to it."""
        with self._lock:
            self._job = job
            if self._cancel.is_set():
                job.cancel()

    def carry(self, part: Task[U]) -> U:
        """Run another task as a part of this one: progress is taken from it, cancel passed on to it."""
        self.use(_Part(part))
        return part.run()

    def _begin(self) -> None:
        with self._lock:
            if self._state is not TaskState.WAITING:
                raise RuntimeError("a task runs once")
            self._began = self._clock()
            self._state = TaskState.CANCELLING if self._cancel.is_set() else TaskState.RUNNING
        self._tell()

    def _end(self, outcome: Outcome, *, result: T | None = None, error: HoldfastError | None = None) -> None:
        with self._lock:
            self._read_job()
            self._job = None
            self._result, self._error, self._outcome = result, error, outcome
            self._finished = self._clock()
            self._state = TaskState.ENDED
        self._over.set()

    def _read_job(self) -> None:
        if self._job is None:
            return
        told = self._job.progress()
        if told["total"] or told["done"]:
            self._done, self._total, self._unit = told["done"], told["total"], told["unit"]
        if told["stage"] and not self._steps:
            if told["stage"] != self._stage:
                self._meter = _Meter()
            self._stage = told["stage"]

    def _tick(self) -> None:
        while not self._over.wait(_TICK_S):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            observers = list(self._observers)
        if not observers:
            return
        progress = self.progress()
        for observer in observers:
            try:
                observer(progress)
            except Exception:
                _log.exception("an observer of %s failed", self.name)

    def _run_quietly(self) -> None:
        try:
            self.run()
        except HoldfastError:
            _log.info("%s: %s", self.name, self._outcome)


class _Part:
    """A task seen as a job of the task that carries it."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()

    def progress(self) -> dict[str, Any]:
        told = self._task.progress()
        share = told.share
        if share is None:
            return {"done": told.done, "total": told.total, "unit": told.unit, "stage": told.stage}
        # Its stages count in different units.
        return {"done": round(100 * share, 1), "total": 100.0, "unit": "%", "stage": told.stage}
