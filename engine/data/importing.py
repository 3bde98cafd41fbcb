"""What an import would read, as a plan that can be shown and changed before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import bridge
from engine.errors import TableNotFound, UnsupportedSource, from_exception

COLUMN_TYPES = ("any", "integer", "real", "text", "blob")


@dataclass(slots=True)
class ColumnPlan:
    """One column: its name and type in the new table. Change what was guessed wrongly."""

    name: str
    type: str


@dataclass(slots=True)
class TablePlan:
    """One table of the source, and what becomes of it."""

    source: str
    target: str
    """The name of the new table."""
    include: bool
    columns: list[ColumnPlan]
    primary_key: list[str]
    rows: int | None
    """None where it is not known before the source has been read."""
    indexes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """What cannot be carried over, in words: triggers, expression indexes, ..."""


@dataclass(slots=True)
class ImportPlan:
    """What is read, how, and into which tables. Nothing is written until it is carried out."""

    path: Path
    kind: str
    """sqlite | csv | jsonl"""
    tables: list[TablePlan]
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True
    sample: list[list[str]] = field(default_factory=list)
    """The first rows of a CSV file as they were read with these settings."""
    without: tuple[str, ...] = ()
    """What belongs to no table and is not carried over, in words: views, virtual tables."""

    def chosen(self) -> list[TablePlan]:
        """The tables that are to be imported."""
        return [table for table in self.tables if table.include]

    def only(self, source: str, target: str | None = None) -> None:
        """Take one table of the source, by its name; raises `TableNotFound` (-50)."""
        if all(table.source != source for table in self.tables):
            raise TableNotFound(table=source)
        for table in self.tables:
            table.include = table.source == source
            if table.include and target is not None:
                table.target = target

    def issues(self) -> list[str]:
        """Why the plan cannot be carried out, in words; empty where it can."""
        found = [] if self.chosen() else ["no table is chosen"]
        targets = [table.target for table in self.chosen()]
        found += [f'two tables would be called "{name}"' for name in _repeated(targets)]
        for table in self.chosen():
            found += _table_issues(table)
        if self.kind == "csv" and len(self.delimiter) != 1:
            found.append("the separator must be one character")
        return found

    def to_kernel(self) -> dict[str, Any]:
        """The plan as `Store.import_file` takes it."""
        plan: dict[str, Any] = {
            "kind": self.kind,
            "tables": {table.source: table.target for table in self.chosen()},
        }
        if self.kind == "sqlite":
            return plan
        table = self.chosen()[0]
        plan["columns"] = [{"name": column.name, "type": column.type} for column in table.columns]
        plan["primary_key"] = list(table.primary_key)
        if self.kind == "csv":
            plan |= {
                "delimiter": self.delimiter,
                "quote": self.quote,
                "encoding": self.encoding,
                "header": self.header,
            }
        return plan


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was imported: (table, rows) for each."""

    tables: tuple[tuple[str, int], ...]
    rows: int
    seconds: float


def plan_import(path: str | Path) -> ImportPlan:
    """Look at a SQLite, CSV or JSON lines file and propose how to import it; only reads.

    Raises `UnsupportedSource` (-57), `BadInput` (-56), `IoError` (-10).
    """
    source = Path(path).expanduser().absolute()
    try:
        if not source.is_file():
            detail = "it is a folder" if source.is_dir() else "there is no such file"
            raise UnsupportedSource(path=str(source), detail=detail)
        source.open("rb").close()
    except OSError as error:
        raise from_exception(error, "read") from error
    described = bridge.describe_source(str(source))
    tables = [_table(raw) for raw in described["tables"]]
    plan = ImportPlan(source, described["kind"], tables, without=tuple(described["without"]))
    if plan.kind == "csv":
        _add_csv(plan, bridge.sniff_csv(str(source)))
    return plan


def import_result(raw: Mapping[str, Any]) -> ImportResult:
    tables = tuple((table["name"], int(table["rows"])) for table in raw["tables"])
    return ImportResult(tables, int(raw["rows"]), float(raw["seconds"]))


def _table(raw: Mapping[str, Any]) -> TablePlan:
    return TablePlan(
        source=raw["name"],
        target=raw["name"],
        include=True,
        columns=[ColumnPlan(column["name"], column["type"]) for column in raw["columns"]],
        primary_key=list(raw["primary_key"]),
        rows=raw["rows"],
        indexes=tuple(_index_name(index) for index in raw["indexes"]),
        without=tuple(raw["without"]),
    )


def _index_name(raw: Mapping[str, Any] | str) -> str:
    return raw if isinstance(raw, str) else str(raw["name"])


def _add_csv(plan: ImportPlan, sniffed: Mapping[str, Any]) -> None:
    plan.delimiter = sniffed["delimiter"]
    plan.quote = sniffed["quote"]
    plan.encoding = sniffed["encoding"]
    plan.header = sniffed["header"]
    plan.sample = [list(row) for row in sniffed["sample"]]


def _table_issues(table: TablePlan) -> list[str]:
    found = []
    if not table.target.strip():
        found.append(f'the table for "{table.source}" needs a name')
    names = [column.name for column in table.columns]
    found += [f'"{table.target}" would have two columns called "{name}"' for name in _repeated(names)]
    found += [
        f'the column "{column.name}" has no type called "{column.type}"'
        for column in table.columns
        if column.type not in COLUMN_TYPES
    ]
    found += [
        f'the key column "{name}" is not among the columns' for name in table.primary_key if name not in names
    ]
    return found


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
