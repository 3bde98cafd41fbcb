"""Work off the interface thread is answered on it, or dropped."""

from __future__ import annotations

import threading

from PySide6.QtCore import QObject, QThread

from gui.tasks import Worker


def test_an_answer_arrives_on_the_interface_thread(qtbot, qapp):
    worker, heard = Worker("holdfast-test"), []
    worker.run(threading.get_ident).done(lambda ident: heard.append((ident, QThread.currentThread())))
    qtbot.waitUntil(lambda: bool(heard))
    assert heard[0][0] != threading.get_ident()
    assert heard[0][1] is qapp.thread()
    worker.close()


def test_work_is_done_in_the_order_it_was_asked_for(qtbot):
    worker, heard = Worker("holdfast-test"), []
    for number in range(50):
        worker.run(lambda number=number: number).done(heard.append)
    qtbot.waitUntil(lambda: len(heard) == 50)
    assert heard == list(range(50))
    worker.close()


def test_an_error_goes_to_the_one_who_asked(qtbot):
    worker, heard, ended = Worker("holdfast-test"), [], []
    worker.run(lambda: 1 // 0).done(heard.append).failed(heard.append).finally_(lambda: ended.append(True))
    qtbot.waitUntil(lambda: bool(ended))
    assert isinstance(heard[0], ZeroDivisionError)
    worker.close()


def test_an_answer_to_something_that_has_gone_is_dropped(qtbot):
    worker, heard, gate = Worker("holdfast-test"), [], threading.Event()
    receiver = QObject()
    worker.run(gate.wait, receiver).done(heard.append)
    after = []
    worker.run(lambda: True).done(after.append)
    receiver.deleteLater()
    qtbot.wait(1)
    gate.set()
    qtbot.waitUntil(lambda: bool(after))
    assert heard == []
    worker.close()


def test_a_closed_worker_takes_no_work_and_its_thread_ends(qtbot):
    worker, heard = Worker("holdfast-test"), []
    worker.run(lambda: 1).done(heard.append)
    qtbot.waitUntil(lambda: bool(heard))
    worker.close()
    assert worker.join(5)
    assert worker.run(lambda: 2).done(heard.append).dropped
    assert heard == [1]
