"""Each of the fourteen recovery errors, as the engine raises it for its real cause (`recovery_causes`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.backups.restore import restore_task
from engine.catalogue import entries
from engine.recovery.manager import RecoveryManager
from tests.recovery_causes import CAUSES, Cause, PutRight, Through
from tests.recovery_originals import PARTS, ROWS, Originals, whole

EXCEPTED = ("LOCK", "recovery.state", "recovery.blocks", "recoveries.jsonl", "audit.log")


def attempt(path: Path, through: Through) -> None:
    """Meet the cause, in the way that it is met."""
    if through is Through.OPEN:
        engine.open(path, create=False).close()
    elif through is Through.REHEARSE:
        RecoveryManager(path).rehearse()
    else:
        manager = RecoveryManager(path)
        manager.run()
        manager.take_store().close()


def hashes(path: Path) -> dict[str, str]:
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in EXCEPTED)
    return {str(file.relative_to(path)): hashlib.blake2b(file.read_bytes()).hexdigest() for file in files}


def assert_whole(path: Path) -> None:
    with engine.open(path, create=False) as db, db.transaction(read_only=True) as txn:
        assert whole(txn.tree("t"), txn.tree("later"))
        assert len(txn.tree("loser")) == 0 if "loser" in db.trees() else True


def test_each_code_has_a_cause() -> None:
    assert [cause.code for cause in CAUSES] == list(range(-70, -84, -1))
    for cause in CAUSES:
        assert set(cause.fields) == set(entries()[cause.code].fields), cause


@pytest.mark.parametrize("cause", CAUSES, ids=str)
def test_it_arises_carries_its_fields_and_answers_and_is_put_right(
    cause: Cause, originals: Originals, tmp_path: Path
) -> None:
    if cause.missing:
        pytest.skip(cause.missing)
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with cause.fault(path):
        before = hashes(path) if cause.code not in (-73, -80) else {}
        with pytest.raises(errors.HoldfastError) as caught:
            attempt(path, cause.through)
        # It has changed nothing, unless somebody else is at work there.
        assert hashes(path) == before or not before
    error = caught.value
    assert error.code == cause.code, error
    assert set(cause.fields) <= set(error.fields)
    for name, is_right in cause.fields.items():
        assert is_right(error.fields[name]), (name, error.fields[name])
    answers = (error.is_critical_recovery_failure(), error.is_retryable(), error.is_recoverable())
    assert answers == cause.answers
    if cause.caused_by:
        assert isinstance(error.__cause__, errors.HoldfastError)
        assert error.__cause__.code == cause.caused_by
    if cause.put_right is PutRight.AGAIN:
        attempt(path, Through.RUN if cause.through is Through.REHEARSE else cause.through)
        assert_whole(path)
        return
    restored = restore_task(tmp_path / "backups", tmp_path / "restored.holdfast").run().path
    with engine.open(restored, create=False) as db, db.transaction(read_only=True) as txn:
        assert len(txn.tree("t")) == ROWS
        assert db.check().ok


@pytest.mark.parametrize("code", [-75, -83])
def test_for_real_it_is_the_cause_of_a_failure_that_was_taken_back(
    code: int, originals: Originals, tmp_path: Path
) -> None:
    cause = next(cause for cause in CAUSES if cause.code == code)
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with cause.fault(path):
        before = hashes(path)
        with pytest.raises(errors.PartialRecoveryFailure) as caught:
            attempt(path, Through.RUN)
    assert isinstance(caught.value.__cause__, errors.HoldfastError)
    assert caught.value.__cause__.code == code
    assert caught.value.fields["rollback_available"] is True
    assert hashes(path) == before


def stopped_by(cause: errors.HoldfastError, *, rollback_available: bool = True) -> errors.HoldfastError:
    failure = errors.PartialRecoveryFailure(
        completed_stages=["WAL Validation"],
        failed_stage="Transaction Recovery",
        cause="x",
        rollback_available=rollback_available,
    )
    failure.__cause__ = cause
    return failure


def test_a_recovery_that_would_stop_again_says_what_helps_against_its_cause() -> None:
    cause = errors.RecoveryVerificationFailed(check_name="pages", details="page 3", critical=True)
    failure = stopped_by(cause)
    words, known = failure.as_card(), cause.as_card()
    assert (words.code, words.title) == (-74, errors.PartialRecoveryFailure().title)
    assert words.answers == known.answers
    assert (words.action, words.suggested_action) == (known.action, known.suggested_action)
    assert not failure.is_retryable()
    assert failure.is_critical_recovery_failure()


def test_a_recovery_that_may_go_on_once_its_cause_is_removed_says_so() -> None:
    short = errors.InsufficientResources(resource="disk", required=3 << 20, available=1 << 20, unit="bytes")
    failure = stopped_by(short)
    assert failure.as_card().action == "recover"
    assert failure.is_retryable()
    assert not failure.is_critical_recovery_failure()
    assert stopped_by(short, rollback_available=False).is_critical_recovery_failure()


def test_what_is_short_is_told_as_people_say_it() -> None:
    short = errors.InsufficientResources(resource="disk", required=3 << 30, available=5 << 20, unit="bytes")
    assert short.title == "There is not enough disk space"
    assert short.message == "Not enough disk space: 3 GiB needed, 5 MiB available."
    assert short.fields["required"] == 3 << 30
    handles = errors.InsufficientResources(resource="file handles", required=64, available=9, unit="handles")
    assert handles.message == "Not enough file handles: 64 needed, 9 available."
    # On the way it is not known how much more there would have been to write.
    unknown = errors.InsufficientResources(resource="disk space", required=None, available=None)
    assert unknown.message == "Not enough disk space."


def test_a_folder_of_the_log_that_is_a_file_is_told_as_what_recovery_needs(
    originals: Originals, tmp_path: Path
) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    (path / "wal").rename(path / "aside")
    (path / "wal").write_bytes(b"")
    with pytest.raises(errors.RecoveryDependencyError) as caught:
        RecoveryManager(path)
    assert isinstance(caught.value.__cause__, errors.IoError)
    (path / "wal").unlink()
    (path / "aside").rename(path / "wal")
    attempt(path, Through.RUN)
    assert_whole(path)


def test_a_program_that_only_has_it_open_is_not_taken_for_a_recovery(
    originals: Originals, tmp_path: Path
) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with engine.open(path), pytest.raises(errors.DatabaseOpenElsewhere):
        engine.open(path)


def test_what_was_committed_after_the_backup_is_what_a_recovery_adds(
    originals: Originals, tmp_path: Path
) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    report = RecoveryManager(path).rehearse()
    assert report.analysis["committed"] > 200
    # The tree that it made is a change of the catalogue.
    assert report.analysis["losers"][0]["changes"] == 301
    assert report.redo["applied"] > 200 * PARTS


def test_what_keeps_a_plan_from_being_made_names_its_cause(originals: Originals, tmp_path: Path) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with engine.open(path), pytest.raises(errors.DatabaseLocked) as caught:
        RecoveryManager(path).plan()
    assert isinstance(caught.value.__cause__, errors.DatabaseOpenElsewhere)


def test_a_marker_that_cannot_be_cleared_away_does_not_make_a_failure_of_what_is_in_place(
    originals: Originals, tmp_path: Path
) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with next(cause for cause in CAUSES if cause.code == -81).fault(path):
        with pytest.raises(errors.RecoveryRollbackFailed):
            attempt(path, Through.RUN)
        # What the crashed recovery had left is settled as far as that goes.
        manager = RecoveryManager(path)
        report = manager.run()
        assert report.recovered
        assert ".recovery_needed" in report.warnings[0]
        manager.take_store().close()
        assert_whole(path)
