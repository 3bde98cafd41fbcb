"""The picture of who waits for whom, and how it is drawn and read."""

from pytestqt.qtbot import QtBot

from engine.types import Isolation, TransactionInfo, WaitEdge
from gui.activity.graph import GraphView
from gui.activity.layout import SHOWN_NODES, picture


def wait(waiter: int, holder: int) -> WaitEdge:
    return WaitEdge(waiter, holder, f"accounts/{holder}", "exclusive", 0.5)


def info(txn: int, changes: int) -> TransactionInfo:
    return TransactionInfo(
        txn, 0.0, 1.0, Isolation.SERIALIZABLE, "active", changes, 10 * changes, 1, None, 1, 10 * changes
    )


def test_nobody_waiting_gives_an_empty_picture() -> None:
    drawn = picture([], [info(1, 5)])
    assert drawn.nodes == ()
    assert drawn.suggested is None


def test_waiters_stand_to_the_left_of_whom_they_wait_for() -> None:
    drawn = picture([wait(3, 2), wait(2, 1)], [info(1, 4), info(2, 1), info(3, 1)])
    x = {node.txn: node.x for node in drawn.nodes}
    assert x[3] < x[2] < x[1]
    assert {node.txn: node.blocks for node in drawn.nodes} == {1: 2, 2: 1, 3: 0}
    assert drawn.suggested == 1
    assert not drawn.has_cycle


def test_a_cycle_is_marked_and_its_cheapest_member_suggested() -> None:
    edges = [wait(1, 2), wait(2, 3), wait(3, 1), wait(4, 1)]
    drawn = picture(edges, [info(1, 50), info(2, 3), info(3, 70), info(4, 0)])
    assert drawn.suggested == 2
    assert {node.txn for node in drawn.nodes if node.in_cycle} == {1, 2, 3}
    assert [edge.in_cycle for edge in drawn.edges] == [True, True, True, False]


def test_no_two_transactions_stand_in_the_same_place() -> None:
    edges = [wait(n, n // 3) for n in range(3, 40)] + [wait(100, 101), wait(101, 100)]
    drawn = picture(edges, [])
    places = {(round(node.x), round(node.y)) for node in drawn.nodes}
    assert len(places) == len(drawn.nodes)


def test_a_crowd_is_cut_to_what_can_be_read_and_the_rest_counted() -> None:
    drawn = picture([wait(n, 1) for n in range(2, 500)], [])
    assert len(drawn.nodes) == SHOWN_NODES
    assert drawn.hidden == 499 - SHOWN_NODES
    assert any(node.txn == 1 for node in drawn.nodes)


def test_the_keyboard_reaches_every_transaction(qtbot: QtBot) -> None:
    from PySide6.QtCore import Qt

    view = GraphView()
    qtbot.addWidget(view)
    view.resize(600, 300)
    view.show_picture(picture([wait(2, 1), wait(3, 1)], []))
    chosen: list[int] = []
    view.transaction_chosen.connect(chosen.append)
    view.choose(2)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert view.chosen == 1
    qtbot.keyClick(view, Qt.Key.Key_Left)
    qtbot.keyClick(view, Qt.Key.Key_Down)
    qtbot.keyClick(view, Qt.Key.Key_Up)
    assert set(chosen) == {1, 2, 3}
    assert "waits for transaction 1" in view.accessibleDescription()
