"""How single values are shown, told apart, and read back from what a person typed."""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QCoreApplication

CELL_BYTES = 240
"""Longest text or blob the grid loads; the rest is read when the cell is opened."""


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("cells", text)


class InvalidValue(ValueError):
    """What was typed does not fit the column; the message says what would."""


def is_cut(value: Any) -> bool:
    """Whether the grid may hold only the beginning of this value."""
    if isinstance(value, str):
        # A text is cut at a character's border, up to three bytes early.
        return len(value.encode("utf-8", "surrogatepass")) > CELL_BYTES - 4
    return isinstance(value, bytes) and len(value) >= CELL_BYTES


def display(value: Any) -> str:
    """One line for a grid cell."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return _blob(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        # A grid row is one line: breaks are shown, not obeyed.
        line = value[:CELL_BYTES].replace("\r\n", "↵").replace("\n", "↵").replace("\t", "→")
        return line + "…" if is_cut(value) else line
    return str(value)


def _blob(value: bytes) -> str:
    head = value[:12].hex(" ")
    if is_cut(value):
        return f"{head} …"
    return f"{head}{' …' if len(value) > 12 else ''}  ({len(value)} B)"


def full_text(value: Any) -> str:
    """The whole value, for the detail pane."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return hex_dump(value)
    return value if isinstance(value, str) else display(value)


def hex_dump(value: bytes, limit: int = 64 * 1024) -> str:
    """Offset, bytes and printable characters, as editors show blobs."""
    lines = []
    for offset in range(0, min(len(value), limit), 16):
        part = value[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
        lines.append(f"{offset:08x}  {part.hex(' '):<47}  {text}")
    if len(value) > limit:
        lines.append(tr("{count} more bytes").format(count=f"{len(value) - limit:,}"))
    return "\n".join(lines)


def edit_text(value: Any) -> str:
    """What an editor begins with."""
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)


def parse(text: str, column_type: str) -> Any:
    """The value that `text` means in a column of this type.

    Raises `InvalidValue` with words for the person who typed it.
    """
    if column_type == "integer":
        return _integer(text)
    if column_type == "real":
        return _real(text)
    if column_type == "blob":
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise InvalidValue(tr("Write the bytes as pairs of hexadecimal digits.")) from None
    if column_type == "any":
        return _any(text)
    return text


def _integer(text: str) -> int:
    try:
        number = int(text.strip())
    except ValueError:
        raise InvalidValue(tr("This column holds whole numbers.")) from None
    if not -(2**63) <= number < 2**63:
        raise InvalidValue(tr("Whole numbers reach from -2^63 to 2^63 - 1."))
    return number


def _real(text: str) -> float:
    try:
        number = float(text.strip())
    except ValueError:
        raise InvalidValue(tr("This column holds numbers.")) from None
    if math.isnan(number):
        raise InvalidValue(tr("A column cannot hold 'not a number'; leave it empty (NULL) instead."))
    return number


def _any(text: str) -> Any:
    for read in (_integer, _real):
        try:
            return read(text)
        except InvalidValue:
            continue
    return text
