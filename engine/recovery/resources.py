"""What a recovery needs of memory, disk and file handles, and what the machine has."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.errors import InsufficientResources

MIB = 1 << 20

CACHE_AT_MOST = 40 * MIB
"""The kernel's own limit: a recovery takes no more cache, however much `cache_size` allows."""

# What the interpreter, the scan buffers and the tables of analysis take beside the cache.
_MEMORY_BESIDE_CACHE = 32 * MIB
# The most of the cache and of the log buffer that a recovery on an overlay takes, whatever the
# settings (engine/kernel/src/store/recovering.rs): under 100 MB in all.
_OVERLAY_CACHE = 40 * MIB
_OVERLAY_LOG_BUFFER = 8 * MIB
# With less than this left on the disk, the system itself is in trouble.
_LEAST_FREE = 4 * MIB
# The data file, control, double-write, the lock, and what the interpreter opens meanwhile.
_HANDLES_BESIDE_LOG = 32


@dataclass(frozen=True, slots=True)
class Need:
    """One resource: how much of it recovery needs and how much there is, in the same unit."""

    resource: str
    required: int
    available: int
    unit: str

    @property
    def is_met(self) -> bool:
        return self.available >= self.required


def needs(
    directory: Path,
    *,
    cache_bytes: int,
    log_buffer_bytes: int,
    segment_bytes: int,
    segments: int,
    on_overlay: bool = False,
) -> tuple[Need, ...]:
    """The three needs of a recovery of `directory` with these settings.

    Disk: undo and the closing checkpoint write new log (a segment and the one prepared ahead),
    and every frame of the cache may pass through the double-write buffer. What an overlay takes
    is known only after analysis: see `overlay_need`.
    """
    if on_overlay:
        cache_bytes = min(cache_bytes, _OVERLAY_CACHE)
        log_buffer_bytes = min(log_buffer_bytes, _OVERLAY_LOG_BUFFER)
    cache_bytes = min(cache_bytes, CACHE_AT_MOST)
    memory = cache_bytes + 2 * log_buffer_bytes + _MEMORY_BESIDE_CACHE
    disk = 2 * segment_bytes + min(cache_bytes, 16 * MIB)
    return (
        Need("memory", memory, available_memory(), "bytes"),
        Need("disk", disk, shutil.disk_usage(directory).free, "bytes"),
        Need("file handles", segments + _HANDLES_BESIDE_LOG, available_handles(), "handles"),
    )


def overlay_need(folder: Path, *, dirty_pages: int, page_size: int, segment_bytes: int) -> Need:
    """The disk space that redo and undo take beside the originals, and the installation after them.

    Every dirty page once; undo and the checkpoint fill at most a segment with more than zeros; the
    log grows by that segment and the one prepared after it.
    """
    required = dirty_pages * page_size + 3 * segment_bytes
    return Need("disk", required, shutil.disk_usage(folder).free, "bytes")


class Peak:
    """The most memory that this process has taken beyond what it had at first. Asked some times a second."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._most = 0

    def sample(self) -> None:
        self._most = max(self._most, self._process.memory_info().rss - self._before)

    def take(self) -> int:
        """The most since it was taken last."""
        self.sample()
        most, self._most = self._most, 0
        return most


class Guard:
    """Holds a running recovery to the bounds that it stated. Asked some times a second."""

    def __init__(self, directory: Path, memory_bytes: int) -> None:
        self._directory = directory
        self._bound = memory_bytes
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._next = 0.0

    def violation(self) -> InsufficientResources | None:
        """The first bound that is broken; looks at most once a second."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + 1.0
        used = self._process.memory_info().rss - self._before
        if used > self._bound:
            return InsufficientResources(
                resource="memory", required=used, available=self._bound, unit="bytes"
            )
        free = shutil.disk_usage(self._directory).free
        if free < _LEAST_FREE:
            return InsufficientResources(resource="disk", required=_LEAST_FREE, available=free, unit="bytes")
        return None


def first_unmet(found: Iterable[Need]) -> Need | None:
    return next((need for need in found if not need.is_met), None)


def available_memory() -> int:
    """Bytes that can be had without swapping, within the limit of this process where it has one."""
    free = int(psutil.virtual_memory().available)
    limit = _limit("RLIMIT_AS")
    if limit is None:
        return free
    return min(free, max(0, limit - int(psutil.Process().memory_info().vms)))


def available_handles() -> int:
    """Files that this process may still open."""
    limit = _limit("RLIMIT_NOFILE")
    if limit is None:
        # Windows has no limit per process worth the name: 2^24 handles.
        return 1 << 24
    process = psutil.Process()
    try:
        used = process.num_fds() if os.name == "posix" else 0
    except psutil.Error:
        used = 0
    return max(0, limit - used)


def _limit(name: str) -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _hard = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft
