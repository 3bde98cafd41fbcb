"""Stores of the kernel, without the layer above it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import bridge
from tests.engine.kernel_face.stores import OPTIONS


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.holdfast")


@pytest.fixture
def store(path: str) -> Iterator[bridge.Store]:
    store = bridge.Store.create(path, OPTIONS)
    yield store
    store.close()


@pytest.fixture
def txn(store: bridge.Store) -> bridge.Transaction:
    return store.begin("repeatable_read")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool
