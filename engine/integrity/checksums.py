"""Checksums of pages, verified without an engine: a block, a batch of blocks, a whole page file.

A page begins with the first 16 bytes of the BLAKE3 hash of all that follows them
(engine/kernel/src/page/mod.rs). A page of zeros was never written, or was lost; only the engine
knows which, so it is told apart from one that is altered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from blake3 import blake3

from engine.errors import InvalidArgument, from_exception
from engine.tasks import Task

CHECKSUM_BYTES = 16
_ID_AT = 16
_ID_BYTES = 4
_BATCH = 256
_SMALLEST, _LARGEST = 4096, 65_536


class Verdict(StrEnum):
    WHOLE = "whole"
    ZEROED = "zeroed"
    ALTERED = "altered"
    MISPLACED = "misplaced"
    """Whole, but of another place: a write went astray."""
    TORN_OFF = "torn_off"
    """The file ends within it."""


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What the pages of a file are."""

    pages: int
    whole: int
    zeroed: int
    damaged: tuple[tuple[int, Verdict], ...]
    """Each page that is altered, misplaced or torn off; at most `MOST_DAMAGED` of them."""
    damaged_in_all: int

    @property
    def ok(self) -> bool:
        return not self.damaged_in_all


MOST_DAMAGED = 10_000


def verify_block(block: bytes, page: int | None = None) -> Verdict:
    """Verify one page by its checksum and, where `page` is given, by the place it says it belongs to."""
    if not any(block):
        return Verdict.ZEROED
    hashed = bytes(CHECKSUM_BYTES) + block[CHECKSUM_BYTES:]
    if blake3(hashed).digest(length=CHECKSUM_BYTES) != block[:CHECKSUM_BYTES]:
        return Verdict.ALTERED
    said = int.from_bytes(block[_ID_AT : _ID_AT + _ID_BYTES], "little")
    return Verdict.WHOLE if page is None or said == page else Verdict.MISPLACED


def verify_batch(blocks: Iterable[bytes], first_page: int | None = None) -> tuple[Verdict, ...]:
    """A verdict for each of some pages, in their order; `first_page` is the number of the first."""
    return tuple(
        verify_block(block, None if first_page is None else first_page + place)
        for place, block in enumerate(blocks)
    )


def verify_file_task(path: str | Path, page_size: int) -> Task[FileVerdict]:
    """Verify every page of a page file, as work with progress and cancel; start it, or run it.

    Takes no lock and needs no recovery. Only the engine knows more: which pages are in use (rubbish
    on a free page is no damage), and what of a database that is open or was not closed is newer in
    the log. Raises `IoError`.
    """
    if page_size & (page_size - 1) or not _SMALLEST <= page_size <= _LARGEST:
        raise InvalidArgument(argument="page_size", issue="it must be a power of two from 4 to 64 KiB")
    place = Path(path).expanduser().absolute()
    return Task("Checksums", lambda task: _verify_file(place, page_size, task))


def verify_stream(parts: Iterable[bytes], page_size: int) -> FileVerdict:
    """Verify the pages of a file whose content comes in parts of any length."""
    counts = dict.fromkeys(Verdict, 0)
    damaged: list[tuple[int, Verdict]] = []
    for page, block in enumerate(_pages(parts, page_size)):
        verdict = verify_block(block, page) if len(block) == page_size else Verdict.TORN_OFF
        counts[verdict] += 1
        is_damaged = verdict not in (Verdict.WHOLE, Verdict.ZEROED)
        if is_damaged and len(damaged) < MOST_DAMAGED:
            damaged.append((page, verdict))
    whole, zeroed = counts[Verdict.WHOLE], counts[Verdict.ZEROED]
    pages = sum(counts.values())
    return FileVerdict(pages, whole, zeroed, tuple(damaged), pages - whole - zeroed)


def _pages(parts: Iterable[bytes], page_size: int) -> Iterator[bytes]:
    """The pages one by one; the last one is shorter where the file was cut off inside it."""
    rest = b""
    for part in parts:
        data = rest + part if rest else part
        whole = len(data) - len(data) % page_size
        yield from (data[start : start + page_size] for start in range(0, whole, page_size))
        rest = data[whole:]
    if rest:
        yield rest


def _verify_file(path: Path, page_size: int, task: Task[Any]) -> FileVerdict:
    try:
        task.stage("Pages", total=path.stat().st_size, unit="bytes")
        return verify_stream(_read(path, page_size, task), page_size)
    except OSError as error:
        raise from_exception(error, "read the pages") from error


def _read(path: Path, page_size: int, task: Task[Any]) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while data := file.read(_BATCH * page_size):
            yield data
            task.advance(len(data))
