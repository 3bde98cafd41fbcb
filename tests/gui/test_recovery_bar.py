"""The bar that shows the recovery behind an open database, until it is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from engine.types import RecoveryStanding
from gui.recovery.behind import Behind

HALF = RecoveryStanding(
    stage="redo",
    pages=20_000,
    pages_left=7_655,
    losers=0,
    losers_left=0,
    damaged=(),
    log_bytes=1 << 30,
    applied=9,
    seconds=1.0,
    problems=None,
    segments=16,
    segments_validated=14,
)


class Session(QObject):
    """An open database that tells samples."""

    sampled = Signal(object)

    def show(self, standing: RecoveryStanding | None) -> None:
        self.sampled.emit(SimpleNamespace(status=SimpleNamespace(recovery=standing)))


def standing(**values: Any) -> RecoveryStanding:
    names = HALF.__dataclass_fields__
    return RecoveryStanding(**{**{name: getattr(HALF, name) for name in names}, **values})


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def bar(qtbot: QtBot, session: Session) -> Behind:
    made = Behind()
    qtbot.addWidget(made)
    made.follow(session)  # type: ignore[arg-type]
    return made


def test_it_is_shown_while_the_recovery_goes_on_and_only_then(bar: Behind, session: Session) -> None:
    ended: list[bool] = []
    bar.ended.connect(lambda: ended.append(True))
    assert bar.isHidden()
    session.show(None)
    assert bar.isHidden()
    session.show(HALF)
    assert not bar.isHidden()
    assert bar.words().startswith("12,345 of 20,000 pages recovered; 14 of 16 segments")
    assert bar.state() == "step 1 of 5: recovering pages"
    session.show(standing(stage="check", pages_left=0, check_done=1, check_total=2, checking="trees"))
    assert bar.state() == "step 5 of 5: checking"
    assert not ended
    session.show(standing(stage="done", pages_left=0, problems=0))
    assert bar.isHidden()
    assert ended == [True]


def test_it_stays_where_damage_was_found(bar: Behind, session: Session) -> None:
    session.show(standing(stage="stuck", damaged=((7, "torn"),), pages_left=1))
    assert bar.state() == "pages cannot be recovered"
    session.show(standing(stage="done", pages_left=0, problems=2))
    assert not bar.isHidden()
    assert bar.state() == "damage was found: see Integrity"
    assert "2 problems found" in bar.words()
