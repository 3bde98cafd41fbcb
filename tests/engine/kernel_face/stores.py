"""What the tests of the kernel's Python face share."""

from __future__ import annotations

import threading
from typing import Any

from engine import bridge

OPTIONS: dict[str, Any] = {
    "page_size": 4096,
    "cache_bytes": 4 << 20,
    "segment_bytes": 1 << 20,
    "log_buffer_bytes": 1 << 20,
    "lock_timeout_s": 20.0,
}


def fill(store: bridge.Store, items: dict[bytes, bytes], name: str = "t") -> None:
    with store.begin("repeatable_read") as txn:
        txn.tree(name).update(items)


def contents(store: bridge.Store, name: str = "t") -> dict[bytes, bytes]:
    with store.begin("read_committed", read_only=True) as txn:
        return dict(txn.tree(name, create=False).items())


def wait_until_someone_waits(store: bridge.Store) -> None:
    """Returns once the lock table has a waiter: there is no other sign of a thread that waits."""
    stop = threading.Event()
    for _ in range(10_000):
        if store.wait_for_graph():
            return
        stop.wait(0.001)
    raise AssertionError("nobody waits")
