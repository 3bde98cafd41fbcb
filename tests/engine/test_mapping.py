"""A tree is a mapping: CPython's own tests of the mapping protocol, with bytes for keys and values."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

import pytest

import engine
from engine.config import Config
from engine.database import Database

mapping_tests = pytest.importorskip("test.mapping_tests", reason="Python was installed without its own tests")


class TreeMappingTest(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc, name-defined]
    """Each mapping is a tree of its own, within one transaction for each test."""

    database: ClassVar[Database]
    directory: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.directory = Path(tempfile.mkdtemp())
        cls.database = engine.open(cls.directory / "mapping.holdfast", config=Config())

    @classmethod
    def tearDownClass(cls) -> None:
        cls.database.close()
        shutil.rmtree(cls.directory)

    def setUp(self) -> None:
        self.txn = self.database.begin()
        self.made = 0

    def tearDown(self) -> None:
        self.txn.abort()

    def _reference(self) -> dict[bytes, bytes]:
        return {b"1": b"2", b"key1": b"value1", b"key2": b"\x00\x01\xff"}

    def _empty_mapping(self) -> Any:
        self.made += 1
        return self.txn.tree(f"tree {self.made}")


class OrderTest(unittest.TestCase):
    """What a tree adds to a mapping: order, ranges, and the way back."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.database = engine.open(self.directory / "order.holdfast")
        self.txn = self.database.begin()
        self.tree = self.txn.tree("t")
        for key in (b"m", b"", b"b", b"\xff", b"a\x00", b"a"):
            self.tree[key] = b"value of " + key

    def tearDown(self) -> None:
        self.txn.abort()
        self.database.close()
        shutil.rmtree(self.directory)

    def test_keys_come_in_the_order_of_their_bytes(self) -> None:
        ordered = [b"", b"a", b"a\x00", b"b", b"m", b"\xff"]
        assert list(self.tree) == ordered
        assert list(reversed(self.tree)) == ordered[::-1]
        assert list(self.tree.keys(reverse=True)) == ordered[::-1]

    def test_a_range_has_its_start_and_not_its_stop(self) -> None:
        assert list(self.tree.keys(b"a", b"m")) == [b"a", b"a\x00", b"b"]
        assert [key for key, _ in self.tree.items(b"a", b"m", reverse=True)] == [b"b", b"a\x00", b"a"]
        assert list(self.tree.keys(b"z", b"a")) == []

    def test_a_cursor_survives_changes_under_it(self) -> None:
        cursor = self.tree.keys(b"a")
        assert next(cursor) == b"a"
        del self.tree[b"a\x00"]
        self.tree[b"aa"] = b"new"
        assert list(cursor) == [b"aa", b"b", b"m", b"\xff"]

    def test_values_are_bytes_and_nothing_else(self) -> None:
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError):
                self.tree[b"k"] = wrong  # type: ignore[assignment]
            with pytest.raises(TypeError):
                self.tree[wrong] = b"v"  # type: ignore[index]
