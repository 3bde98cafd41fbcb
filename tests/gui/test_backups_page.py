"""Backups and checks from the interface, over a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton

import engine
from engine.backups.emergency import emergency_task
from engine.types import BackupOrigin, TargetState
from gui.backups import BackupsPage
from gui.backups.dialogs import BackupDialog
from gui.backups.restore_dialog import RestoreDialog
from gui.backups.retention_dialog import RetentionDialog
from gui.integrity import IntegrityPage
from gui.main_window import MainWindow
from gui.widgets import ErrorCard, StepState

pytest.importorskip("engine._kernel")

Until = Callable[[Callable[[], bool]], None]
DAY = 86400.0


@pytest.fixture
def filled(window: MainWindow, tmp_path: Path, until: Until) -> MainWindow:
    window.shell.create_requested.emit(tmp_path / "stock.holdfast")
    until(lambda: window.opening.session is not None)
    with database_of(window).transaction() as txn:
        tree = txn.tree("stock")
        for n in range(3000):
            tree[b"%05d" % n] = b"x" * 100
    return window


def database_of(window: MainWindow) -> Any:
    session = window.opening.session
    assert session is not None
    return session.database


def page_of(window: MainWindow) -> BackupsPage:
    page = window.pages["backups"]
    assert isinstance(page, BackupsPage)
    return page


def chosen(page: BackupsPage) -> Path:
    """The directory of the backup that is chosen."""
    kept = page.view.current()
    assert kept is not None
    return Path(kept.info.path)


def states(page: BackupsPage) -> list[StepState]:
    return [step.state for step in page.detail.steps.steps()]


def copies(first: Path, ages_days: list[float]) -> None:
    """Put scheduled backups of these ages beside one."""
    record = json.loads(Path(f"{first}.backup.json").read_text())
    proof = json.loads(Path(f"{first}.proof.json").read_text())
    for number, age in enumerate(ages_days):
        copy = first.with_name(f"full-copy-{number:03d}")
        copy.mkdir()
        (copy / "manifest.json").write_bytes((first / "manifest.json").read_bytes())
        at = time.time() - age * DAY
        Path(f"{copy}.backup.json").write_text(json.dumps({**record, "path": copy.name, "taken_at": at}))
        Path(f"{copy}.proof.json").write_text(json.dumps({**proof, "origin": "scheduled"}))


@pytest.fixture
def with_backup(filled: MainWindow, until: Until) -> MainWindow:
    """The page in view, with one backup that was taken and not rehearsed."""
    database = database_of(filled)
    database.backups.full_task(database.keeper.folder, BackupOrigin.SCHEDULED).run()
    filled.show_page("backups")
    until(lambda: page_of(filled).model.rowCount() == 1)
    return filled


def test_a_backup_is_taken_proved_listed_and_restored(
    filled: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = page_of(filled)
    filled.show_page("backups")
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(tmp_path / "kept"))
    dialog.start()
    until(lambda: "proved" in dialog.banner.title())
    assert [step.state for step in dialog.proof.steps()] == [StepState.DONE] * 4
    dialog.accept()
    until(lambda: page.model.rowCount() == 1 and states(page) == [StepState.DONE] * 4)
    # Where a backup was put by hand, the database looks from now on.
    assert database_of(filled).config.backup_folder == str(tmp_path / "kept")
    page.restore()
    restoring = page.findChildren(RestoreDialog)[0]
    target = tmp_path / "again.holdfast"
    restoring.place.setText(str(target))
    until(restoring.go.isEnabled)
    restoring.start()
    until(lambda: "Restored" in restoring.banner.title())
    restoring.accept()
    with engine.open(target) as restored, restored.transaction() as txn:
        assert len(txn.tree("stock")) == 3000


def test_a_backup_is_encrypted_with_a_key_file_that_is_made_for_it(
    filled: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = page_of(filled)
    filled.show_page("backups")
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(tmp_path / "kept"))
    assert "--key-file" not in dialog.command.text()
    dialog.key.encrypts.setChecked(True)
    dialog.key.file.setText(str(tmp_path / "stock.key"))
    assert "--key-file" in dialog.command.text()
    dialog.start()
    until(lambda: "proved" in dialog.banner.title())
    dialog.accept()
    (taken,) = database_of(filled).keeper.backups()
    assert (taken.info.encryption, taken.info.key_file) == ("key_file", str(tmp_path / "stock.key"))
    page.restore()
    restoring = page.findChildren(RestoreDialog)[0]
    target = tmp_path / "again.holdfast"
    restoring.place.setText(str(target))
    until(restoring.go.isEnabled)
    (tmp_path / "stock.key").rename(tmp_path / "away.key")
    restoring.start()
    until(lambda: not restoring.errors.isHidden())
    assert not target.exists()
    (tmp_path / "away.key").rename(tmp_path / "stock.key")
    restoring.start()
    until(lambda: "Restored" in restoring.banner.title())
    restoring.accept()


def test_a_backup_that_was_not_rehearsed_is_not_called_proved(filled: MainWindow, until: Until) -> None:
    page = page_of(filled)
    filled.show_page("backups")
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.rehearses.setChecked(False)
    dialog.start()
    until(lambda: bool(dialog.banner.title()))
    assert "proved" not in dialog.banner.title()
    done, waits = StepState.DONE, StepState.WAITING
    assert [step.state for step in dialog.proof.steps()] == [done, done, waits, waits]
    dialog.accept()


def test_an_increment_is_offered_on_top_of_the_newest_backup(with_backup: MainWindow, until: Until) -> None:
    with database_of(with_backup).transaction() as txn:
        txn.tree("stock")[b"later"] = b"in the increment"
    page = page_of(with_backup)
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    assert not dialog.adds.isHidden()
    dialog.adds.setChecked(True)
    assert "changed" in dialog.go.text()
    dialog.start()
    until(lambda: "proved" in dialog.banner.title())
    dialog.accept()
    until(lambda: page.model.rowCount() == 2)
    kept = page.model.record(0)
    assert kept is not None
    assert kept.parent == page.model.record(1).name  # type: ignore[union-attr]


def test_a_backup_into_the_database_itself_is_refused_with_a_card(filled: MainWindow, until: Until) -> None:
    page = page_of(filled)
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(database_of(filled).path / "inside"))
    dialog.start()
    until(lambda: not dialog.errors.isHidden())
    dialog.reject()


def test_a_rehearsal_fills_the_four_steps(with_backup: MainWindow, until: Until, watch: Any) -> None:
    page = page_of(with_backup)
    done, waits = StepState.DONE, StepState.WAITING
    assert states(page) == [done, done, waits, waits]
    with watch.watching():
        page.rehearse()
        until(lambda: states(page) == [done] * 4)
    assert page.tiles._proved.value() != "never"


def test_a_damaged_backup_is_told_as_a_card_and_its_step_has_failed(
    with_backup: MainWindow, until: Until
) -> None:
    page = page_of(with_backup)
    victim = chosen(page) / "pages.zst"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    page.rehearse()
    until(lambda: not page.errors.isHidden())
    card = page.errors.findChild(ErrorCard)
    assert card is not None
    assert card.words.code == -62
    until(lambda: StepState.FAILED in states(page))


def test_a_restore_shows_what_will_be_there_and_where_before_it_writes(
    with_backup: MainWindow, tmp_path: Path, until: Until
) -> None:
    with database_of(with_backup).transaction() as txn:
        for n in range(3000, 3010):
            txn.tree("stock")[b"%05d" % n] = b"later"
    page = page_of(with_backup)
    page.restore()
    dialog = page.findChildren(RestoreDialog)[0]
    until(lambda: dialog.rows.record(0) == ("stock", 3000, 3010))
    assert dialog.rows.index(0, 3).data() == "−10"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("dear reader")
    dialog.place.setText(str(taken))
    until(lambda: dialog.preview is not None and dialog.preview.target is TargetState.NOT_EMPTY)
    assert not dialog.go.isEnabled()
    dialog.place.setText(str(tmp_path / "new.holdfast"))
    until(dialog.go.isEnabled)
    assert not (tmp_path / "new.holdfast").exists()
    dialog.reject()


def test_a_backup_is_removed_after_a_question_only(with_backup: MainWindow, until: Until) -> None:
    page = page_of(with_backup)
    folder = page.folder
    page.detail.remove.click()
    assert not page._question.isHidden()
    page._question._dismiss()
    assert len(list(folder.iterdir())) == 3
    page.detail.remove.click()
    page._question._confirm()
    until(lambda: page.model.rowCount() == 0 and list(folder.iterdir()) == [])
    until(lambda: page._stack.currentIndex() == 0)


def test_what_retention_would_remove_is_shown_before_it_goes(with_backup: MainWindow, until: Until) -> None:
    page = page_of(with_backup)
    copies(chosen(page), [float(age) for age in range(1, 31)])
    page.refresh()
    until(lambda: page.model.rowCount() == 31)
    page.show_retention()
    dialog = page.findChildren(RetentionDialog)[0]
    until(lambda: dialog.plan is not None)
    dialog.rules["keep_last_backups"].setValue(2)
    for name in ("keep_daily_backups", "keep_weekly_backups", "keep_monthly_backups"):
        dialog.rules[name].setValue(0)
    until(lambda: dialog.plan is not None and len(dialog.plan.removed) == 29)
    assert dialog.model.index(0, 4).data() == "would go"
    assert page.model.rowCount() == 31, "shown, not done"
    assert "29" in dialog.remove.text()
    dialog.remove.click()
    until(lambda: page.model.rowCount() == 2)
    dialog.reject()


def test_an_emergency_backup_is_counted_beside_the_others_and_never_offered_for_removal(
    with_backup: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = page_of(with_backup)
    with engine.open(tmp_path / "hurt.holdfast"):
        pass
    emergency_task(tmp_path / "hurt.holdfast", page.folder).run()
    page.refresh()
    until(lambda: "1 emergency" in page.tiles._count.accessibleName())
    assert page.model.rowCount() == 1
    page.show_retention()
    dialog = page.findChildren(RetentionDialog)[0]
    until(lambda: dialog.plan is not None)
    assert dialog.model.rowCount() == 1
    dialog.reject()


def test_a_schedule_is_chosen_on_the_page_and_its_next_run_is_told(
    with_backup: MainWindow, until: Until
) -> None:
    page = page_of(with_backup)
    assert "by itself" in page.schedule.next_words()
    page.schedule.changed.emit({"backup_schedule": "daily", "backup_time": "03:15"})
    until(lambda: "03:15" in page.schedule.next_words())
    assert database_of(with_backup).config.backup_schedule == "daily"
    until(lambda: page.schedule.kind.currentData() == "daily")
    page.schedule.changed.emit({"backup_schedule": "off"})
    until(lambda: "by itself" in page.schedule.next_words())


def test_a_scheduled_backup_is_among_the_jobs(with_backup: MainWindow, until: Until) -> None:
    database, page = database_of(with_backup), page_of(with_backup)
    began = time.time()
    database.keeper.change(backup_schedule="interval", backup_interval="1 h")
    # The first moments after an opening are over.
    database.keeper._opened -= 3600
    database.keeper._wake.set()
    until(lambda: [job.name for job in with_backup.jobs.all() if job.is_over] == ["Scheduled backup"])
    until(lambda: page.model.rowCount() == 2)
    page.view.choose_line(0)
    until(lambda: states(page) == [StepState.DONE] * 4)
    assert database.keeper.standing().proved_at > began


def test_a_folder_that_is_gone_is_a_card_with_a_button_that_acts(
    with_backup: MainWindow, tmp_path: Path, until: Until
) -> None:
    database, page = database_of(with_backup), page_of(with_backup)
    stick = tmp_path / "stick"
    database.keeper.change(backup_folder=str(stick / "chain"))
    database.keeper._run_scheduled()
    stick.rename(tmp_path / "pulled out")
    database.keeper._run_scheduled()
    until(lambda: not page.errors.isHidden())
    until(lambda: with_backup.status_strip._backup.text() == "Backup failed")
    card = page.errors.findChild(ErrorCard)
    assert card is not None
    assert card.words.code == -67
    next(b for b in card.findChildren(QPushButton) if b.text() == "Choose another folder").click()
    (asks,) = page.findChildren(QFileDialog)
    asks.reject()
    page.use_folder(str(tmp_path / "other"))
    until(lambda: page.folder == tmp_path / "other")
    # Settled: the card goes, and does not come back.
    until(lambda: page.errors.isHidden() and with_backup.status_strip._backup.text() != "Backup failed")


def test_the_line_of_time_is_worked_with_keys_and_leads_to_the_list(
    with_backup: MainWindow, qtbot: Any, until: Until
) -> None:
    page = page_of(with_backup)
    copies(chosen(page), [1.0, 2.0])
    page.refresh()
    until(lambda: page.model.rowCount() == 3)
    newest = chosen(page)
    qtbot.keyClick(page.time_line, Qt.Key.Key_Left)
    assert chosen(page) != newest
    qtbot.keyClick(page.time_line, Qt.Key.Key_Right)
    assert chosen(page) == newest
    point, oldest = page.time_line.marks()[0]
    qtbot.mouseClick(page.time_line, Qt.MouseButton.LeftButton, pos=point.toPoint())
    assert chosen(page) == Path(oldest.info.path)


def test_three_hundred_backups_never_block_the_interface(
    with_backup: MainWindow, until: Until, watch: Any
) -> None:
    page = page_of(with_backup)
    copies(chosen(page), [n / 3 for n in range(1, 300)])
    with watch.watching():
        page.refresh()
        until(lambda: page.model.rowCount() == 300)
        with_backup.show_page("overview")
        with_backup.show_page("backups")
        page.view.choose_line(150)
        until(lambda: chosen(page).name == "full-copy-149")


def test_moving_the_slider_draws_nothing_else_again(with_backup: MainWindow, until: Until) -> None:
    page = page_of(with_backup)
    copies(chosen(page), [1, 2, 3])
    page.refresh()
    until(lambda: page.model.rowCount() == 4)
    until(lambda: page.time_line.moments.line is not None)
    line = page.time_line
    line.go_to(0)
    ground = line._drawn_ground()
    line.go_to(2)
    assert line._drawn_ground() is ground
    line.show_backups(line._backups[:2], None)
    assert line._drawn_ground() is not ground


def test_a_database_without_a_proved_backup_is_told_on_the_overview_with_a_button(
    filled: MainWindow, until: Until
) -> None:
    database = database_of(filled)
    database.keeper.standing()
    database.keeper._memory.since -= 30 * DAY
    filled.show_page("overview")
    overview: Any = filled.pages["overview"]

    def offered() -> list[QPushButton]:
        found = overview.health.findChildren(QPushButton)
        return [made for made in found if made.text() == "Back up now…" and made.isVisible()]

    until(lambda: bool(offered()))
    until(lambda: filled.status_strip._backup.text() == "No backup")
    offered()[0].click()
    assert filled.current_page_id() == "backups"
    (dialog,) = page_of(filled).findChildren(BackupDialog)
    dialog.reject()


def test_settings_that_another_page_changed_are_not_overwritten(
    with_backup: MainWindow, until: Until
) -> None:
    database = database_of(with_backup)
    database.keeper.change(keep_last_backups=3)
    with_backup.show_page("settings")
    settings: Any = with_backup.pages["settings"]
    until(lambda: settings.database.lines["keep_last_backups"].value() == 3)
    settings.database.lines["keep_daily_backups"]._editor.setText("9")
    settings.database.lines["keep_daily_backups"]._has_edited()
    settings.database.save.click()
    until(lambda: database.config.keep_daily_backups == 9)
    assert database.config.keep_last_backups == 3


def test_a_sound_database_is_found_sound(filled: MainWindow, until: Until) -> None:
    page = filled.pages["integrity"]
    assert isinstance(page, IntegrityPage)
    filled.show_page("integrity")
    page.check()
    until(lambda: page._stack.currentIndex() == 1)
    assert page.model.rowCount() == 0
    assert page._records.value() != "–"


def test_a_backup_that_fails_in_another_folder_leaves_the_folder_of_backups_where_it_was(
    filled: MainWindow, tmp_path: Path, until: Until
) -> None:
    page = page_of(filled)
    filled.show_page("backups")
    before = database_of(filled).keeper.folder
    in_the_way = tmp_path / "notes.txt"
    in_the_way.write_text("no folder")
    page.back_up()
    dialog = page.findChildren(BackupDialog)[0]
    dialog.place.setText(str(in_the_way / "backups"))
    dialog.start()
    until(lambda: not dialog.errors.isHidden())
    assert database_of(filled).keeper.folder == before
    assert filled.preferences.chosen_backup_folder(database_of(filled).path) is None
    dialog.close()
