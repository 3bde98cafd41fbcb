"""The overview says what happened, and explains the score."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.health.score import Component, Deduction, Part
from engine.types import Event
from gui.overview.events import _LOOK, _SENTENCES, EventsCard, words
from gui.overview.health import HealthCard


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            Event("checkpoint_finished", 0, {"pages": 318, "seconds": 0.042, "lsn": 9, "redo_lsn": 7}),
            "Checkpoint: 318 pages in 42 ms",
        ),
        (
            Event("deadlock", 0, {"victim": 1042, "policy": "youngest", "cycle": "..."}),
            "Deadlock: transaction 1042 was rolled back (youngest)",
        ),
        (Event("import_finished", 0, {"rows": 20216, "path": "x", "tables": []}), "Import: 20,216 rows"),
        (
            Event("recovery_opened", 0, {"pages": 1310, "losers": 2, "log_bytes": 2048}),
            "Opened before its recovery is through: 1,310 pages and 2 unfinished transactions left, "
            "from 2.00 KiB of log",
        ),
        (
            Event("recovery_completed", 0, {"pages": 1310, "losers": 2, "applied": 9, "seconds": 2.0}),
            "Recovery complete after 2.00 s: 1,310 pages; undone: 2 unfinished transactions",
        ),
        (
            Event("check_finished", 0, {"ok": False, "problems": 1, "seconds": 0.026}),
            "Check: 1 problem, 26 ms",
        ),
        (Event("pages_given_back", 0, {"pages": 1}), "Given back, as nothing led there: 1 page"),
        (Event("something_new", 0, {"bytes": 2048}), "Something new: bytes 2.00 KiB"),
        (Event("deadlock", 0, {}), "Deadlock"),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_events_are_sentences(event, text):
    assert words(event) == text


def test_an_event_with_a_picture_of_its_own_is_told_in_words_and_the_picture_is_there(qapp):
    drawings = {drawing.stem for drawing in (Path(__file__).parents[2] / "resources/icons").glob("*.svg")}
    for kind, (drawing, _tone) in _LOOK.items():
        assert kind in _SENTENCES, kind
        assert drawing in drawings, kind


def test_the_newest_event_is_on_top_and_the_list_does_not_grow_for_ever(qtbot, theme):
    card = EventsCard()
    qtbot.addWidget(card)
    card.add_events([Event("step", 0, {"number": number}) for number in range(250)])
    assert card._list.count() == 100
    assert card._list.item(0).text().endswith("number 249")


def test_each_deduction_is_told_with_its_fix(qtbot, theme):
    card = HealthCard(lambda _action: True)
    qtbot.addWidget(card)

    class Report:
        score = 72
        parts = (Part(Component.DISK, 72, ""), Part(Component.REPLICATION, None, "Not counted"))
        deductions = (Deduction("low_disk", Component.DISK, 28, "Little room is left", "Free some space."),)

    card.show_report(Report())
    texts = [child.text() for child in card.findChildren(type(card.title))]
    assert "Little room is left" in texts
    assert "Free some space." in texts
    assert "−28" in texts
    assert card._bars[Component.REPLICATION][0].text() == "–"


def test_a_reason_whose_figure_changes_is_written_over_and_not_built_again(qtbot, theme):
    card = HealthCard(lambda _action: True)
    qtbot.addWidget(card)

    def deduction(busy):
        return Deduction(
            "cpu", Component.CPU, 10, f"The processor is {busy} % busy", "Let heavy work finish."
        )

    card._list((deduction(98),))
    line = card._lines[0]
    card._list((deduction(99),))
    assert card._lines == [line], "a line that is built anew is blank for a moment, every second"
    assert "99\N{NO-BREAK SPACE}%" in line._what.text()
    card._list(())
    assert line.isHidden()
    assert not card._nothing.isHidden()
