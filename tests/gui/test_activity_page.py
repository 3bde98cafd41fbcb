"""The page of activity over transactions that really wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import Deadlock, HoldfastError
from gui.activity.page import ActivityPage
from gui.main_window import MainWindow

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]


def test_who_waits_is_drawn_and_ending_the_holder_lets_it_go(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    window.shell.create_requested.emit(tmp_path / "busy.holdfast")
    until(lambda: window.opening.session is not None)
    database = window.opening.session.database
    page = window.pages["activity"]
    assert isinstance(page, ActivityPage)
    window.show_page("activity")
    holder = database.begin()
    holder.lock("stock")
    outcome: list[str] = []

    def wait() -> None:
        with database.transaction() as txn:
            txn.lock("stock", timeout_s=20)
            outcome.append("has it")

    waiter = threading.Thread(target=wait)
    waiter.start()
    try:
        until(lambda: page._drawn is not None and len(page._drawn.nodes) == 2)
        assert page._drawn.suggested == holder.id
        page._choose(holder.id)
        assert page.inspector.chosen == holder.id
        page.inspector.ask_end()
        page.inspector.confirm.confirmed.emit()
        until(lambda: outcome == ["has it"])
        until(lambda: page._drawn.nodes == ())
    finally:
        waiter.join(30)
    try:
        holder.commit()
    except HoldfastError:
        pass
    else:
        raise AssertionError("the ended transaction could be committed")


def test_a_deadlock_can_be_looked_at_after_it_was_resolved(
    window: MainWindow, tmp_path: Path, until: Until
) -> None:
    window.shell.create_requested.emit(tmp_path / "busy.holdfast")
    until(lambda: window.opening.session is not None)
    database = window.opening.session.database
    page = window.pages["activity"]
    assert isinstance(page, ActivityPage)
    both = threading.Barrier(2)
    victims: list[int] = []

    def cross(first: str, second: str) -> None:
        txn = database.begin()
        try:
            txn.lock(first)
            both.wait(20)
            txn.lock(second, timeout_s=20)
        except Deadlock:
            victims.append(txn.id)
        finally:
            txn.abort()

    pair = [threading.Thread(target=cross, args=names) for names in (("bow", "stern"), ("stern", "bow"))]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join(30)
    assert len(victims) == 1
    until(lambda: page._deadlock is not None)
    window.actions_registry.get("activity.deadlock").trigger()
    until(lambda: page._drawn is not None and page._drawn.is_past)
    assert page._drawn.has_cycle
    assert len(page._drawn.nodes) == 2
    assert page._drawn.suggested == victims[0]
    assert {edge.resource for edge in page._drawn.edges} == {"name bow", "name stern"}
    page._back.click()
    until(lambda: page._drawn.nodes == ())
