"""How the ways out are ranked, and which one is advised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine import config, errors
from engine.opening import open_read_only_task
from engine.recovery.choices import BackupOffer, ChoiceKind, choices, root_cause
from engine.recovery.fallbacks import FallbackKind, offers
from engine.recovery.manager import RecoveryManager
from tests.recovery_causes import control_overwritten, page_damaged
from tests.recovery_originals import Originals

Crash = Callable[..., Path]


def damage_log(path: Path) -> None:
    segment = min((path / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    content[40_000:40_064] = b"\xa5" * 64
    segment.write_bytes(content)


def test_a_crash_alone_loses_nothing_and_a_plain_recovery_is_advised(crashed: Crash) -> None:
    path = crashed(commits=60)
    plan = RecoveryManager(path).plan()
    ways = choices(plan, None, offers(path), backup=BackupOffer(1_700_000_000.0))
    assert [way.kind for way in ways] == [kind for kind in ChoiceKind if kind is not ChoiceKind.MIRROR]
    assert [way.kind for way in ways if way.is_advised] == [ChoiceKind.RECOVER]
    assert ways[0].loses_nothing
    assert "1 unfinished transaction is" in ways[0].cost
    assert all(way.cost for way in ways)


def test_a_damaged_log_is_recovered_up_to_its_last_valid_record(crashed: Crash) -> None:
    path = crashed(commits=60)
    damage_log(path)
    with pytest.raises(errors.WalCorrupted) as caught:
        RecoveryManager(path).plan()
    ways = choices(None, caught.value, offers(path))
    # Without a backup none is offered.
    assert ChoiceKind.BACKUP not in [way.kind for way in ways]
    advised = next(way for way in ways if way.is_advised)
    assert advised.kind is ChoiceKind.LAST_VALID
    assert not advised.loses_nothing
    assert "commit" in advised.cost
    last = ways[-1]
    assert (last.kind, last.is_possible) == (ChoiceKind.RECOVER, False)
    assert last.why_not == caught.value.message


def test_what_can_be_put_right_leaves_the_plain_recovery_advised() -> None:
    short = errors.InsufficientResources(resource="disk space", required=10, available=1)
    (only,) = choices(None, short, ())
    assert only.is_advised
    assert "disk space" in only.cost


def test_a_page_that_nothing_can_rebuild_is_restored_from_a_backup_or_salvaged(crashed: Crash) -> None:
    cause = errors.InconsistentState(description="page 3", diagnostics="", recovery_suggestions=[])
    failure = errors.PartialRecoveryFailure(
        completed_stages=[], failed_stage="Transaction Recovery", cause="x", rollback_available=True
    )
    failure.__cause__ = cause
    assert root_cause(failure) is cause
    found = offers(crashed(commits=2))
    with_backup = choices(None, failure, found, backup=BackupOffer(1.0))
    assert next(way.kind for way in with_backup if way.is_advised) is ChoiceKind.BACKUP
    without = choices(None, failure, found)
    assert next(way.kind for way in without if way.is_advised) is ChoiceKind.SALVAGE


@pytest.mark.parametrize(("key", "code"), [(b"000001", -75), (b"002000", -83)])
def test_no_way_is_offered_that_would_meet_the_same_damage_to_a_page(
    originals: Originals, tmp_path: Path, key: bytes, code: int
) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with page_damaged(path, key):
        with pytest.raises(errors.HoldfastError) as caught:
            RecoveryManager(path).rehearse()
        assert caught.value.code == code
        ways = {way.kind: way for way in choices(None, caught.value, offers(path))}
        for kind in (ChoiceKind.READ_ONLY, ChoiceKind.LAST_VALID):
            assert not ways[kind].is_possible
            assert not ways[kind].loses_nothing
            assert caught.value.message in ways[kind].why_not
        # And so it is.
        with pytest.raises(errors.HoldfastError) as again:
            open_read_only_task(path).run()
        assert again.value.code == code
        with pytest.raises(errors.HoldfastError):
            RecoveryManager(path, fallback="last-valid").rehearse()


def test_without_a_control_file_nothing_is_shown_read_only(originals: Originals, tmp_path: Path) -> None:
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with control_overwritten(path):
        ways = {way.kind: way for way in offers(path)}
        assert not ways[FallbackKind.READ_ONLY].is_possible
        assert ways[FallbackKind.READ_ONLY].why_not == ways[FallbackKind.LAST_VALID].why_not
        with pytest.raises(errors.RecoveryImpossible):
            open_read_only_task(path).run()


def test_the_default_of_a_setting_takes_the_place_of_a_value_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / config.FILE_NAME
    file.write_text('# mine\nlock_timeout = "7 s"\nrecovery_timeout = "soon"\n')
    config.use_default(tmp_path, "recovery_timeout")
    config.use_default(tmp_path, "cache_size")
    assert file.read_text() == '# mine\nlock_timeout = "7 s"\n'
    assert config.load(tmp_path).lock_timeout == 7


def test_a_way_that_was_tried_in_vain_is_not_advised_again(crashed: Crash) -> None:
    path = crashed(commits=60)
    damage_log(path)
    with pytest.raises(errors.WalCorrupted) as caught:
        RecoveryManager(path).plan()
    found = offers(path)
    ways = choices(None, caught.value, found, failed={ChoiceKind.LAST_VALID: caught.value})
    tried = next(way for way in ways if way.kind is ChoiceKind.LAST_VALID)
    assert not tried.is_possible
    assert "It was tried" in tried.why_not
    assert next(way.kind for way in ways if way.is_advised) is ChoiceKind.SALVAGE
    # What can be put right may be tried again.
    busy = errors.DatabaseLocked(lock_holder="process 1", suggested_action="wait")
    again = choices(None, caught.value, found, failed={ChoiceKind.LAST_VALID: busy})
    assert next(way.kind for way in again if way.is_advised) is ChoiceKind.LAST_VALID


def test_a_backup_that_the_kept_log_brings_forward_says_how_far() -> None:
    rolled = BackupOffer(1_700_000_000.0, source=Path("kept"), commits=7, reaches_at=1_700_000_500.0)
    ways = choices(None, None, (), backup=rolled)
    way = next(way for way in ways if way.kind is ChoiceKind.BACKUP)
    assert "roll forward" in way.title
    assert "7 commits" in way.does
    plain = next(
        way for way in choices(None, None, (), backup=BackupOffer(1.0)) if way.kind is ChoiceKind.BACKUP
    )
    assert way.cost != plain.cost


def test_a_backup_to_which_no_log_is_applied_says_why() -> None:
    offer = BackupOffer(1.0, why_alone="It is encrypted.")
    way = next(way for way in choices(None, None, (), backup=offer) if way.kind is ChoiceKind.BACKUP)
    assert way.cost.endswith("It is encrypted.")
    assert "roll forward" not in way.title
