"""Filters as ranges over a key or an index."""

import math

import pytest

from engine.types import ColumnInfo, IndexInfo, TableInfo
from gui.models.cells import InvalidValue
from gui.models.filtering import (
    Filter,
    Operator,
    access_paths,
    bounds,
    operators,
    prefix_end,
    query_for,
    read_filter,
    successor,
)

TABLE = TableInfo(
    name="people",
    rows=3,
    columns=(
        ColumnInfo("id", "integer", "INTEGER", True, 1),
        ColumnInfo("name", "text", "TEXT", False, 0),
        ColumnInfo("city", "text", "TEXT", False, 0),
        ColumnInfo("height", "real", "REAL", False, 0),
    ),
    primary_key=("id",),
    indexes=(
        IndexInfo("by_city", ("city", "name"), False),
        IndexInfo("by_id", ("id",), True),
        IndexInfo("by_height", ("height",), False),
    ),
)


def test_the_primary_key_wins_over_an_index_that_begins_with_the_same_column() -> None:
    paths = access_paths(TABLE)
    assert paths["id"].index is None
    assert paths["city"].index == "by_city"
    assert "name" not in paths


def test_an_order_that_no_key_serves_is_not_asked_for() -> None:
    assert query_for(TABLE, "name").index is None
    assert query_for(TABLE, "city", reverse=True).reverse


@pytest.mark.parametrize("value", [0, -1, 2**40, 1.5, -0.0, "a", "", "ж", b"x", b""])
def test_an_equality_holds_the_value_and_nothing_larger(value: object) -> None:
    start, stop = bounds(Filter("c", Operator.EQUALS, value))
    assert start is not None
    assert stop is not None
    assert start[0] == value
    assert stop[0] > value
    assert successor(value) == stop[0]


def test_the_largest_integer_has_no_end() -> None:
    assert bounds(Filter("id", Operator.EQUALS, 2**63 - 1)) == ((2**63 - 1,), None)
    assert bounds(Filter("h", Operator.EQUALS, math.inf)) == ((math.inf,), None)


@pytest.mark.parametrize(
    ("prefix", "end"), [("ab", "ac"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", None)]
)
def test_a_prefix_ends_before_the_next_text_that_does_not_begin_with_it(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end


def test_between_includes_both_ends() -> None:
    condition = read_filter(TABLE, "id", Operator.BETWEEN, "5", "9")
    assert bounds(condition) == ((5,), (10,))


def test_what_does_not_fit_the_column_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="whole numbers"):
        read_filter(TABLE, "id", Operator.EQUALS, "five")
    with pytest.raises(InvalidValue, match="not a number"):
        read_filter(TABLE, "height", Operator.EQUALS, "nan")


def test_beginning_with_is_offered_for_text_only() -> None:
    assert Operator.BEGINS in operators("text")
    assert Operator.BEGINS not in operators("integer")


def test_a_filter_decides_by_which_key_is_read() -> None:
    query = query_for(TABLE, "id", True, Filter("city", Operator.EQUALS, "Oslo"))
    assert query.index == "by_city"
    assert not query.reverse
    assert query.is_bounded
