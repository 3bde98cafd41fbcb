"""The process that the tour kills: it writes on several threads and tells of each commit.

Standard output gets one line for each acknowledged commit, `thread number`, after the commit
has returned; `unfinished` once a transaction is open that is never going to be committed.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import engine

TREE = "tour"
THREADS = 4
UNFINISHED_ROWS = 500

_told = threading.Lock()


def key(thread: int, number: int) -> bytes:
    """The key that a thread writes in its commit of this number."""
    return f"{thread}/{number:08d}".encode()


def unfinished_key(number: int) -> bytes:
    """A key of the transaction that is never committed."""
    return f"unfinished/{number:08d}".encode()


def main(path: str) -> None:
    """Write until killed."""
    database = engine.open(path, create=False)
    database.run(lambda txn: txn.tree(TREE))
    open_one = database.begin()
    for number in range(UNFINISHED_ROWS):
        open_one.tree(TREE)[unfinished_key(number)] = b"never committed"
    _tell("unfinished")
    for thread in range(THREADS):
        threading.Thread(target=_write, args=(database, thread), daemon=True).start()
    threading.Event().wait()


def _write(database: Any, thread: int) -> None:
    number = 0
    while True:
        with database.transaction() as txn:
            txn.tree(TREE)[key(thread, number)] = b"x" * (50 + number * 37 % 900)
        _tell(f"{thread} {number}")
        number += 1


def _tell(line: str) -> None:
    with _told:
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
