"""The first rows of a CSV file under settings that a person tries out. Knows no Qt, no engine."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

SAMPLE_BYTES = 256 * 1024
SAMPLE_ROWS = 40

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
ENCODINGS = ("utf-8", "utf-8-sig", "windows-1252", "iso-8859-1", "utf-16")


@dataclass(frozen=True, slots=True)
class CsvPreview:
    """Column names and the first rows below them."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def read_preview(path: Path, delimiter: str, quote: str, encoding: str, header: bool) -> CsvPreview:
    """Split the beginning of a file with these settings; what cannot be decoded is marked."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
        is_whole = not file.read(1)
    text = sample.decode(encoding, "replace")
    if not is_whole and "\n" in text:
        # The last line of a sample is seldom whole.
        text = text[: text.rindex("\n")]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote or None)
    lines = []
    for line in reader:
        if line:
            lines.append(line)
        if len(lines) > SAMPLE_ROWS:
            break
    width = max((len(line) for line in lines), default=0)
    first = lines[0] if header and lines else []
    names = tuple(_name(first, place) for place in range(width))
    rows = lines[1:] if header else lines
    return CsvPreview(names, tuple(tuple(row) + ("",) * (width - len(row)) for row in rows))


def _name(first: list[str], place: int) -> str:
    name = first[place].strip() if place < len(first) else ""
    return name or f"column_{place + 1}"
