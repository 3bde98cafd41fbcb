"""Filters and orders that a key or an index serves, as bounds of a range. Knows no engine.

A filter becomes `start <= leading column < stop` over the primary key or an index, so it
costs one descent however large the table is. What no key serves is not offered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.types import TableInfo
from gui.models.cells import parse
from gui.models.row_cache import TableQuery


class Operator(StrEnum):
    """What can be asked of the leading column of a key."""

    EQUALS = "="
    AT_LEAST = "≥"
    LESS = "<"
    BETWEEN = "between"
    BEGINS = "begins with"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on a column that leads a key or an index."""

    column: str
    operator: Operator
    low: Any
    high: Any = None


@dataclass(frozen=True, slots=True)
class AccessPath:
    """A key or index by which a table can be ordered and searched."""

    column: str
    """The leading column."""
    index: str | None
    """None is the primary key."""
    columns: tuple[str, ...]


def access_paths(table: TableInfo) -> dict[str, AccessPath]:
    """By leading column: how it can be searched. The primary key wins over an index."""
    paths: dict[str, AccessPath] = {}
    if table.primary_key:
        lead = table.primary_key[0]
        paths[lead] = AccessPath(lead, None, table.primary_key)
    for index in table.indexes:
        lead = index.columns[0]
        paths.setdefault(lead, AccessPath(lead, index.name, index.columns))
    return paths


def operators(column_type: str) -> tuple[Operator, ...]:
    """Those that make sense for a column of this type."""
    common = (Operator.EQUALS, Operator.AT_LEAST, Operator.LESS, Operator.BETWEEN)
    return (*common, Operator.BEGINS) if column_type in ("text", "any") else common


def read_filter(table: TableInfo, column: str, operator: Operator, low: str, high: str = "") -> Filter:
    """Make a filter of what was typed. Raises `InvalidValue`."""
    column_type = next(c.type for c in table.columns if c.name == column)
    if operator is Operator.BEGINS:
        return Filter(column, operator, low)
    first = parse(low, column_type)
    second = parse(high, column_type) if operator is Operator.BETWEEN else None
    return Filter(column, operator, first, second)


def query_for(
    table: TableInfo, order_by: str | None = None, reverse: bool = False, condition: Filter | None = None
) -> TableQuery:
    """The query that serves an order and at most one filter.

    A filter decides by which key is read; an order by another column is then not possible
    and is left out.
    """
    paths = access_paths(table)
    if condition is None:
        path = paths.get(order_by) if order_by else None
        return TableQuery(table.name, path.index if path else None, reverse)
    path = paths[condition.column]
    start, stop = bounds(condition)
    backward = reverse if order_by in (None, condition.column) else False
    return TableQuery(table.name, path.index, backward, start, stop)


def bounds(condition: Filter) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """`start` (inclusive) and `stop` (exclusive) of the range that holds what is asked for."""
    low, high = condition.low, condition.high
    match condition.operator:
        case Operator.EQUALS:
            return (low,), _beyond(low)
        case Operator.AT_LEAST:
            return (low,), None
        case Operator.LESS:
            return None, (low,)
        case Operator.BETWEEN:
            return (low,), _beyond(high)
        case Operator.BEGINS:
            end = prefix_end(low)
            return (low,), (end,) if end is not None else None


def _beyond(value: Any) -> tuple[Any, ...] | None:
    after = successor(value)
    return None if after is None else (after,)


def successor(value: Any) -> Any:
    """The least value of the same type that sorts after `value`; None where there is none."""
    if isinstance(value, int):
        return value + 1 if value < 2**63 - 1 else None
    if isinstance(value, float):
        return math.nextafter(value, math.inf) if value < math.inf else None
    if isinstance(value, bytes):
        return value + b"\0"
    return f"{value}\0"


def prefix_end(prefix: str) -> str | None:
    """The least text that sorts, by code point, after every text with this prefix."""
    for length in range(len(prefix), 0, -1):
        point = ord(prefix[length - 1]) + 1
        if point == 0xD800:  # surrogates are no characters
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[: length - 1] + chr(point)
    return None
