"""The page of activity over transactions that really wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import HoldfastError
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
