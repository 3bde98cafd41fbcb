"""The peers that are there, by name. One that is not installed is named with its reason."""

from __future__ import annotations

import importlib

from tests.bench.peers.base import Peer

_PLACES = {
    "Holdfast": ("tests.bench.peers.holdfast", "Holdfast"),
    "SQLite": ("tests.bench.peers.sqlite", "Sqlite"),
    "LMDB": ("tests.bench.peers.lightning", "Lmdb"),
    "Berkeley DB": ("tests.bench.peers.berkeley", "BerkeleyDb"),
    "RocksDB": ("tests.bench.peers.rocks", "RocksDb"),
}


def peer_named(name: str) -> type[Peer]:
    """Raises ImportError where its package is missing."""
    module, kind = _PLACES[name]
    found: type[Peer] = getattr(importlib.import_module(module), kind)
    return found


def installed() -> tuple[list[type[Peer]], dict[str, str]]:
    """The peers that can run, Holdfast first, and why each of the others cannot."""
    peers: list[type[Peer]] = []
    missing: dict[str, str] = {}
    for name in _PLACES:
        try:
            peers.append(peer_named(name))
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing
