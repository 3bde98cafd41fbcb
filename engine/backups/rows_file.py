"""Rows that a point in the past, or a former primary, has and the database has not, as a file.

JSON lines tell of each row where it is, `{"table", "kind", "key", "there", "here"}`; the kind is `only_there`
or `differs`. Blobs are `{"$hex": "00ff"}`, as in every export. CSV is one table, as it is there, and can
be imported. The file is whole or not there at all.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backups.past import (
    Past,
    RowDifference,
    TableDifference,
    columns_of,
    difference_task,
    differing_rows,
)
from engine.errors import InvalidArgument, from_exception
from engine.files import replacing
from engine.tasks import Task

if TYPE_CHECKING:
    from engine.database import Database

_PORTION = 100
_KINDS = {"removed": "only_there", "changed": "differs"}


@dataclass(frozen=True, slots=True)
class RowsFile:
    """A file of rows that was written."""

    path: Path
    only_there: int
    differ: int
    problems: tuple[tuple[str, str], ...]
    """Tables that could not be compared, of which nothing is in the file, and why."""


def rows_file_task(
    past: Past, database: Database, target: str | Path, names: Iterable[str] = ()
) -> Task[RowsFile]:
    """Write the rows of the tables and trees `names`, or of all, that are only there or differ, to `target`.

    Start the task, or run it. The ending of `target` says the kind, `.jsonl` or `.csv`; a CSV file takes one
    table. A file that is there is replaced once the new one is whole. Raises `InvalidArgument` (-2) at once
    for another ending, and what comparing and the disk raise; nothing is left then.
    """
    path, wanted = Path(target).expanduser().absolute(), tuple(names)
    kind = path.suffix.lower()
    if kind not in (".jsonl", ".csv"):
        raise InvalidArgument(argument="the file", issue="its name ends in .jsonl or .csv")
    if kind == ".csv" and len(wanted) != 1:
        raise InvalidArgument(argument="the file", issue="CSV holds one table: name it")

    def work(task: Task[RowsFile]) -> RowsFile:
        found = task.carry(difference_task(past, database))
        if unknown := set(wanted) - {table.name for table in found}:
            raise InvalidArgument(argument="the table", issue=f"neither side has {sorted(unknown)[0]}")
        chosen = [table for table in found if not wanted or table.name in wanted]
        task.stage("Writing", total=sum(t.removed + t.changed for t in chosen), unit="rows")
        counts = dict.fromkeys(_KINDS, 0)
        try:
            with replacing(path) as file:
                for table in chosen:
                    write = _csv(past, database, table) if kind == ".csv" else _jsonl(past, database, table)
                    for portion in _portions(past, database, table):
                        task.proceed()
                        file.write(write(portion))
                        for row in portion:
                            counts[row.kind] += 1
                        task.advance(len(portion))
        except OSError as error:
            raise from_exception(error, "write the rows to") from error
        problems = tuple((table.name, table.problem) for table in chosen if table.problem)
        return RowsFile(path, counts["removed"], counts["changed"], problems)

    return Task(f"Write rows to {path.name}", work)


def _portions(past: Past, database: Database, table: TableDifference) -> Iterator[list[RowDifference]]:
    if table.problem:
        return
    after = None
    while True:
        page = differing_rows(past, database, table.name, after, _PORTION, cell_limit=0)
        yield [row for row in page.rows if row.kind in _KINDS]
        after = page.after
        if after is None:
            return


_Writer = Callable[[Sequence[RowDifference]], bytes]


def _jsonl(past: Past, database: Database, table: TableDifference) -> _Writer:
    names = columns_of(past, database, table.name)

    def line(row: RowDifference) -> str:
        sides = {
            side: None if cells is None else dict(zip(names, map(_plain, cells), strict=True))
            for side, cells in (("there", row.then), ("here", row.now))
        }
        value = {"table": table.name, "kind": _KINDS[row.kind], "key": [_plain(part) for part in row.key]}
        return json.dumps({**value, **sides}, ensure_ascii=False) + "\n"

    return lambda rows: "".join(map(line, rows)).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$real": str(value)}
    return value


def _csv(past: Past, database: Database, table: TableDifference) -> _Writer:
    names = columns_of(past, database, table.name)
    # A tree has no columns: its keys and values are two.
    header: list[Sequence[str]] = [names if table.is_table else ("key", *names)]

    def rows(found: Sequence[RowDifference]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        while header:
            writer.writerow(header.pop())
        for row in found:
            cells = row.then or ()
            writer.writerow([_cell(cell) for cell in (cells if table.is_table else (*row.key, *cells))])
        return text.getvalue().encode()

    return rows


def _cell(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
