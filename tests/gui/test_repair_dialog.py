"""The repair guide, from the list to the closed finding, over databases that were really damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.backups.keys import passphrase
from engine.config import Config
from engine.errors import by_code
from gui.integrity import IntegrityPage
from gui.integrity.repair_dialog import ADVISE, CLOSE, LIST, PREVIEW, RepairDialog
from gui.integrity.salvage_dialog import SalvageDialog
from gui.main_window import MainWindow
from gui.tasks.error_cards import error_card

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]
PAGE = 8192
SHIPS = {
    "name": "ships",
    "columns": [
        {"name": "id", "type": "integer", "declared": "INTEGER", "not_null": True},
        {"name": "name", "type": "text", "declared": "TEXT", "not_null": False},
    ],
    "primary_key": ["id"],
    "indexes": [],
}


def harbour(path: Path, *, forget_log: bool) -> Path:
    """A closed database with a table and its index; `forget_log` leaves no log that reaches back."""
    config = Config().changed(segment_size="1 MiB") if forget_log else Config()
    with engine.open(path, config=config) as db:
        with db.transaction() as txn:
            txn.create_table(json.dumps(SHIPS))
        with db.transaction() as txn:
            txn.table("ships").insert_many([(i, f"ship {i:06d} " + "x" * 40) for i in range(3000)])
            txn.create_index("ships", "ships_name", ["name"])
        if forget_log:
            for _ in range(3):
                db.store.rotate_log()
                db.checkpoint()
    return path


def spoil(path: Path, tree: int) -> int:
    """Writes rubbish into the middle leaf of the table (0) or of its index (1); returns its number."""
    trees: dict[int, list[int]] = {}
    with engine.open(path, create=False) as db:
        for page in range(db.status().pages):
            info = db.store.page_info(page)
            if info["ok"] and info["kind"] == "leaf" and info["tree"] > 1:
                trees.setdefault(info["tree"], []).append(page)
    pages = trees[sorted(trees)[tree]]
    page = pages[len(pages) // 2]
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(page * PAGE + 300)
        file.write(b"what a disk made up!")
    return page


def guided(qtbot: Any, window: MainWindow, until: Until, path: Path) -> tuple[IntegrityPage, RepairDialog]:
    """The guide over the database, after a check."""
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(path)
    page = window.pages["integrity"]
    assert isinstance(page, IntegrityPage)
    window.show_page("integrity")
    page.check()
    until(lambda: page.model.rowCount() > 0 and not page._running)
    page.detail.repair.click()
    (dialog,) = page.findChildren(RepairDialog)
    return page, dialog


def test_a_page_is_repaired_from_the_log_verified_and_closed(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path, watch: Any
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=False)
    spoiled = spoil(path, 0)
    page, dialog = guided(qtbot, window, until, path)
    qtbot.wait(50)
    with watch.watching():
        assert dialog.step == LIST
        dialog.go.click()
        until(lambda: dialog.step == ADVISE)
        chosen = [line for line in range(dialog.advice.model.rowCount()) if _option(dialog, line).is_chosen]
        assert [_option(dialog, line).source for line in chosen] == ["log"]
        dialog.go.click()
        assert dialog.step == PREVIEW
        assert dialog.go.text() == f"Replace page {spoiled}"
        dialog.preview.rehearse.click()
        until(lambda: not dialog.preview.banner.isHidden())
        assert dialog.go.isEnabled()
        dialog.go.click()
        until(lambda: dialog.step == CLOSE)
    assert "Repaired and verified" in dialog.outcome.banner.title()
    until(lambda: page._seen is not None and not page._seen.findings)
    assert page._seen is not None
    assert page._seen.closed[0].page == spoiled
    assert page._repaired.value() == "1"
    dialog.export_to(str(tmp_path / "losses.json"))
    until(lambda: (tmp_path / "losses.json").exists())
    assert json.loads((tmp_path / "losses.json").read_text())["losses"][0]["lost"] == "nothing"
    dialog.accept()


def _option(dialog: RepairDialog, line: int) -> Any:
    record = dialog.advice.model.record(line)
    assert record is not None
    return record[1]


def test_an_index_that_nothing_reaches_is_rebuilt_from_its_table(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    spoil(path, 1)
    _page, dialog = guided(qtbot, window, until, path)
    dialog.go.click()
    until(lambda: dialog.step == ADVISE)
    dialog.go.click()
    assert dialog.go.text() == "Rebuild index ships_name"
    dialog.go.click()
    until(lambda: dialog.step == CLOSE)
    assert "Repaired and verified" in dialog.outcome.banner.title()
    dialog.accept()


def test_where_nothing_reaches_the_guide_says_so_and_repairs_nothing(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    spoil(path, 0)
    _page, dialog = guided(qtbot, window, until, path)
    dialog.go.click()
    until(lambda: dialog.step == ADVISE)
    offered = [_option(dialog, line) for line in range(dialog.advice.model.rowCount())]
    expected = ["memory", "doublewrite", "log", "backup", "mirror", "restore", "salvage"]
    assert [option.source for option in offered] == expected
    assert all(option.why_not for option in offered)
    dialog.advice.view.choose_line(6)
    assert "--fallback salvage --to" in dialog.command.text()
    dialog.go.click()
    assert dialog.command.text().startswith("holdfast repair")
    assert dialog.step == PREVIEW
    assert not dialog.go.isEnabled()
    assert not dialog.preview.rehearse.isEnabled()
    dialog.reject()


def test_a_page_whose_log_is_gone_is_repaired_from_a_backup(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path, preferences: Any
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    with engine.open(path) as db:
        taken = db.backups.full_task(preferences.backup_folder(path)).run()
    spoiled = spoil(path, 0)
    _page, dialog = guided(qtbot, window, until, path)
    dialog.go.click()
    until(lambda: dialog.step == ADVISE)
    offered = [_option(dialog, line) for line in range(dialog.advice.model.rowCount())]
    (chosen,) = [option for option in offered if option.is_chosen]
    assert chosen.source == "backup"
    assert Path(taken.path).name in chosen.restores
    assert chosen.lost == "nothing"
    dialog.go.click()
    assert dialog.go.text() == f"Replace page {spoiled}"
    dialog.go.click()
    until(lambda: dialog.step == CLOSE)
    assert "Repaired and verified" in dialog.outcome.banner.title()
    dialog.accept()


def test_the_guide_asks_for_the_key_of_an_encrypted_backup_and_repairs_from_it(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path, preferences: Any
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    with engine.open(path) as db:
        key = passphrase("a long walk in the hills")
        db.backups.full_task(preferences.backup_folder(path), key=key).run()
    spoiled = spoil(path, 0)
    _page, dialog = guided(qtbot, window, until, path)
    lock = dialog.advice.lock
    assert lock.isHidden()
    dialog.go.click()
    until(lambda: dialog.step == ADVISE and not dialog.bar.isVisible())
    for wrong in (None, "a long walk in the dark"):
        if wrong is not None:
            lock.text.setText(wrong)
            lock.use.click()
            until(lambda: "is not the one" in dialog.advice._locked.text())
        assert lock.isVisible()
        assert lock.kind.currentData() == "passphrase"
        assert not [n for n in range(dialog.advice.model.rowCount()) if _option(dialog, n).is_chosen]
        assert "--passphrase" not in dialog.command.text()
    lock.text.setText("a long walk in the hills")
    lock.use.click()
    until(lambda: any(_option(dialog, n).is_chosen for n in range(dialog.advice.model.rowCount())))
    until(dialog.go.isEnabled)
    assert lock.isHidden()
    assert dialog.advice._locked.isHidden()
    dialog.go.click()
    assert dialog.go.text() == f"Replace page {spoiled}"
    assert dialog.command.text().endswith("--passphrase")
    dialog.go.click()
    until(lambda: dialog.step == CLOSE)
    assert "Repaired and verified" in dialog.outcome.banner.title()
    dialog.accept()


def test_a_verified_backup_is_offered_where_no_source_reaches(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path, preferences: Any
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    with engine.open(path) as db:
        taken = db.backups.full_task(preferences.backup_folder(path)).run()
    spoil(path, 0)
    page, dialog = guided(qtbot, window, until, path)
    dialog.go.click()
    until(lambda: dialog.step == ADVISE)
    backup = next(
        line for line in range(dialog.advice.model.rowCount()) if _option(dialog, line).source == "restore"
    )
    assert _option(dialog, backup).backup == taken.path
    dialog.advice.view.choose_line(backup)
    assert not dialog.advice._restore.isHidden()
    wanted: list[str] = []
    dialog.restore_wanted.connect(wanted.append)
    dialog.restore_wanted.disconnect(page._restore_beside)
    dialog.advice._restore.click()
    assert wanted == [taken.path]
    dialog.reject()


@pytest.mark.parametrize("code", [-20, -21, -22])
def test_the_card_of_damage_leads_to_the_page_of_integrity(
    qtbot: Any, window: MainWindow, tmp_path: Path, code: int
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=False)
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        window.shell.open(path)
    card = error_card(by_code()[code](), "read a page", window._can_do)
    assert card.words.action == "repair"
    card.action_requested.connect(window.shell.action_requested)
    card.action_requested.emit(card.words.action)
    assert window.current_page_id() == "integrity"
    card.deleteLater()


def test_what_can_be_read_is_saved_into_a_new_database_where_nothing_reaches(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    spoil(path, 0)
    page, dialog = guided(qtbot, window, until, path)
    assert page.detail.salvage.isVisible()
    dialog.go.click()
    until(lambda: dialog.step == ADVISE)
    dialog.advice.view.choose_line(6)
    assert dialog.advice.salvage.isVisible()
    dialog.advice.salvage.click()
    (saving,) = page.findChildren(SalvageDialog)
    target = tmp_path / "saved.holdfast"
    saving.place.setText(str(target))
    assert "--fallback salvage --to" in saving.command.text()
    saving.go.click()
    until(lambda: saving.saved.report is not None)
    report = saving.saved.report
    assert report is not None
    assert len(report.damaged_pages) == 1
    assert not report.is_complete
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        saving.go.click()
    assert window.opening.session is not None
    assert window.opening.session.path == target
    rows = window.opening.session.database.tables.info("ships").rows
    assert 2000 < rows < 3000


def test_a_salvage_that_cannot_begin_leaves_the_database_open_and_one_that_is_done_opens_it_again(
    qtbot: Any, window: MainWindow, until: Until, tmp_path: Path
) -> None:
    path = harbour(tmp_path / "harbour.holdfast", forget_log=True)
    spoil(path, 0)
    page, dialog = guided(qtbot, window, until, path)
    dialog.reject()
    page.detail.salvage.click()
    (saving,) = page.findChildren(SalvageDialog)
    saving.place.setText(str(tmp_path))
    saving.go.click()
    until(lambda: not saving.errors.isHidden())
    assert window.opening.session is not None
    assert not window.opening.session.database.is_closed
    saving.place.setText(str(tmp_path / "saved.holdfast"))
    saving.go.click()
    until(lambda: saving.saved.report is not None)
    with qtbot.waitSignal(window.opening.opened, timeout=20_000):
        saving.close_button.click()
    assert window.opening.session.path == path
