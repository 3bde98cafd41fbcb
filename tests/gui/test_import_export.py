"""Bringing data in and taking it out from the interface, over real files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PySide6.QtWidgets import QCheckBox

from gui.main_window import MainWindow
from gui.tables.export_dialog import ExportDialog
from gui.tables.import_csv import KEY_LINE, CsvImportForm
from gui.tables.import_dialog import ImportDialog
from gui.tables.page import TablesPage

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def page(window: MainWindow, tmp_path: Path, until: Until) -> TablesPage:
    window.shell.create_requested.emit(tmp_path / "new.holdfast")
    until(lambda: window.opening.session is not None)
    made = window.pages["tables"]
    assert isinstance(made, TablesPage)
    window.show_page("tables")
    return made


def imported(page: TablesPage, dialog: ImportDialog | None, until: Until) -> None:
    assert dialog is not None
    until(lambda: dialog.go.isEnabled())
    dialog.start()
    until(lambda: "Imported" in dialog._issues.text())
    dialog.go.click()


def test_a_csv_file_becomes_a_table(page: TablesPage, tmp_path: Path, until: Until) -> None:
    source = tmp_path / "harbour.csv"
    source.write_text("id;name;depth\n" + "".join(f"{n};berth {n};{n / 4}\n" for n in range(500)), "utf-8")
    imported(page, page.import_file(source), until)
    until(lambda: page.workspace.model is not None and page.workspace.model.rowCount() == 500)
    model = page.workspace.model
    assert model is not None
    until(lambda: model.index(499, 1).data() == "berth 499")
    assert [column.type for column in model.table.columns] == ["integer", "text", "real"]


def test_a_wrong_value_names_its_line_and_changes_nothing(
    page: TablesPage, tmp_path: Path, until: Until
) -> None:
    source = tmp_path / "bad.csv"
    source.write_text("id,n\n" + "".join(f"{n},{n}\n" for n in range(50_000)) + "x,1\n", "utf-8")
    dialog = page.import_file(source)
    assert dialog is not None
    until(lambda: dialog.go.isEnabled())
    plan = dialog.plan
    assert plan is not None
    plan.tables[0].columns[0].type = "integer"
    dialog.start()
    until(lambda: not dialog.errors.isHidden())
    assert "50002" in dialog.errors._card.words.message.replace(",", "")  # type: ignore[union-attr]
    dialog.close()
    assert page.session is not None
    assert page.session.database.tables.names() == []


def test_sqlite_goes_in_and_comes_out_the_same(page: TablesPage, tmp_path: Path, until: Until) -> None:
    source = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(source)) as made, made:
        made.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL)")
        made.execute("CREATE INDEX by_name ON item (name)")
        made.executemany("INSERT INTO item VALUES (?, ?, ?)", [(n, f"i{n}", n / 8) for n in range(300)])
        made.execute("CREATE TABLE note (item INTEGER, words TEXT, scan BLOB)")
        made.execute("INSERT INTO note VALUES (1, NULL, x'0102')")
    imported(page, page.import_file(source), until)
    until(lambda: len(page._tables) == 2)
    page.export_data()
    dialog = page.findChildren(ExportDialog)[0]
    target = tmp_path / "out.sqlite"
    dialog.show_target(target, "sqlite")
    dialog.start()
    until(lambda: "Wrote" in dialog._said.text())
    dialog.close()
    with closing(sqlite3.connect(source)) as before, closing(sqlite3.connect(target)) as after:
        for table in ("item", "note"):
            query = f"SELECT * FROM {table} ORDER BY 1"
            assert after.execute(query).fetchall() == before.execute(query).fetchall()


def test_what_a_table_without_a_key_cannot_do_is_said_before_it_is_made(
    page: TablesPage, tmp_path: Path, until: Until
) -> None:
    source = tmp_path / "harbour.csv"
    source.write_text("id;name\n1;a\n2;b\n", "utf-8")
    dialog = page.import_file(source)
    assert dialog is not None
    until(dialog.go.isEnabled)
    form = dialog._form
    assert isinstance(form, CsvImportForm)
    until(lambda: form._grid.cellWidget(KEY_LINE, 0) is not None)
    assert not form._keyless.isHidden()
    box = form._grid.cellWidget(KEY_LINE, 0)
    key = box if isinstance(box, QCheckBox) else box.findChild(QCheckBox)
    key.setChecked(True)
    assert form._keyless.isHidden()
    dialog.close()
