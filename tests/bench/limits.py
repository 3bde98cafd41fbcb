"""What the machine can do at best, without any database: measured beside the workloads."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

from blake3 import blake3

from tests.bench.files import sync_file

_CHUNK = 1 << 20
_PAGE = 8 << 10
_BLOCK = 4 << 10


def writes_and_syncs(place: Path, count: int, size: int) -> float:
    """Seconds for `count` writes of `size` bytes, each synced, into blocks written before."""
    path = place / "log"
    path.write_bytes(bytes(count * size + _BLOCK))
    sync_file(path)
    piece = os.urandom(size)
    sync = getattr(os, "fdatasync", os.fsync)
    with path.open("rb+", buffering=0) as file:
        handle = file.fileno()
        started = perf_counter()
        for number in range(count):
            file.seek(number * size)
            file.write(piece)
            sync(handle)
        return perf_counter() - started


def write_and_sync(place: Path, size: int) -> float:
    """Seconds to write so many bytes to a new file and sync it."""
    chunk = os.urandom(_CHUNK)
    started = perf_counter()
    with (place / "copy").open("wb", buffering=0) as file:
        for _ in range(max(size // _CHUNK, 1)):
            file.write(chunk)
        os.fsync(file.fileno())
    return perf_counter() - started


def read(path: Path) -> float:
    """Seconds to read a file from front to back."""
    started = perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(_CHUNK):
            pass
    return perf_counter() - started


def copy_memory(size: int) -> float:
    """Seconds to copy so many bytes within memory."""
    source = bytearray(os.urandom(min(size, 64 * _CHUNK)))
    target = bytearray(len(source))
    done = 0
    started = perf_counter()
    while done < size:
        target[:] = source
        done += len(source)
    return (perf_counter() - started) * size / done


def hash_pages(size: int) -> float:
    """Seconds to hash so many bytes with BLAKE3, in pages of 8 KiB, on one thread."""
    pages = memoryview(os.urandom(1024 * _PAGE))
    done = 0
    started = perf_counter()
    while done < size:
        for start in range(0, len(pages), _PAGE):
            blake3(pages[start : start + _PAGE]).digest()
        done += len(pages)
    return (perf_counter() - started) * size / done
