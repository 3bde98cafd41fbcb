"""The typed tables of an open database: what they are, and how rows get in and out in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import bridge
from engine.data.exporting import ExportKind, ExportResult, export_kind
from engine.data.importing import ImportPlan, ImportResult, import_result
from engine.errors import DatabaseExists, InvalidArgument, TableExists, TableNotFound
from engine.tasks import Task
from engine.types import TableInfo

if TYPE_CHECKING:
    from engine.database import Database


class Tables:
    """Rows themselves are read and changed through a transaction: `txn.table("people")`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[str]:
        """The names of all tables, in order."""
        return sorted(self._database.store.tables())

    def list(self) -> tuple[TableInfo, ...]:
        """All tables with their columns, keys, indexes and numbers of rows."""
        store = self._database.store
        return tuple(bridge.table_info(store, name) for name in self.names())

    def info(self, name: str) -> TableInfo:
        """One table; raises `TableNotFound` (-50)."""
        return bridge.table_info(self._database.store, name)

    def import_task(self, plan: ImportPlan) -> Task[ImportResult]:
        """Carry `plan` out, all or nothing; start the task, or run it.

        Raises `InvalidArgument` or `TableExists` at once where the plan cannot be carried out;
        the task raises `BadInput` (-56) with file, line and column where the source is at fault.
        """
        issues = plan.issues()
        if issues:
            raise InvalidArgument(argument="the import plan", issue="; ".join(issues))
        taken = set(self.names())
        for table in plan.chosen():
            if table.target in taken:
                raise TableExists(table=table.target)

        def work(task: Task[ImportResult]) -> ImportResult:
            job = bridge.Job()
            task.use(job)
            raw = self._database.store.import_file(str(plan.path), plan.to_kernel(), job)
            result = import_result(raw)
            self._changed("import_finished", str(plan.path), result.rows, [name for name, _ in result.tables])
            return result

        return Task(f"Import {plan.path.name}", work)

    def export_task(
        self,
        target: str | Path,
        tables: Sequence[str] | None = None,
        kind: ExportKind | str | None = None,
        *,
        replace: bool = False,
    ) -> Task[ExportResult]:
        """Write tables (all of them by default) to a SQLite, CSV or JSON lines file.

        The kind follows from the file's ending where it is not given. An existing file is
        refused with `DatabaseExists` (-15) unless `replace`; it then stays until the new one is
        complete.
        """
        path = Path(target).expanduser().absolute()
        chosen_kind = export_kind(path, kind)
        chosen = list(tables) if tables is not None else self.names()
        self._refuse_unknown(chosen)
        if chosen_kind is not ExportKind.SQLITE and len(chosen) != 1:
            raise InvalidArgument(
                argument="table", issue=f"a {chosen_kind.label} file holds one table, not {len(chosen)}"
            )
        if path.exists() and not replace:
            raise DatabaseExists(path=str(path))

        def work(task: Task[ExportResult]) -> ExportResult:
            job = bridge.Job()
            task.use(job)
            partial = path.with_name(f"{path.name}.partial")
            partial.unlink(missing_ok=True)
            try:
                raw = self._database.store.export_file(str(partial), chosen_kind.value, chosen, job)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            result = ExportResult(path, chosen_kind, tuple(chosen), int(raw["rows"]), float(raw["seconds"]))
            self._changed("export_finished", str(path), result.rows, chosen)
            return result

        return Task(f"Export {path.name}", work)

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        known = set(self.names())
        for name in names:
            if name not in known:
                raise TableNotFound(table=name)

    def _changed(self, kind: str, path: str, rows: int, tables: Sequence[Any]) -> None:
        self._database.events.publish(kind, path=path, rows=rows, tables=[*tables])
