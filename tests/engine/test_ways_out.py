"""A recovery that fails offers the copies that the database has, with what each would lose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine
from engine.cli.__main__ import main
from engine.errors import HoldfastError
from engine.recovery.choices import ChoiceKind, choices
from engine.recovery.fallbacks import FallbackKind
from engine.recovery.manager import RecoveryManager
from engine.ways_out import (
    copies,
    folder_of_backups,
    known_folders,
    newest_backup,
    offers_task,
    source_of,
)

ERROR = 3


@pytest.fixture
def ruined(tmp_path: Path) -> Path:
    """A database that no recovery brings back, with a mirror that has all of it, and no backup."""
    path = tmp_path / "harbour.holdfast"
    with engine.open(path) as db:
        db.mirrors.add(tmp_path / "second.holdfast")
        with db.transaction() as txn:
            txn.tree("t")[b"key"] = b"value"
        db.mirrors.level_task(tmp_path / "second.holdfast").run()
    (path / ".clean_shutdown").unlink()
    control = path / "control"
    control.write_bytes(b"\xff" * control.stat().st_size)
    return path


def trouble_of(path: Path) -> HoldfastError:
    with pytest.raises(HoldfastError) as caught:
        RecoveryManager(path).run()
    return caught.value


def test_a_mirror_that_stands_is_advised_where_recovery_fails(ruined: Path) -> None:
    found = offers_task(ruined).run()
    mirror = found[0]
    assert mirror.kind is FallbackKind.MIRROR
    assert mirror.is_possible
    assert mirror.cost
    assert mirror.figures["path"] == str(ruined.with_name("second.holdfast"))
    backup = next(way for way in found if way.kind is FallbackKind.BACKUP)
    assert not backup.is_possible
    ways = choices(None, trouble_of(ruined), found)
    assert [way.kind for way in ways if way.is_advised] == [ChoiceKind.MIRROR]


def test_the_command_line_names_the_mirror_and_what_it_costs(
    ruined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recover", str(ruined)]) == ERROR
    told = capsys.readouterr().err
    (way,) = copies(ruined)
    assert way.title in told
    assert way.cost in told
    assert main(["recover", str(ruined), "--fallbacks", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["fallbacks"]
    assert (listed[0]["kind"], listed[0]["possible"], listed[0]["cost"]) == ("mirror", True, way.cost)


def test_a_backup_is_offered_where_there_is_one(ruined: Path, tmp_path: Path) -> None:
    with engine.open(tmp_path / "whole.holdfast") as db:
        db.backups.full_task(tmp_path / "kept").run()
    backup = next(way for way in copies(ruined, tmp_path / "kept") if way.kind is FallbackKind.BACKUP)
    assert "It was taken at" in backup.does
    assert backup.cost


def test_the_backups_are_looked_for_where_the_settings_say(
    ruined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kept far away"
    with engine.open(tmp_path / "whole.holdfast") as db:
        db.backups.full_task(folder).run()
    assert all(way.kind is not FallbackKind.BACKUP for way in copies(ruined))
    (ruined / "reliability.toml").write_text(f"backup_folder = {str(folder)!r}\n", "utf-8")
    assert [way.kind for way in copies(ruined)] == [FallbackKind.MIRROR, FallbackKind.BACKUP]
    assert main(["recover", str(ruined), "--fallbacks", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["fallbacks"]
    (backup,) = (way for way in listed if way["kind"] == "backup")
    assert backup["figures"]["path"].startswith(str(folder))


def test_the_backups_are_looked_for_where_they_were_put_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "harbour.holdfast"
    with engine.open(path) as db:
        info = db.backups.full_task(tmp_path / "by hand").run()
    (way,) = copies(path)
    assert way.figures["path"] == info.path


def test_the_backup_of_another_database_in_the_same_folder_is_not_offered(tmp_path: Path) -> None:
    path, folder = tmp_path / "harbour.holdfast", tmp_path / "kept"
    with engine.open(path) as db:
        own = db.backups.full_task(folder).run()
    with engine.open(tmp_path / "other.holdfast") as db:
        db.backups.full_task(folder).run()
    newest = newest_backup(path, [folder])
    assert newest is not None
    assert newest.path == own.path
    # The other's log would be applied to the other's backup: only the one may be restored from.
    assert source_of(newest) == Path(own.path)
    with engine.open(tmp_path / "new.holdfast"):
        pass
    assert newest_backup(tmp_path / "new.holdfast", [folder]) is None


def test_a_folder_is_chosen_only_where_the_settings_name_none(ruined: Path, tmp_path: Path) -> None:
    chosen, named = tmp_path / "chosen", tmp_path / "named"
    assert folder_of_backups(ruined, chosen) == chosen
    (ruined / "reliability.toml").write_text(f"backup_folder = {str(named)!r}\n", "utf-8")
    assert folder_of_backups(ruined, chosen) == named
    assert known_folders(ruined, chosen)[:2] == (named, chosen)


def test_settings_that_cannot_be_read_leave_the_folder_beside_the_database(ruined: Path) -> None:
    (ruined / "reliability.toml").write_text("backup_folder = 7\n", "utf-8")
    assert folder_of_backups(ruined) == ruined.with_name("harbour backups")


def test_a_database_without_copies_offers_none(tmp_path: Path) -> None:
    assert copies(tmp_path / "alone.holdfast") == ()
