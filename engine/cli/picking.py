"""Single rows of a point in the past, or of a former primary: picked by key, or written to a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from engine.backups.past import Past
from engine.backups.rows_file import RowsFile, rows_file_task
from engine.cli.output import Output
from engine.database import Database
from engine.errors import InvalidArgument


def add_rows_argument(parser: argparse.ArgumentParser, verb: str = "") -> None:
    """Declare `--rows`."""
    parser.add_argument(
        "--rows",
        metavar="FILE",
        help=f"{verb}also write the rows that are only there or differ to FILE.jsonl; those of one --table "
        "to FILE.csv too",
    )


def add_key_argument(parser: argparse.ArgumentParser, verb: str = "") -> None:
    """Declare `--key`."""
    parser.add_argument(
        "--key",
        metavar="K",
        action="append",
        default=[],
        help=f'{verb}one row of it: its key, a JSON list, or {{"$hex": "00ff"}} for bytes; repeatable',
    )


def write_rows(
    args: argparse.Namespace, past: Past, database: Database, out: Output
) -> tuple[dict[str, Any], list[str]]:
    """Write what `--rows` asks for; returns what is to be said of it, nothing where it is not asked for."""
    if args.rows is None:
        return {}, []
    written: RowsFile = out.follow(rows_file_task(past, database, args.rows, args.table))
    lines = [
        f"Written to {written.path}: rows that are only there {written.only_there:,}, rows that differ "
        f"{written.differ:,}.",
        *(f"{name} is not in it: {why}." for name, why in written.problems),
    ]
    return {"rows": {**asdict(written), "path": str(written.path)}}, lines


def key_bytes(past: Past, name: str, texts: Sequence[str]) -> tuple[bytes, ...]:
    """The rows of these keys, as a rescue takes them; raises `InvalidArgument` where there is none."""
    found: list[bytes] = []
    with past.begin() as txn:
        is_table = name in past.store.tables()
        thing = txn.table(name) if is_table else txn.tree(name, create=False)
        for text in texts:
            position = _position(thing, _key(text)) if is_table else _tree_key(thing, text)
            if position is None:
                raise InvalidArgument(argument="--key", issue=f"{name} has no row {text} there")
            found.append(position)
    return tuple(found)


def _position(table: Any, key: Any) -> bytes | None:
    page = table.page(None, 1, start=key, cell_limit=1)
    if not page or table.key_of(page[0][0]) != (key if isinstance(key, tuple) else (key,)):
        return None
    position = page[0][0][0]
    assert isinstance(position, bytes), "a position by key is the bytes of the key"
    return position


def _tree_key(tree: Any, text: str) -> bytes | None:
    key = _key(text)
    wanted = key if isinstance(key, bytes) else text.encode()
    return wanted if wanted in tree else None


def _key(text: str) -> Any:
    """A JSON list of values, a JSON value, or else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(map(_blob, value)) if isinstance(value, list) else _blob(value)


def _blob(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    try:
        return bytes.fromhex(value["$hex"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(argument="--key", issue='an object is {"$hex": "00ff"}') from error
