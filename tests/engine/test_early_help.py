"""Pages that the log does not bring back come from mirrors and backups, before and behind the opening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine.config import Config, load
from engine.errors import ChecksumMismatch, HoldfastError, PartialRecoveryFailure
from engine.recovery.early import EarlyRecovery
from engine.recovery.manager import RecoveryManager

UntilKilled = Callable[..., None]

PAGE = 8192
ROWS = 2000
# The log of the first rounds is gone, so that it does not have the pages in full.
WRITER = """
    import sys, time
    from pathlib import Path
    import engine
    from engine.config import Config

    path, rows = Path(sys.argv[1]), int(sys.argv[2])
    settings = dict(checkpoint_interval="1 h", segment_size="1 MiB", log_buffer="1 MiB", archive_log=False)
    db = engine.open(path, config=Config().changed(image_every_changes=60000, **settings))
    def put(value):
        with db.transaction() as txn:
            for number in range(rows):
                txn.tree("t")[b"%06d" % number] = value * 400
    for turn in range(6):
        put(b"%d" % turn)
        db.checkpoint()
    if sys.argv[3] == "mirror":
        mirror = path.with_name("second.holdfast")
        db.mirrors.add(mirror)
        db.mirrors.level_task(mirror).run()
    elif sys.argv[3] == "backup":
        db.backups.full_task(path.with_name("kept elsewhere")).run()
    db.checkpoint()
    put(b"n")
    if sys.argv[3] == "mirror":
        db.mirrors.level_task(mirror).run()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def damaged(tmp_path: Path, until_killed: UntilKilled) -> Callable[[str], Path]:
    """Makes a killed database whose leaves are damaged, with a copy of this kind."""

    def make(copy: str) -> Path:
        path = tmp_path / "harbour.holdfast"
        until_killed(WRITER, str(path), str(ROWS), copy)
        (path / "doublewrite").unlink()
        file = path / "database.holdfast"
        content = bytearray(file.read_bytes())
        # Every leaf has been changed since the last checkpoint, and its image is older than the log.
        leaves = [at for at in range(0, len(content), PAGE) if b"5" * 400 in content[at : at + PAGE]]
        assert len(leaves) > 50
        for place in leaves:
            content[place + 5000] ^= 0x40
        file.write_bytes(content)
        folder = str(tmp_path / "kept elsewhere")
        (path / "reliability.toml").write_text(f"backup_folder = {folder!r}\n", "utf-8")
        return path

    return make


def settings_of(path: Path, **changed: object) -> Config:
    return load(path).changed(enable_continuous_validation=False, **changed)


def assert_whole(database: engine.Database) -> None:
    with database.transaction(read_only=True) as txn:
        values = dict(txn.tree("t").items())
    assert len(values) == ROWS
    assert set(values.values()) == {b"n" * 400}


@pytest.mark.parametrize("copy", ["mirror", "backup"])
def test_a_database_that_opens_early_takes_pages_from_its_copies(
    damaged: Callable[[str], Path], copy: str
) -> None:
    path = damaged(copy)
    with engine.open(path, create=False, config=settings_of(path)) as database:
        assert isinstance(database._early, EarlyRecovery)
        assert_whole(database)
    with engine.open(path, create=False, recovery="never") as database:
        assert_whole(database)
        assert database.check().ok


@pytest.mark.parametrize("copy", ["mirror", "backup"])
def test_a_recovery_before_the_opening_takes_pages_from_the_same_copies(
    damaged: Callable[[str], Path], copy: str
) -> None:
    manager = RecoveryManager(damaged(copy))
    assert manager.run().recovered
    manager.take_store().close()
    with engine.open(manager.path, create=False, recovery="never") as database:
        assert_whole(database)


def test_without_a_copy_the_page_gives_its_error_and_the_whole_recovery_fails(
    damaged: Callable[[str], Path],
) -> None:
    path = damaged("none")
    with pytest.raises(PartialRecoveryFailure):
        RecoveryManager(path).run()
    with pytest.raises(HoldfastError) as caught, engine.open(path, config=settings_of(path)) as database:
        assert_whole(database)
    assert isinstance(caught.value, ChecksumMismatch)
