"""The pane that shows one value in full, whatever its length and its lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.types import ColumnInfo
from gui.tables import detail
from gui.tables.detail import LONGEST_LINE, SHOWN_TEXT, ValuePane

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def pane(qtbot: Any, theme: Any) -> ValuePane:
    made = ValuePane()
    qtbot.addWidget(made)
    made.resize(380, 600)
    made.show()
    return made


def show(pane: ValuePane, value: Any) -> None:
    session: Any = None
    pane.show_cell(session, "t", ColumnInfo("c", "text", "TEXT", False, 0), 0, None, value)


def shown(pane: ValuePane) -> str:
    return pane._text.toPlainText()


@pytest.mark.parametrize("value", ["x" * 2_000_000, "word " * 400_000, json.dumps(list(range(300_000)))])
def test_of_a_line_too_long_to_lay_out_the_beginning_is_shown_and_cannot_be_edited(
    pane: ValuePane, value: str
) -> None:
    show(pane, value)
    assert shown(pane) == value[:LONGEST_LINE]
    assert pane._text.isReadOnly()
    assert pane._note.text() == f"The first {LONGEST_LINE:,} of {len(value):,} characters."


def test_a_text_of_many_lines_comes_piece_by_piece_and_is_then_whole_and_edited(
    pane: ValuePane, until: Until
) -> None:
    value = "a line of some length\n" * 60_000
    show(pane, value)
    assert pane._text.isReadOnly(), "what is not all there is not edited"
    assert 0 < len(shown(pane)) < len(value)
    until(lambda: not pane._text.isReadOnly())
    assert shown(pane) == value
    assert pane._stage.isHidden(), "nobody has changed it"


def test_a_value_that_is_chosen_while_another_is_still_coming_is_shown_alone(
    pane: ValuePane, until: Until
) -> None:
    show(pane, "first\n" * 200_000)
    show(pane, "second\n" * 20_000)
    until(lambda: not pane._text.isReadOnly())
    assert shown(pane) == "second\n" * 20_000
    show(pane, "third")
    assert shown(pane) == "third"
    assert not pane._text.isReadOnly()


@pytest.mark.parametrize(
    "text", ["", "x", "x\n" * 200_000, ("y" * (LONGEST_LINE - 1) + "\n") * 5, "z\n" + "y" * LONGEST_LINE]
)
def test_the_pieces_are_the_whole_and_none_is_large(text: str) -> None:
    pieces = list(detail._pieces(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= LONGEST_LINE + detail._AT_ONCE for piece in pieces)
    assert detail._room(text) == len(text)


def test_no_more_is_shown_than_there_is_room_for() -> None:
    assert detail._room("line\n" * SHOWN_TEXT) == SHOWN_TEXT
    assert detail._room("line\n" + "x" * (LONGEST_LINE + 1)) == 5 + LONGEST_LINE
