"""What a database holds, as lengths and digests: small enough for a pipe, exact enough to compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.bridge import Table, Transaction
from engine.database import Database
from tests.crash.script import LEDGER, TABLE, THREADS, TREES, ledger_key

NAMES, CODES = "names", "codes"
INDEXED = {NAMES: ("name",), CODES: ("code",)}
"""The indexes that a table may have, with their columns. Codes are unique."""

_BATCH = 500

Part = list[Any]
"""A piece of contents as it goes through the pipe: what it is, its name, its records."""


def digest(data: bytes) -> str:
    """A value as its length and 8 bytes of BLAKE2b."""
    return f"{len(data)}:{hashlib.blake2b(data, digest_size=8).hexdigest()}"


def row_digest(row: tuple[Any, ...]) -> str:
    return digest(repr(tuple(row)).encode())


@dataclass(slots=True)
class Contents:
    """All records of all trees, all rows of all tables, and the rows again in the order of each index."""

    trees: dict[str, dict[bytes, str]] = field(default_factory=dict)
    tables: dict[str, dict[int, str]] = field(default_factory=dict)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    """By the names of table and index, with a point between."""
    stands: dict[int, int] = field(default_factory=dict)
    """For each thread the number of its newest transaction in the ledger."""

    def add(self, part: Part) -> None:
        """Take a part that `read` gave, after its way through the pipe."""
        kind, name, records = part
        if kind == "tree":
            tree = self.trees.setdefault(name, {})
            tree.update((bytes.fromhex(key), value) for key, value in records)
        elif kind == "rows":
            self.tables.setdefault(name, {}).update((row_id, value) for row_id, value in records)
        elif kind == "index":
            self.indexes.setdefault(name, []).extend(records)
        else:
            self.stands = dict(records)

    @property
    def records(self) -> int:
        return sum(map(len, self.trees.values()))

    @property
    def rows(self) -> int:
        return sum(map(len, self.tables.values()))


def prepare(database: Database) -> None:
    """Make the trees and the table that are always there, where they are missing."""
    with database.transaction() as txn:
        for tree in TREES:
            txn.tree(tree)
        if TABLE not in database.tables.names():
            txn.create_table(schema(TABLE))
            for index in INDEXED:
                set_index(txn, TABLE, index, wanted=True)


def schema(name: str) -> str:
    """A table with a key, a name, a code and data; without indexes."""
    columns = {"id": "integer", "name": "text", "code": "text", "data": "blob"}
    described = [{"name": n, "type": t, "declared": t, "not_null": True} for n, t in columns.items()]
    return json.dumps({"name": name, "columns": described, "primary_key": ["id"], "indexes": []})


def indexes_of(table: Table) -> list[str]:
    return [index["name"] for index in json.loads(table.schema)["indexes"]]


def set_index(txn: Transaction, name: str, index: str, *, wanted: bool) -> None:
    """Make an index of a table, or drop it, where that is not how it is."""
    is_there = index in indexes_of(txn.table(name))
    if wanted and not is_there:
        txn.create_index(name, index, INDEXED[index], unique=index == CODES)
    elif is_there and not wanted:
        txn.drop_index(name, index)


def read(database: Database) -> Iterator[Part]:
    """Everything that the database holds, in parts. Reads one snapshot."""
    with database.transaction(read_only=True) as txn:
        for name in database.trees():
            tree = txn.tree(name, create=False)
            records = [(key.hex(), digest(value)) for key, value in tree.items()]
            assert len(tree) == len(records), f"{name} counts {len(tree)} records and shows {len(records)}"
            yield ["tree", name, []]
            for first in range(0, len(records), _BATCH):
                yield ["tree", name, records[first : first + _BATCH]]
        yield ["stands", LEDGER, list(_stands(txn).items())]
        for name in database.tables.names():
            yield from _read_table(txn.table(name))


def stands(database: Database) -> dict[int, int]:
    """For each thread the number of its newest transaction in the ledger."""
    with database.transaction(read_only=True) as txn:
        return _stands(txn)


def _stands(txn: Transaction) -> dict[int, int]:
    ledger = txn.tree(LEDGER)
    noted = {thread: ledger.get(ledger_key(thread)) for thread in range(THREADS)}
    return {thread: int(number) for thread, number in noted.items() if number is not None}


def _read_table(table: Table) -> Iterator[Part]:
    yield ["rows", table.name, [(row[0], row_digest(row)) for row in table.rows()]]
    for index in indexes_of(table):
        name = f"{table.name}.{index}"
        yield ["index", name, []]
        position = None
        while page := table.page(position, _BATCH, index):
            yield ["index", name, [row[0] for _, row in page]]
            position = page[-1][0]


def contents(database: Database) -> Contents:
    """Everything that the database holds."""
    found = Contents()
    for part in read(database):
        found.add(part)
    return found
