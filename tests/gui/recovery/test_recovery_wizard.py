"""The guide through a recovery: ways out, rehearsal, running, proof, history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QPushButton

import engine
from engine import bridge, errors
from engine.backups.backup import list_backups
from engine.backups.keys import passphrase
from engine.recovery import history, stages
from engine.recovery.choices import ChoiceKind
from gui.backups.emergency_dialogs import EmergencyDialog
from gui.main_window import MainWindow
from gui.recovery.page import EVIDENCE, FAILED, PROOF, QUIET, RUNNING, SAVED, RecoveryPage
from tests.gui.recovery.guide import ROOT, WRITER, Until, card, fail_in, guide, hashes, is_idle, shown

# Ways out


def test_a_crash_offers_its_ways_with_their_costs_and_advises_the_one_that_loses_nothing(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, watch: Any
) -> None:
    before = hashes(crashed)
    with watch.watching():
        guide(window, page, crashed, until)
        page.show_ways()
        until(lambda: bool(page.ways.cards))
    kinds = [card.choice.kind for card in page.ways.cards]
    assert kinds == [
        ChoiceKind.RECOVER,
        ChoiceKind.OPEN_NOW,
        ChoiceKind.READ_ONLY,
        ChoiceKind.LAST_VALID,
        ChoiceKind.SALVAGE,
    ]
    assert all(card.choice.cost for card in page.ways.cards)
    chosen = page.ways.current()
    assert chosen is not None
    assert chosen.kind is ChoiceKind.RECOVER
    assert chosen.is_advised
    assert page.foot.rehearse in page.foot.shown()
    assert hashes(crashed) == before


def test_a_database_is_opened_now_and_recovered_in_the_background_which_cannot_be_taken_back(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    guide(window, page, crashed, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.OPEN_NOW)
    assert "cannot be rolled back" in page.ways.current().cost  # type: ignore[union-attr]
    assert page.foot.start.text() == "Open now"
    assert page.foot.rehearse not in page.foot.shown()
    page.start()
    until(lambda: window.opening.session is not None)
    session = window.opening.session
    assert session is not None
    assert session.database.recovery_report.on_demand
    with session.database.transaction(read_only=True) as txn:
        assert len(txn.tree("t")) > 0
    session.close()
    until(lambda: window.opening.session is None)
    assert engine.inspect(crashed).indicators == ()


def test_a_backup_is_offered_where_there_is_one_and_restored_through_the_dialog_filled_in(
    window: MainWindow, page: RecoveryPage, rolled: Path, until: Until
) -> None:
    (info,) = list_backups(window.preferences.backup_folder(rolled))
    # What the log would add to it is gone.
    for segment in (rolled / "wal").glob("*.wal"):
        segment.unlink()
    guide(window, page, rolled, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    assert ChoiceKind.BACKUP in [card.choice.kind for card in page.ways.cards]
    page.ways.choose(ChoiceKind.BACKUP)
    assert "after" in page.ways.current().cost  # type: ignore[union-attr]
    page.start()
    until(lambda: any(type(w).__name__ == "RestoreDialog" for w in page.children()))
    dialog: Any = next(w for w in page.children() if type(w).__name__ == "RestoreDialog")
    assert str(dialog._source) == info.path
    assert dialog.path() == rolled.with_name("rolled restored.holdfast")
    dialog.close()


def test_a_backup_is_found_in_the_folder_that_the_settings_of_the_database_name(
    window: MainWindow, page: RecoveryPage, rolled: Path, until: Until, tmp_path: Path
) -> None:
    named = tmp_path / "kept far away"
    window.preferences.backup_folder(rolled).rename(named)
    (rolled / "reliability.toml").write_text(f"backup_folder = {str(named)!r}\n", "utf-8")
    (info,) = list_backups(named)
    guide(window, page, rolled, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.BACKUP)
    assert str(named) in page.foot.command.text()
    page.remedies.restore()
    until(lambda: any(type(w).__name__ == "RestoreDialog" for w in page.children()))
    dialog: Any = next(w for w in page.children() if type(w).__name__ == "RestoreDialog")
    assert str(dialog._source) == info.path
    dialog.close()
    page.foot.copy_first.click()
    until(lambda: bool(page.findChildren(EmergencyDialog)))
    (copies,) = page.findChildren(EmergencyDialog)
    assert copies.path() == named
    copies.close()


@pytest.fixture
def rolled(tmp_path: Path, window: MainWindow) -> Path:
    """A killed database with a backup, and one commit after it."""
    path = tmp_path / "rolled.holdfast"
    folder = window.preferences.backup_folder(path)
    program = WRITER.replace(
        "    loser =",
        "    database.backups.full_task(sys.argv[2]).run()\n"
        "    with database.transaction() as txn:\n"
        "        txn.tree('t')[b'after the backup'] = b'1'\n"
        "    loser =",
    )
    command = [sys.executable, "-c", textwrap.dedent(program), str(path), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        child.kill()
    return path


def test_a_restored_database_says_what_may_be_missing_where_the_log_is_damaged(
    window: MainWindow, page: RecoveryPage, rolled: Path, until: Until
) -> None:
    guide(window, page, rolled, until)
    page.work.trouble = errors.WalCorrupted(details="beyond", suggested_action="x")
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.BACKUP)
    page.start()
    until(is_idle(page, PROOF))
    assert page.proof.report is not None
    assert "is not in it" in page.proof.report.lost[0]["detail"]


def test_a_backup_is_rolled_forward_with_the_log_that_is_kept(
    window: MainWindow, page: RecoveryPage, rolled: Path, until: Until, tmp_path: Path
) -> None:
    path = rolled
    before = hashes(path)
    guide(window, page, path, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.BACKUP)
    way = page.ways.current()
    assert way is not None
    assert "roll forward" in way.title
    assert "1 commit " in way.does
    assert "restore" in page.foot.command.text()
    assert "--to-end --log" in page.foot.command.text()
    page.start()
    until(is_idle(page, PROOF))
    assert "rolled forward" in page.proof.title()
    assert hashes(path) == before
    page.foot.open.click()
    until(lambda: window.opening.session is not None)
    database = window.opening.session.database  # type: ignore[union-attr]
    assert database.path == tmp_path / "rolled restored.holdfast"
    with database.transaction(read_only=True) as txn:
        assert txn.tree("t")[b"after the backup"] == b"1"
        assert len(txn.tree("t")) == 1001


def test_a_backup_that_needs_a_key_says_why_no_log_is_applied_and_how_it_is(
    window: MainWindow, page: RecoveryPage, tmp_path: Path, until: Until
) -> None:
    path = tmp_path / "locked.holdfast"
    folder = window.preferences.backup_folder(path)
    with engine.open(path) as database, database.transaction() as txn:
        txn.tree("t")[b"key"] = b"value"
    with engine.open(path) as database:
        database.backups.full_task(folder, key=passphrase("a long walk in the hills")).run()
    (path / ".clean_shutdown").unlink()
    guide(window, page, path, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.BACKUP)
    way = page.ways.current()
    assert way is not None
    assert "roll forward" not in way.title
    assert "It is encrypted" in way.cost
    assert f'holdfast restore "{folder}" NEW --to-end --log "{path}" --passphrase' in way.cost


def test_a_damaged_log_says_what_is_lost_and_advises_the_last_valid_record(
    window: MainWindow, page: RecoveryPage, damaged: Path, until: Until
) -> None:
    guide(window, page, damaged, until)
    assert card(page).words.code == -71
    assert page.foot.ways_first in page.foot.shown()
    assert page.foot.start not in page.foot.shown()
    # Another attempt would end in the same way, and the card offers none.
    assert "Try again" not in [button.text() for button in card(page).findChildren(QPushButton)]
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    assert page.ways.current().kind is ChoiceKind.LAST_VALID  # type: ignore[union-attr]
    page.rehearse()
    until(is_idle(page, PROOF))
    assert "loses what is listed" in page.proof.title()
    page.start()
    until(lambda: window.opening.session is not None)
    report = window.opening.session.database.recovery_report  # type: ignore[union-attr]
    assert report.lost[0]["lost_commits"] > 0
    until(lambda: "lost" in page.proof.title() and "Rehearsed" not in page.proof.title())
    until(lambda: page.header.state.text() == "recovered, with losses")


def test_a_way_that_fails_leads_to_the_ones_that_are_left(
    window: MainWindow, page: RecoveryPage, damaged: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide(window, page, damaged, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    fail_in(monkeypatch, "WAL Validation", errors.WalCorrupted(details="more damage", suggested_action="x"))
    page.rehearse()
    until(is_idle(page, FAILED))
    monkeypatch.undo()
    page.foot.ways_first.click()
    until(lambda: bool(page.ways.cards))
    assert page.ways.current().kind is ChoiceKind.SALVAGE  # type: ignore[union-attr]


def test_a_failure_that_could_not_be_taken_back_says_that_what_was_done_stays(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    (crashed / "reliability.toml").write_text("enable_recovery_rollback = false\n")
    guide(window, page, crashed, until)
    fail_in(monkeypatch, "Consistency Validation", errors.DiskFull(path="wal"))
    page.start()
    until(is_idle(page, FAILED))
    assert card(page).words.code == -74
    assert "what was done stays" in page.failure.back_words.text()
    monkeypatch.undo()
    page.foot.again.click()
    until(lambda: shown(page) == EVIDENCE and page.work.plan is not None)
    page.start()
    until(lambda: window.opening.session is not None)


def test_a_damaged_database_is_opened_read_only_and_stays_as_it_was(
    window: MainWindow, page: RecoveryPage, damaged: Path, until: Until
) -> None:
    before = hashes(damaged)
    guide(window, page, damaged, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.READ_ONLY)
    page.start()
    until(lambda: window.opening.session is not None and shown(page) == PROOF)
    assert "read-only" in page.proof.title()
    session = window.opening.session
    assert session is not None
    with pytest.raises(errors.HoldfastError), session.database.transaction() as txn:
        txn.tree("t")[b"new"] = b"x"
    session.close()
    until(lambda: window.opening.session is None)
    assert hashes(damaged) == before


def test_a_salvage_ends_with_what_was_saved_and_what_was_not(
    window: MainWindow, page: RecoveryPage, damaged: Path, until: Until, tmp_path: Path
) -> None:
    before = hashes(damaged)
    guide(window, page, damaged, until)
    page.show_ways()
    until(lambda: bool(page.ways.cards))
    page.ways.choose(ChoiceKind.SALVAGE)
    page.ways.target.setText(str(tmp_path / "saved.holdfast"))
    page.start()
    until(is_idle(page, SAVED))
    assert page.saved.report is not None
    assert page.saved.report.lost_commits > 0
    assert hashes(damaged) == before
    page.show_data()
    until(lambda: window.opening.session is not None)
    with window.opening.session.database.transaction(read_only=True) as txn:  # type: ignore[union-attr]
        assert len(txn.tree("t")) > 0


# Rehearsals


def test_a_rehearsal_changes_nothing_and_its_plan_is_then_carried_out(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, watch: Any
) -> None:
    before = hashes(crashed)
    with watch.watching():
        guide(window, page, crashed, until)
        page.rehearse()
        until(is_idle(page, PROOF))
    assert hashes(crashed) == before
    assert "loses nothing" in page.proof.title()
    assert page.work.plan_hash in page.foot.command.text()
    rehearsed = page.proof.report
    page.start()
    until(lambda: window.opening.session is not None)
    report = window.opening.session.database.recovery_report  # type: ignore[union-attr]
    assert report.redo["applied"] == rehearsed.redo["applied"]  # type: ignore[union-attr]
    assert report.undo["records"] == 300


def test_a_second_click_begins_nothing_twice(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    guide(window, page, crashed, until)
    page.rehearse()
    page.rehearse()
    page.start()
    page.show_ways()
    until(is_idle(page, PROOF))
    assert [job.name for job in window.jobs.all()] == ["Recovery plan", "Recovery rehearsal"]
    page.start()
    page.start()
    until(lambda: window.opening.session is not None)
    assert [job.name for job in window.jobs.all()][2:] == ["Recovery"]


def test_what_waits_to_be_put_in_place_is_dropped_when_another_database_is_looked_at(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    before = hashes(crashed)
    guide(window, page, crashed, until)
    page.foot.stop_before.setChecked(True)
    page.start()
    until(is_idle(page, PROOF))
    assert page.work.is_prepared
    page.leave()
    until(lambda: engine.inspect(crashed).holder is None)
    assert hashes(crashed) == before


def test_a_plan_that_no_longer_fits_is_refused_and_rehearsed_again(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    guide(window, page, crashed, until)
    page.rehearse()
    until(is_idle(page, PROOF))
    os.utime(crashed / "database.holdfast", ns=(1, 1))
    page.start()
    until(is_idle(page, FAILED))
    assert card(page).words.code == -68
    assert "not lost" in page.failure.banner.title()
    card(page).action_requested.emit("retry")
    until(is_idle(page, PROOF))
    page.start()
    until(lambda: window.opening.session is not None)


def test_a_recovery_can_be_looked_at_before_it_is_put_in_place(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    before = hashes(crashed)
    guide(window, page, crashed, until)
    page.foot.stop_before.setChecked(True)
    page.start()
    until(is_idle(page, PROOF))
    assert page.unsaved()
    assert page.foot.shown() == [page.foot.roll_back, page.foot.install]
    page.foot.roll_back.click()
    until(is_idle(page, FAILED))
    assert "byte for byte as it was" in page.failure.back_words.text()
    assert hashes(crashed) == before
    page.foot.again.click()
    until(lambda: shown(page) == EVIDENCE and page.work.plan is not None)
    page.start()
    until(is_idle(page, PROOF))
    page.foot.install.click()
    until(lambda: window.opening.session is not None and "complete" in page.proof.title())


# Running


def test_the_lanes_name_the_losers_and_say_whether_it_is_safe_to_cancel(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    seen: list[str] = []
    page.work.progressed.connect(lambda _progress: seen.append(page.theatre.safety()))
    guide(window, page, crashed, until)
    page.start()
    assert shown(page) in (EVIDENCE, RUNNING)
    until(lambda: window.opening.session is not None)
    assert any("Safe to cancel" in words for words in seen)
    assert len(page.theatre._losers.names()) == 1
    words = {name: shown.words() for name, shown in page.theatre.passes.items()}
    assert all(text.startswith("done") for text in words.values())
    assert "records" in words["analysis"]
    assert "pages" in words["redo"]
    assert "300 changes" in words["undo"]


def test_a_cancelled_recovery_answers_at_once_and_leaves_every_byte_as_it_was(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(crashed)
    guide(window, page, crashed, until)

    def waits(context: stages.RecoveryContext, job: bridge.Job) -> stages.Metrics:
        begun.append(job)
        while not job.cancelled:
            pass
        raise errors.Cancelled(operation="recovery")

    begun: list[bridge.Job] = []
    changed = list(stages.STAGES)
    changed[8] = replace(changed[8], run=waits)
    monkeypatch.setattr("engine.recovery.execution.STAGES", tuple(changed))
    page.start()
    until(lambda: bool(begun))
    page.cancel()
    assert "Cancelling" in page.theatre.now()
    until(is_idle(page, FAILED))
    assert "nothing was changed" in page.failure.banner.title()
    assert hashes(crashed) == before


def test_a_recovery_can_be_stopped_while_it_is_put_in_place_and_the_window_says_what_follows(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide(window, page, crashed, until)

    def waits(context: stages.RecoveryContext, job: bridge.Job) -> stages.Metrics:
        context.is_decided = True
        context.rollback.settle()
        begun.append(job)
        while not job.cancelled:
            pass
        raise errors.Cancelled(operation="Recovery", left="The next opening does the rest.")

    begun: list[bridge.Job] = []
    changed = list(stages.STAGES)
    changed[11] = replace(changed[11], run=waits)
    monkeypatch.setattr("engine.recovery.execution.STAGES", tuple(changed))
    page.start()
    until(lambda: bool(begun) and "not taken back" in page.theatre.safety())
    assert page.theatre.cancel.isEnabled()
    page.theatre.cancel.click()
    until(is_idle(page, FAILED))
    assert "Stopped while it was being put in place" in page.failure.banner.title()
    assert "The next opening puts the rest in place" in page.failure.back_words.text()
    assert "byte for byte" not in page.failure.back_words.text()


# Afterwards


def test_the_proof_is_exported_and_the_recovery_is_kept_in_the_history(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until, tmp_path: Path
) -> None:
    guide(window, page, crashed, until)
    page.start()
    until(lambda: window.opening.session is not None and shown(page) == PROOF)
    target = tmp_path / "ledger.txt"
    page.export(target)
    until(target.exists)
    text = target.read_text()
    assert "Nothing that was committed." in text
    assert "300 changes" in text
    assert "no problem" in text
    page.show_past()
    until(lambda: page.past.model.rowCount() == 1)
    assert shown(page) == QUIET
    assert page.past.stages.rowCount() == 12
    assert "of memory" in page.past.summary()


def test_a_damaged_history_is_shown_as_far_as_it_can_be_read(
    window: MainWindow, page: RecoveryPage, crashed: Path, until: Until
) -> None:
    engine.open(crashed, create=False).close()
    file = crashed / history.FILE_NAME
    assert json.loads(file.read_text())["report"]["outcome"] == "succeeded"
    file.write_bytes(b"rubbish\n" + file.read_bytes())
    window.shell.open(crashed)
    until(lambda: page.past.model.rowCount() == 1)
    assert "1 damaged line" in page.past.note()
