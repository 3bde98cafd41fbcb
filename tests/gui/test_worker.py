"""Work off the interface thread is answered on it, or dropped."""

from __future__ import annotations

import threading

from PySide6.QtCore import QObject, QThread, QTimer

from gui.tasks import Turns, Worker


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


def test_answers_that_arrive_together_leave_the_event_loop_a_turn_between_them(qtbot):
    worker, order, gate = Worker("holdfast-test"), [], threading.Event()
    beat = QTimer()
    beat.timeout.connect(lambda: order.append("beat"))
    worker.run(gate.wait)
    for number in range(5):
        worker.run(lambda number=number: number).done(order.append)
    arrived = threading.Event()
    worker.run(arrived.set)
    gate.set()
    # All have arrived before the loop runs for the first time.
    assert arrived.wait(10)
    beat.start(0)
    qtbot.waitUntil(lambda: 4 in order)
    worker.close()
    assert [thing for thing in order if thing != "beat"] == [0, 1, 2, 3, 4]
    between = [order[order.index(n) : order.index(n + 1)].count("beat") for n in range(4)]
    assert all(between), order


def test_a_piece_that_raises_does_not_hold_up_the_next(qtbot):
    turns, order = Turns(), []
    with qtbot.captureExceptions() as raised:
        turns.add(lambda: 1 // 0)
        turns.add(lambda: order.append("second"))
        qtbot.waitUntil(lambda: order == ["second"])
    assert [kind for kind, _error, _where in raised] == [ZeroDivisionError]


def test_pieces_that_are_dropped_are_never_done(qtbot):
    turns, order = Turns(), []
    turns.add(lambda: order.append("dropped"))
    turns.drop()
    turns.add(lambda: order.append("kept"))
    qtbot.waitUntil(lambda: bool(order))
    assert order == ["kept"]
