from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.errors import Cancelled, DiskFull, HoldfastError, InternalError
from engine.tasks import Task, TaskProgress, TaskState
from engine.types import Outcome


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Job:
    """Stands for the kernel's job: what it says, and whether it was asked to stop."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {"stage": "rows", "done": 0, "total": 0, "unit": "rows", "rows": 0}
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def progress(self) -> dict[str, Any]:
        return dict(self.told)


def test_work_that_returns_has_succeeded() -> None:
    task = Task("Count", lambda task: 42)
    assert task.start().wait(10) == 42
    assert (task.outcome, task.result, task.error) == (Outcome.SUCCEEDED, 42, None)
    assert task.progress().share == 1.0
    assert task.progress().text == "Succeeded"


def test_work_with_warnings_has_succeeded_with_warnings() -> None:
    task = Task("Import", lambda task: task.warn("one index was left out"))
    task.run()
    assert task.outcome is Outcome.WARNINGS
    assert task.warnings == ("one index was left out",)


def test_work_that_fails_keeps_its_coded_error() -> None:
    def fail(task: Task[None]) -> None:
        raise DiskFull(path="/data")

    task = Task("Backup", fail).start()
    with pytest.raises(DiskFull):
        task.wait(10)
    assert task.outcome is Outcome.FAILED
    assert isinstance(task.error, DiskFull)


def test_a_foreign_exception_becomes_a_coded_one() -> None:
    def fail(task: Task[None]) -> None:
        raise ZeroDivisionError

    task = Task("Backup", fail)
    with pytest.raises(InternalError) as caught:
        task.run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert task.outcome is Outcome.FAILED


def test_an_observer_that_comes_late_hears_of_the_end() -> None:
    told: list[TaskProgress] = []
    task = Task("Check", lambda task: None)
    task.run()
    task.observe(told.append)
    assert [progress.outcome for progress in told] == [Outcome.SUCCEEDED]


def test_cancel_answers_first_that_it_cancels_and_then_that_it_did() -> None:
    running, go_on = threading.Event(), threading.Event()
    told: list[TaskProgress] = []

    def work(task: Task[None]) -> None:
        running.set()
        assert go_on.wait(10)
        task.proceed()

    task = Task("Check", work)
    task.observe(told.append)
    task.start()
    assert running.wait(10)
    task.cancel()
    assert task.progress().text == "Cancelling"
    go_on.set()
    with pytest.raises(Cancelled):
        task.wait(10)
    assert task.outcome is Outcome.CANCELLED
    assert "Cancelling" in [p.text for p in told]
    assert told[-1].text == "Cancelled"
    assert told[-1].state is TaskState.ENDED


def test_a_task_that_was_cancelled_before_it_began_does_nothing() -> None:
    done: list[int] = []
    task = Task("Check", lambda task: done.append(1))
    task.cancel()
    with pytest.raises(Cancelled):
        task.run()
    assert done == []


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    task = Task("Count", lambda task: 1)
    task.run()
    task.cancel()
    assert task.outcome is Outcome.SUCCEEDED


def test_progress_comes_from_the_kernels_job_and_cancel_goes_to_it() -> None:
    job, seen = Job(), []

    def work(task: Task[None]) -> None:
        task.use(job)
        job.told.update(stage="building indexes", done=250, total=1000)
        seen.append(task.progress())
        task.cancel()
        assert job.cancelled.is_set()
        raise Cancelled(operation="Import")

    task = Task("Import", work)
    with pytest.raises(Cancelled):
        task.run()
    assert (seen[0].stage, seen[0].unit, seen[0].share) == ("building indexes", "rows", 0.25)
    assert task.outcome is Outcome.CANCELLED


def test_a_job_that_comes_after_the_cancel_is_cancelled_at_once() -> None:
    job = Job()

    def work(task: Task[None]) -> None:
        task.cancel()
        task.use(job)
        assert job.cancelled.is_set()

    Task("Import", work).run()


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    clock = Clock()

    def work(task: Task[TaskProgress]) -> TaskProgress:
        task.stage("Reading", step=2, steps=4, total=1000, unit="pages")
        task.progress()
        for _ in range(20):
            clock.now += 1
            task.advance(25)
            latest = task.progress()
        return latest

    latest = Task("Check", work, clock=clock).run()
    assert latest.rate == pytest.approx(25)
    assert latest.remaining_s == pytest.approx(20)
    assert latest.share == pytest.approx(0.375)
    assert latest.elapsed_s == 20


def test_a_stage_does_not_begin_once_cancel_was_asked_for() -> None:
    stages: list[str] = []

    def work(task: Task[None]) -> None:
        task.stage("one")
        stages.append("one")
        task.cancel()
        task.stage("two")
        stages.append("two")

    with pytest.raises(Cancelled):
        Task("Recovery", work).run()
    assert stages == ["one"]


def test_an_observer_that_fails_or_stops_does_not_disturb_the_work() -> None:
    told: list[TaskProgress] = []

    def fail(progress: TaskProgress) -> None:
        raise RuntimeError("broken view")

    task = Task("Count", lambda task: task.stage("one"))
    task.observe(fail)
    task.observe(told.append)
    stop = task.observe(lambda progress: pytest.fail("it was told to stop"))
    stop()
    stop()
    task.run()
    assert told[-1].outcome is Outcome.SUCCEEDED


def test_a_task_runs_once() -> None:
    task = Task("Count", lambda task: 1)
    task.run()
    with pytest.raises(RuntimeError):
        task.run()


def test_waiting_may_be_given_up() -> None:
    gate = threading.Event()
    task = Task("Count", lambda task: gate.wait(10)).start()
    with pytest.raises(TimeoutError):
        task.wait(0.01)
    gate.set()
    assert task.wait(10)


def test_an_interrupt_is_a_cancel_and_still_interrupts() -> None:
    def work(task: Task[None]) -> None:
        raise KeyboardInterrupt

    task = Task("Backup", work)
    with pytest.raises(KeyboardInterrupt):
        task.run()
    assert task.outcome is Outcome.CANCELLED
    assert isinstance(task.error, HoldfastError)


def test_what_follows_a_task_has_its_result_and_runs_only_if_it_succeeded() -> None:
    heard: list[int] = []
    assert Task("Count", lambda task: 42).then(heard.append).run() == 42
    assert heard == [42]

    def fail(task: Task[int]) -> int:
        raise DiskFull(path="/data", operation="write")

    with pytest.raises(DiskFull):
        Task("Count", fail).then(heard.append).run()
    assert heard == [42]
