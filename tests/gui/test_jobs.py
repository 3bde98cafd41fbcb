"""Long work in the jobs panel: progress, cancel that answers, four outcomes."""

from __future__ import annotations

import threading

import pytest
import shiboken6

from engine.errors import Cancelled, DiskFull
from engine.tasks import Task, TaskProgress, TaskState
from engine.types import Outcome
from gui.jobs_panel import JobsPanel
from gui.tasks import Jobs
from gui.tasks.job_bar import JobBar


@pytest.fixture
def jobs(qtbot, theme):
    made = Jobs()
    yield made
    made.deleteLater()


@pytest.fixture
def panel(qtbot, jobs):
    made = JobsPanel(jobs)
    qtbot.addWidget(made)
    made.show()
    return made


def end(qtbot, job):
    if not job.is_over:
        with qtbot.waitSignal(job.ended, timeout=5000):
            pass


def test_a_job_that_succeeds_answers_with_its_result(qtbot, jobs, panel):
    heard = []
    job = jobs.start(Task("Count", lambda task: 42))
    job.answer.done(heard.append)
    end(qtbot, job)
    assert heard == [42]
    assert job.progress.outcome is Outcome.SUCCEEDED
    assert "Succeeded" in panel.rows()[0]._words.text()


def test_warnings_are_neither_success_nor_failure(qtbot, jobs, panel):
    def work(task):
        task.warn("one index was left out")

    job = jobs.start(Task("Import", work))
    end(qtbot, job)
    assert job.progress.outcome is Outcome.WARNINGS
    assert "one index was left out" in panel.rows()[0]._words.text()


def test_cancel_answers_first_with_cancelling_then_with_cancelled(qtbot, jobs, panel):
    asked, proceed, heard, seen = threading.Event(), threading.Event(), [], []

    def work(task):
        asked.set()
        proceed.wait()
        task.proceed()

    job = jobs.start(Task("Back up", work))
    job.answer.failed(heard.append)
    job.progressed.connect(lambda progress: seen.append(panel.rows()[0]._words.text()))
    qtbot.waitUntil(asked.is_set)
    qtbot.waitUntil(panel.rows()[0]._cancel.isEnabled)
    panel.rows()[0]._cancel.click()
    qtbot.waitUntil(lambda: any("Cancelling" in text for text in seen))
    proceed.set()
    end(qtbot, job)
    assert isinstance(heard[0], Cancelled)
    assert panel.rows()[0]._words.text() == "Cancelled, nothing changed"


def test_a_failure_shows_its_card_when_asked_why(qtbot, jobs, panel):
    def work(task):
        raise DiskFull(path="/data", operation="write")

    job = jobs.start(Task("Import", work))
    end(qtbot, job)
    line = panel.rows()[0]
    assert line._why.isVisible()
    line._why.click()
    assert line._card.words.code == DiskFull.code


def test_clearing_takes_only_what_is_over(qtbot, jobs, panel):
    gate = threading.Event()
    over, running = jobs.start(Task("One", lambda task: 1)), jobs.start(Task("Two", lambda task: gate.wait()))
    end(qtbot, over)
    jobs.forget_ended()
    assert jobs.all() == [running]
    gate.set()
    end(qtbot, running)


def test_a_bar_that_is_gone_hears_no_more_of_its_job(qtbot, jobs):
    proceed = threading.Event()
    job = jobs.start(Task("Long", lambda task: proceed.wait(10)))
    bar = JobBar()
    bar.follow(job)
    shiboken6.delete(bar)
    proceed.set()
    end(qtbot, job)
    assert job.progress.outcome is Outcome.SUCCEEDED


def test_a_share_of_mixed_work_is_told_as_a_share_and_without_a_pace(qtbot, theme):
    progress = TaskProgress(
        name="Copy",
        state=TaskState.RUNNING,
        outcome=None,
        stage="copy",
        step=0,
        steps=0,
        done=35.4,
        total=100.0,
        unit="%",
        rate=61.1,
        elapsed_s=1.0,
        remaining_s=1.0,
    )
    bar = JobBar()
    qtbot.addWidget(bar)
    bar._show(progress)
    assert bar._figures.text() == "35 %"
