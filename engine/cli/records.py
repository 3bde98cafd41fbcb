"""Verbs about records: get, put, delete, scan, and load, a measured workload."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from engine.cli.opening import add_verb, count_argument, open_existing, open_for_reading
from engine.cli.output import FINE, PROBLEMS, Output, columns
from engine.errors import HoldfastError, InvalidArgument, from_exception
from engine.units import counted, parse_size


def add(verbs: argparse._SubParsersAction[Any]) -> None:
    """Declare the verbs of this group."""
    parser = _tree_verb(verbs, "get", get, "Print the value of a key")
    parser.add_argument("key", metavar="KEY")
    parser = _tree_verb(verbs, "put", put, "Set the value of a key")
    parser.add_argument("key", metavar="KEY")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("value", metavar="VALUE", nargs="?")
    source.add_argument("--file", metavar="FILE", help='take the value from a file, "-" for standard input')
    parser = _tree_verb(verbs, "delete", delete, "Remove a key")
    parser.add_argument("key", metavar="KEY")
    parser = _tree_verb(verbs, "scan", scan, "List records in the order of their keys")
    parser.add_argument("--from", dest="start", metavar="KEY", help="begin with this key")
    parser.add_argument("--to", dest="stop", metavar="KEY", help="end before this key")
    parser.add_argument("--limit", type=count_argument, default=100, metavar="N", help="at most so many")
    parser.add_argument("--reverse", action="store_true", help="last key first")
    parser.add_argument("--keys", action="store_true", help="keys only")
    _add_load(verbs)


def _tree_verb(verbs: argparse._SubParsersAction[Any], name: str, verb: Any, summary: str) -> Any:
    parser = add_verb(verbs, name, verb, summary)
    parser.add_argument("tree", metavar="TREE")
    parser.add_argument("--hex", action="store_true", help="keys and values are hexadecimal")
    return parser


def _add_load(verbs: argparse._SubParsersAction[Any]) -> None:
    parser = add_verb(verbs, "load", load, "Put a measured load on the engine")
    parser.add_argument("--threads", type=count_argument, default=8, metavar="N")
    parser.add_argument(
        "--operations", type=count_argument, default=100_000, metavar="N", help="of all threads"
    )
    parser.add_argument("--value-bytes", default="150", metavar="SIZE")
    parser.add_argument("--read-share", type=_share, default=0.5, metavar="0..1")
    parser.add_argument("--batch", type=count_argument, default=1, metavar="N", help="changes at a time")
    parser.add_argument("--keys", type=count_argument, default=1_000_000, metavar="N", help="different keys")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--tree", default="load", metavar="TREE")


def get(args: argparse.Namespace, out: Output) -> int:
    """`get PATH TREE KEY`"""
    key = _bytes(args.key, args.hex)
    with open_for_reading(args.path, out) as database, database.begin(read_only=True) as txn:
        value = txn.tree(args.tree, create=False).get(key)
    if value is None:
        out.result({"found": False, "key": args.key}, [])
        out.note("There is no such key.")
        return PROBLEMS
    out.result({"found": True, "key": args.key, **_shown("value", value, args.hex)}, [_line(value, args.hex)])
    return FINE


def put(args: argparse.Namespace, out: Output) -> int:
    """`put PATH TREE KEY VALUE`"""
    key, value = _bytes(args.key, args.hex), _value(args)
    with open_existing(args.path, out) as database:
        with database.transaction() as txn:
            tree = txn.tree(args.tree)
            existed = key in tree
            tree[key] = value
        lsn = database.status().log.durable_lsn
    out.result(
        {"done": True, "replaced": existed, "bytes": len(value), "durable_lsn": lsn},
        ["Replaced." if existed else "Inserted."],
    )
    return FINE


def delete(args: argparse.Namespace, out: Output) -> int:
    """`delete PATH TREE KEY`"""
    key = _bytes(args.key, args.hex)
    with open_existing(args.path, out) as database, database.transaction() as txn:
        tree = txn.tree(args.tree, create=False)
        existed = key in tree
        if existed:
            del tree[key]
    out.result({"found": existed, "deleted": existed}, ["Deleted."] if existed else [])
    if not existed:
        out.note("There is no such key.")
    return FINE if existed else PROBLEMS


def scan(args: argparse.Namespace, out: Output) -> int:
    """`scan PATH TREE [--from KEY] [--to KEY] [--limit N]`"""
    bounds = {
        name: _bytes(text, args.hex)
        for name in ("start", "stop")
        if (text := getattr(args, name)) is not None
    }
    records: list[tuple[bytes, bytes]] = []
    is_more = False
    with open_for_reading(args.path, out) as database, database.begin(read_only=True) as txn:
        for record in txn.tree(args.tree, create=False).items(**bounds, reverse=args.reverse):
            if len(records) == args.limit:
                is_more = True
                break
            records.append(record)
    shown = [
        _shown("key", key, args.hex) | ({} if args.keys else _shown("value", value, args.hex))
        for key, value in records
    ]
    lines = [
        _line(key, args.hex) if args.keys else f"{_line(key, args.hex)}\t{_line(value, args.hex)}"
        for key, value in records
    ]
    out.result({"records": shown, "more": is_more}, lines)
    if is_more:
        out.note(f"There are more than {counted(args.limit, 'record')}.")
    return FINE


def load(args: argparse.Namespace, out: Output) -> int:
    """`load PATH`"""
    try:
        value_bytes = parse_size(args.value_bytes)
    except ValueError:
        raise InvalidArgument(argument="--value-bytes", issue="it is not a size, like 4 KiB") from None
    spec = {name: getattr(args, name) for name in ("threads", "operations", "batch", "keys", "seed", "tree")}
    spec |= {"value_bytes": value_bytes, "read_share": args.read_share}
    with open_existing(args.path, out) as database:
        result = out.follow(database.load_task(spec))
    rows = [
        (name, figures["p50_us"], figures["p99_us"], figures["max_us"])
        for name, figures in result["latency"].items()
    ]
    summary = (
        f"{result['operations']:,} operations in {result['seconds']:.2f} s: "
        f"{result['per_second']:,.0f} per second"
    )
    out.result(
        {**result, "spec": spec}, [summary, *columns(rows, ("operation", "p50 us", "p99 us", "max us"))]
    )
    return FINE


def _value(args: argparse.Namespace) -> bytes:
    if args.file is None:
        return _bytes(args.value, args.hex)
    try:
        return sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    except OSError as error:
        raise from_exception(error, "read") from error


def _bytes(text: str, is_hex: bool) -> bytes:
    try:
        # Arguments that are not UTF-8 reach Python as lone surrogates.
        return bytes.fromhex(text) if is_hex else text.encode("utf-8", "surrogateescape")
    except ValueError as error:
        failure: HoldfastError = InvalidArgument(argument="--hex", issue="it is not hexadecimal")
        raise failure from error


def _line(value: bytes, is_hex: bool) -> str:
    if is_hex:
        return value.hex()
    return value.decode("utf-8", "backslashreplace")


def _shown(name: str, value: bytes, is_hex: bool) -> dict[str, str]:
    """A key or value for JSON: text where it is text, else hexadecimal under a name that says so."""
    try:
        return {f"{name}_hex": value.hex()} if is_hex else {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_hex": value.hex()}


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
