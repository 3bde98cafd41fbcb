from __future__ import annotations

import copy
import errno
import json
import pickle
import re
from pathlib import Path

import pytest

from engine import errors
from engine.catalogue import Entry, entries, field_text, runbook
from engine.types import Severity

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = sorted(entries().values(), key=lambda entry: -entry.code)
CLASSES = sorted(errors.by_code().values(), key=lambda kind: -kind.code)

RECOVERY_ERRORS = {
    -70: ("RecoveryImpossible", ("reason", "suggested_action")),
    -71: ("WalCorrupted", ("details", "suggested_action")),
    -72: ("InsufficientResources", ("resource", "required", "available")),
    -73: ("DatabaseLocked", ("lock_holder", "suggested_action")),
    -74: ("PartialRecoveryFailure", ("completed_stages", "failed_stage", "cause", "rollback_available")),
    -75: ("InconsistentState", ("description", "diagnostics", "recovery_suggestions")),
    -76: ("RecoveryConfigurationError", ("setting", "issue", "fix")),
    -77: ("RecoveryPermissionError", ("path", "required_permissions")),
    -78: ("RecoveryDependencyError", ("dependency", "issue")),
    -79: ("RecoveryTimeout", ("stage", "timeout_seconds", "progress")),
    -80: ("RecoveryProgress", ("message",)),
    -81: ("RecoveryRollbackFailed", ("stage", "reason", "manual_intervention_needed")),
    -82: ("RecoveryStageDependencyFailed", ("stage", "dependency", "dependency_error")),
    -83: ("RecoveryVerificationFailed", ("check_name", "details", "critical")),
}


def sample_fields(entry: Entry) -> dict[str, str]:
    return {name: f"<{name}>" for name in entry.fields}


def kernel_codes() -> dict[str, int]:
    source = (ROOT / "engine/kernel/src/error.rs").read_text("utf-8")
    listed = source[source.index("codes! {") :]
    return {name: int(code) for name, code in re.findall(r"^    (\w+) = (-\d+),", listed, re.MULTILINE)}


def test_every_entry_has_its_class_and_every_class_its_entry() -> None:
    assert {kind.code: kind.__name__ for kind in CLASSES} == {entry.code: entry.name for entry in ENTRIES}


def test_the_kernel_and_the_catalogue_give_the_same_code_to_the_same_name() -> None:
    catalogue = {entry.name: entry.code for entry in ENTRIES}
    codes = kernel_codes()
    assert len(codes) > 40
    assert codes.items() <= catalogue.items()


@pytest.mark.parametrize("code", RECOVERY_ERRORS)
def test_the_recovery_errors_have_the_names_and_fields_that_were_agreed(code: int) -> None:
    entry = entries()[code]
    assert (entry.name, entry.fields) == RECOVERY_ERRORS[code]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_says_everything_that_a_card_needs(entry: Entry) -> None:
    answers = entry.answers
    words = (answers.how_serious, answers.what_to_do, answers.if_i_go_on, answers.can_i_keep_using_it)
    for text in (*words, entry.suggested_action):
        assert len(text) > 10
        assert not re.search(r"[{}\[\]]|\s$|^\s", text)
    assert all(text.endswith(".") for text in words)
    assert bool(entry.action_label) == (entry.action != "none")


def test_every_runbook_that_an_error_names_is_there() -> None:
    for name in {entry.runbook for entry in ENTRIES if entry.runbook}:
        assert runbook(name).startswith("# ")


def test_every_critical_error_names_a_runbook() -> None:
    assert [e.name for e in ENTRIES if e.severity is Severity.CRITICAL and not e.runbook] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_message_shows_its_fields_and_reads_well_without_the_optional_ones(entry: Entry) -> None:
    assert set(re.findall(r"\{(\w+)\}", re.sub(r"\[[^\]]*\]", "", entry.message))) <= set(entry.fields)
    full = entry.render(sample_fields(entry))
    bare = entry.render({})
    for text in (full, bare):
        assert not re.search(r"[{}\[\]]|  |\.\.| \.", text), text
        # What is in brackets at the end may be a sentence of its own.
        assert text.endswith((".", "<fix>", "<left>", "unknown")), text


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying_with_its_cause(kind: type[errors.HoldfastError]) -> None:
    error = kind(**sample_fields(entries()[kind.code]), extra=7)
    error.__cause__ = errors.DiskFull(path="/data")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert (twin.message, twin.fields, twin.metadata) == (error.message, error.fields, {"extra": 7})
        assert isinstance(twin.__cause__, errors.DiskFull)


def test_a_card_holds_the_words_the_details_and_the_causes() -> None:
    error = errors.from_kernel(-12, {"reason": "sync failed"}, errors.IoError(operation="sync", path="/wal"))
    assert isinstance(error, errors.StoreFailed)
    card = error.as_card()
    assert (card.code, card.name, card.action) == (-12, "StoreFailed", "reopen")
    assert card.details == (("reason", "sync failed"),)
    assert card.causes == ("The disk did not do what was asked (IoError, -10): Could not sync /wal.",)
    text = card.to_text()
    for words in (card.title, card.message, card.answers.what_to_do, card.suggested_action, "IoError"):
        assert words in text


def test_the_json_shape_is_the_one_of_the_command_line() -> None:
    shown = json.loads(errors.DatabaseNotFound(path="/nowhere").to_json())
    assert shown == {
        "code": -14,
        "name": "DatabaseNotFound",
        "message": "No database was found at /nowhere.",
        "suggested_action": "Check the path, or create a new database there.",
        "fields": {"path": "/nowhere"},
    }


def test_an_unknown_code_of_the_kernel_is_an_internal_error_that_keeps_the_fields() -> None:
    error = errors.from_kernel(-9999, {"detail": "lost", "page_id": 4})
    assert isinstance(error, errors.InternalError)
    assert "-9999" in error.message
    assert error.resource == "4"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.DiskFull),
        (errno.EACCES, errors.PermissionDenied),
        (errno.EMFILE, errors.HandlesExhausted),
        (errno.ENOMEM, errors.OutOfMemory),
        (errno.EIO, errors.IoError),
    ],
)
def test_errors_of_the_system_get_their_codes(number: int, kind: type[errors.HoldfastError]) -> None:
    error = errors.from_exception(OSError(number, "told by the system", "/data/x"), "write")
    assert type(error) is kind
    assert error.operation == "write"
    assert isinstance(error.__cause__, OSError)


def test_a_foreign_exception_never_brings_its_text_along() -> None:
    error = errors.from_exception(ValueError("secret of a row"), "import rows")
    assert isinstance(error, errors.InternalError)
    assert "secret" not in error.as_card().to_text() + error.to_json()
    assert error.as_card().causes == ("ValueError",)


@pytest.mark.parametrize(
    ("error", "critical"),
    [
        (errors.RecoveryVerificationFailed(check_name="pages", critical=False), False),
        (errors.RecoveryVerificationFailed(check_name="pages"), True),
        (errors.RecoveryRollbackFailed(stage="x", reason="y", manual_intervention_needed=False), False),
        (errors.PartialRecoveryFailure(failed_stage="x", rollback_available=True), False),
        (errors.PartialRecoveryFailure(failed_stage="x"), True),
        (errors.LockTimeout(resource="x"), False),
    ],
)
def test_an_error_knows_whether_a_person_has_to_act(error: errors.HoldfastError, critical: bool) -> None:
    assert error.is_critical_recovery_failure() is critical


def test_the_suggestion_of_the_case_wins_over_the_general_one() -> None:
    error = errors.WalCorrupted(details="x", suggested_action="Restore the backup of 14:02")
    assert error.suggested_action == "Restore the backup of 14:02"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), ("", ""), (True, "yes"), (0, "0"), (1.50, "1.5"), (["a", "b"], "a, b")]
)
def test_fields_read_as_words(value: object, text: str) -> None:
    assert field_text(value) == text


def test_a_message_says_in_words_what_could_not_be_done():
    error = errors.IoError(operation="create_folder", path="/data", os_error="no room")
    assert "create folder /data" in error.message
    assert error.fields["operation"] == "create_folder", "programs read it as it is"
