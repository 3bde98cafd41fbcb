"""The window with a real database: opened, watched, closed, and never blocked."""

from __future__ import annotations

import threading

import pytest

import engine
from engine.types import Outcome
from gui.log.entries import EntriesCard, EntriesModel
from gui.tour.crash import Victim
from gui.tour.victim import TREE, key

pytest.importorskip("engine._kernel")


@pytest.fixture
def session(qtbot, window, tmp_path):
    """A new database in the window, sampled at least once."""
    with qtbot.waitSignal(window.opening.opened, timeout=20_000) as opened:
        window.shell.create_requested.emit(tmp_path / "work.holdfast")
    session = opened.args[0]
    qtbot.waitUntil(lambda: session.last_sample is not None, timeout=10_000)
    return session


def load(session, **more):
    """A workload of the kernel's own, as a task."""
    spec = {
        "tree": "load",
        "threads": 8,
        "operations": 60_000,
        "keys": 20_000,
        "value_bytes": 120,
        "read_share": 0.3,
        "batch": 5,
        "seed": 3,
    }
    return session.database.load_task({**spec, **more})


def test_a_new_database_is_shown_and_closed_cleanly(qtbot, window, session):
    assert window.navigation._name.text() == "work"
    assert window.status_strip._state.text() == "Open"
    assert window.actions_registry.get("log.checkpoint").isEnabled()
    with qtbot.waitSignal(window.opening.closed, timeout=20_000):
        window.actions_registry.get("database.close").trigger()
    assert (session.path / ".clean_shutdown").exists()
    assert window.current_page_id() == "welcome"


def test_a_question_about_jobs_answers_itself_when_they_have_ended(qtbot, window, session):
    job = window.jobs.start(load(session, operations=200_000))
    window.close_database()
    asked = not window._question.isHidden()
    with qtbot.waitSignal(window.opening.closed, timeout=60_000):
        pass
    assert asked
    assert job.progress.outcome is Outcome.SUCCEEDED
    assert window._question.isHidden()


def test_who_keeps_working_is_not_closed_when_the_jobs_end(qtbot, window, session):
    job = window.jobs.start(load(session))
    window.close_database()
    window._question._no.click()
    qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    qtbot.wait(50)
    assert window.opening.session is session
    assert not session.is_closing


def test_a_checkpoint_is_taken_and_told(qtbot, window, session):
    before = session.last_sample.status.checkpoint.count
    window.show_page("log")
    window.actions_registry.get("log.checkpoint").trigger()
    qtbot.waitUntil(lambda: window.status_strip._told.text() == "Checkpoint complete", timeout=10_000)
    qtbot.waitUntil(lambda: session.last_sample.status.checkpoint.count > before, timeout=10_000)


def test_the_newest_entries_of_the_log_are_listed(qtbot, window, session):
    with session.database.transaction() as txn:
        txn.tree("settings")[b"colour"] = b"blue"
    window.show_page("log")
    model = window.pages["log"].entries.model
    qtbot.waitUntil(lambda: model.rowCount() > 0, timeout=10_000)
    sizes = [model.index(line, model.LSN).data() for line in range(model.rowCount())]
    assert sizes == sorted(sizes, key=lambda text: -int(text.replace(",", "")))


def test_a_long_list_of_entries_is_laid_out_without_reading_all_of_it(qtbot, window, monkeypatch):
    card, asked, read = EntriesCard(window.shell), set(), EntriesModel.data

    def data(model, index, *role):
        asked.add(index.row())
        return read(model, index, *role)

    monkeypatch.setattr(EntriesModel, "data", data)
    qtbot.addWidget(card)
    card.resize(600, 300)
    entry = {"lsn": 1, "txn": 1, "op": "Insert", "tree": "t", "bytes": 9}
    card.model.show_entries([entry] * 200)
    card.grab()
    assert asked
    assert max(asked) < 100, "what is out of view is not read to find out how wide a column is"


@pytest.mark.parametrize("page", ["overview", "log", "activity"])
def test_the_interface_stays_smooth_while_eight_threads_load_the_engine(qtbot, window, session, watch, page):
    window.show_page(page)
    qtbot.wait(300)
    job = window.jobs.start(load(session))
    with watch.watching():
        qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.progress.outcome is Outcome.SUCCEEDED


def test_the_interface_stays_smooth_while_eight_threads_of_python_write(qtbot, window, session, watch):
    over = threading.Event()
    commits = [0] * 8

    def write(thread):
        while not over.is_set():
            with session.database.transaction() as txn:
                txn.tree("load")[f"{thread}/{commits[thread]}".encode()] = b"x" * 200
            commits[thread] += 1

    session.database.run(lambda txn: txn.tree("load"))
    window.show_page("overview")
    qtbot.wait(300)
    threads = [threading.Thread(target=write, args=(n,), name=f"holdfast-write-{n}") for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        with watch.watching():
            qtbot.wait(3000)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert min(commits) > 10


def test_the_interface_stays_smooth_during_a_large_import(qtbot, window, session, watch, tmp_path):
    # Imported here: it needs the kernel.
    from engine.data.importing import plan_import

    source = tmp_path / "people.csv"
    with source.open("w") as out:
        out.write("id,name,score\n")
        out.writelines(f"{number},person {number},{number % 997 / 10}\n" for number in range(300_000))
    plan = plan_import(source)
    window.show_page("overview")
    qtbot.wait(300)
    job = window.jobs.start(session.database.tables.import_task(plan))
    with watch.watching():
        qtbot.waitUntil(lambda: job.is_over, timeout=60_000)
    assert job.progress.outcome is Outcome.SUCCEEDED
    assert job.task.result.rows == 300_000


def test_the_interface_stays_smooth_during_a_guided_recovery(qtbot, window, tmp_path, watch):
    path = tmp_path / "crashed.holdfast"
    engine.open(path).close()
    victim = Victim(path)
    qtbot.waitUntil(lambda: len(victim.acknowledged) > 300 or victim.is_over, timeout=30_000)
    victim.kill()
    qtbot.waitUntil(lambda: victim.is_over, timeout=10_000)
    page = window.pages["recovery"]
    with watch.watching():
        window.shell.open(path)
        start = window.actions_registry.get("recovery.start")
        qtbot.waitUntil(start.isEnabled, timeout=20_000)
        start.trigger()
        qtbot.waitUntil(lambda: window.opening.session is not None, timeout=30_000)
    assert page.session is window.opening.session
    with window.opening.session.database.transaction() as txn:
        assert all(key(thread, number) in txn.tree(TREE) for thread, number in victim.acknowledged)


def test_turning_pages_does_not_block(qtbot, window, session, watch):
    pages = [page_id for page_id in window.pages if page_id != "welcome"]
    for page_id in pages:
        window.show_page(page_id)
        qtbot.wait(100)
    with watch.watching():
        for page_id in pages:
            window.show_page(page_id)
            qtbot.wait(150)


def test_closing_while_a_job_runs_asks_first(qtbot, window, session):
    job = window.jobs.start(load(session, operations=50_000_000))
    qtbot.waitUntil(lambda: job.progress is not None, timeout=10_000)
    window.close()
    assert window.isVisible()
    assert window._question.isVisible()
    with qtbot.waitSignal(window.left, timeout=30_000):
        window._question.confirmed.emit()
    assert job.task.outcome is Outcome.CANCELLED


def test_a_session_that_closes_takes_no_more_work(qtbot, window, session):
    heard: list[object] = []
    with qtbot.waitSignal(window.opening.closed, timeout=20_000):
        window.opening.close()
        answer = session.run(lambda database: database.status(), window, channel="one-never-asked-before")
        answer.done(heard.append).failed(heard.append)
    assert answer.dropped
    assert heard == []
