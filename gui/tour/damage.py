"""Damages a page of the tour's own database, as a disk would, so that its repair can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TREE = "beacons"
_ROWS = 600
_PLACE_IN_PAGE = 300


def add_beacons(database: Any) -> tuple[int, int]:
    """Write a tree whose pages are all in the log; returns one of its leaves and the size of a page.

    Runs on a worker.
    """
    with database.transaction() as txn:
        tree = txn.tree(TREE)
        for number in range(_ROWS):
            tree[b"beacon %04d" % number] = b"two flashes, ten seconds " * 4
    database.checkpoint()
    leaves: dict[int, list[int]] = {}
    for page in range(database.status().pages):
        info = database.store.page_info(page)
        if info["ok"] and info["kind"] == "leaf":
            leaves.setdefault(info["tree"], []).append(page)
    # The numbers of trees only grow: the last one is that of the beacons.
    pages = leaves[max(leaves)]
    return pages[len(pages) // 2], database.status().cache.page_size


def spoil(path: Path, page: int, page_size: int) -> None:
    """Write what nobody meant to be there into a page of a closed database."""
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * page_size + _PLACE_IN_PAGE)
        file.write(b"what a failing disk made up")
