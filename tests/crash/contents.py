"""What a database holds, as lengths and digests: small enough for a pipe, exact enough to compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.database import Database
from tests.crash.script import LEDGER, THREADS, TREES, ledger_key

TABLE = "things"
INDEXES = {"things_name": ("name",), "things_code": ("code",)}
SCHEMA = json.dumps(
    {
        "name": TABLE,
        "columns": [
            {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
            {"name": "name", "type": "text", "declared": "TEXT", "not_null": True},
            {"name": "code", "type": "text", "declared": "TEXT", "not_null": True},
            {"name": "data", "type": "blob", "declared": "BLOB", "not_null": True},
        ],
        "primary_key": ["id"],
        "indexes": [],
    }
)

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
    """All records of all trees, all rows, and the rows again in the order of each index."""

    trees: dict[str, dict[bytes, str]] = field(default_factory=dict)
    rows: dict[int, str] = field(default_factory=dict)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    stands: dict[int, int] = field(default_factory=dict)
    """For each thread the number of its newest transaction in the ledger."""

    def add(self, part: Part) -> None:
        """Take a part that `read` gave, after its way through the pipe."""
        kind, name, records = part
        if kind == "tree":
            tree = self.trees.setdefault(name, {})
            tree.update((bytes.fromhex(key), value) for key, value in records)
        elif kind == "rows":
            self.rows.update((row_id, value) for row_id, value in records)
        elif kind == "index":
            self.indexes.setdefault(name, []).extend(records)
        else:
            self.stands = dict(records)

    @property
    def records(self) -> int:
        return sum(map(len, self.trees.values()))


def prepare(database: Database) -> None:
    """Make the trees and the table that are always there, where they are missing."""
    with database.transaction() as txn:
        for tree in TREES:
            txn.tree(tree)
        if TABLE not in database.tables.names():
            txn.create_table(SCHEMA)
            for index, columns in INDEXES.items():
                txn.create_index(TABLE, index, columns, unique=index == "things_code")


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
        ledger = txn.tree(LEDGER)
        noted = ((thread, ledger.get(ledger_key(thread))) for thread in range(THREADS))
        yield ["stands", LEDGER, [(thread, int(number)) for thread, number in noted if number is not None]]
        table = txn.table(TABLE)
        yield ["rows", TABLE, [(row[0], row_digest(row)) for row in table.rows()]]
        for index in INDEXES:
            position = None
            while page := table.page(position, _BATCH, index):
                yield ["index", index, [row[0] for _, row in page]]
                position = page[-1][0]


def contents(database: Database) -> Contents:
    """Everything that the database holds."""
    found = Contents()
    for part in read(database):
        found.add(part)
    return found
