"""Edits that wait, before anything is written."""

import pytest

from engine.types import ColumnInfo, TableInfo
from gui.models import cells
from gui.models.row_cache import Row
from gui.models.staged import Kind, StagedEdits

TABLE = TableInfo(
    name="people",
    rows=2,
    columns=(
        ColumnInfo("id", "integer", "INTEGER", True, 1),
        ColumnInfo("name", "text", "TEXT", True, 0),
        ColumnInfo("notes", "text", "TEXT", False, 0),
    ),
    primary_key=("id",),
    indexes=(),
)
ADA = Row((1,), (1, "Ada", None))
GRACE = Row((2,), (2, "Grace", "n" * (cells.CELL_BYTES - 2)))


@pytest.fixture
def edits() -> StagedEdits:
    return StagedEdits(TABLE)


def test_setting_a_cell_back_withdraws_the_edit(edits: StagedEdits) -> None:
    edits.set_value(ADA, 1, "Adele")
    assert edits.value(ADA, 1) == "Adele"
    assert len(edits) == 1
    edits.set_value(ADA, 1, "Ada")
    assert len(edits) == 0
    assert list(edits.changes()) == []


def test_a_value_that_the_grid_holds_only_in_part_is_never_taken_for_unchanged(edits: StagedEdits) -> None:
    edits.set_value(GRACE, 2, GRACE.values[2])
    assert len(edits) == 1


def test_a_deleted_row_is_written_as_a_delete_even_if_it_was_edited(edits: StagedEdits) -> None:
    edits.set_value(ADA, 1, "Adele")
    edits.mark_deleted(ADA)
    assert [change.kind for change in edits.changes()] == [Kind.DELETE]
    edits.mark_deleted(ADA, False)
    assert [change.kind for change in edits.changes()] == [Kind.UPDATE]


def test_new_rows_say_which_values_they_lack(edits: StagedEdits) -> None:
    place = edits.add_row()
    # The key numbers itself; the name has to be typed.
    assert edits.incomplete() == [(place, "name")]
    edits.set_insert(place, 1, "Edsger")
    assert edits.incomplete() == []


def test_the_counts_tell_the_kinds_apart(edits: StagedEdits) -> None:
    edits.set_value(ADA, 1, "Adele")
    edits.mark_deleted(GRACE)
    edits.add_row()
    assert edits.counts() == {Kind.INSERT: 1, Kind.UPDATE: 1, Kind.DELETE: 1}
    assert len(edits) == 3
    edits.clear()
    assert len(edits) == 0


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("7", "integer", 7), (" -7 ", "integer", -7), ("1e3", "real", 1000.0), ("0aff", "blob", b"\x0a\xff")],
)
def test_what_is_typed_becomes_a_value_of_the_column(text: str, kind: str, value: object) -> None:
    assert cells.parse(text, kind) == value


def test_a_cell_is_one_line_and_says_where_it_was_cut() -> None:
    assert cells.display("a\nb") == "a↵b"
    assert cells.display("x" * 400).endswith("…")
    assert cells.display(None) == "NULL"
    assert cells.display(b"\x01\x02") == "01 02  (2 B)"
