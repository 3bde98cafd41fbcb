"""Each of the fourteen recovery errors, provoked by its real cause, in the same words everywhere.

| code | error | cause |
| --- | --- | --- |
| -70 | RecoveryImpossible | both slots of the control file are damaged |
| -71 | WalCorrupted | the log is damaged before its end |
| -72 | InsufficientResources | the process may open too few files |
| -73 | DatabaseLocked | another process has it open |
| -74 | PartialRecoveryFailure | a file may not grow, in the middle of redo |
| -75 | InconsistentState | a page that redo needs is damaged, and the log has no image of it |
| -76 | RecoveryConfigurationError | a value in reliability.toml is wrong |
| -77 | RecoveryPermissionError | a file may not be read |
| -78 | RecoveryDependencyError | the folder of the log cannot be listed |
| -79 | RecoveryTimeout | the whole takes longer than it may |
| -80 | RecoveryProgress | the state cannot be written |
| -81 | RecoveryRollbackFailed | what recovery created cannot be removed |
| -82 | RecoveryStageDependencyFailed | a stage that another one needs did not succeed |
| -83 | RecoveryVerificationFailed | a page that redo does not touch is damaged |
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import bridge, errors
from engine.cli.__main__ import main
from engine.config import Config
from engine.recovery import stages
from engine.recovery.manager import RecoveryManager

Crash = Callable[..., Path]
ROOT = Path(engine.__file__).resolve().parent.parent

on_unix = pytest.mark.skipif(os.name == "nt", reason="the limit is one of Unix")

WRITER_OF_PAGES = """
    import sys
    import engine
    from engine.config import Config

    db = engine.open(sys.argv[1], config=Config().changed(segment_size="1 MiB", log_buffer="1 MiB"))
    with db.transaction() as txn:
        for number in range(3000):
            txn.tree("t")[b"%06d" % number] = b"v" * 200
    # Log that reaches back to the page's last image would rebuild it.
    for _ in range(3):
        db.checkpoint()
        db.store.rotate_log()
    db.checkpoint()
    with db.transaction() as txn:
        txn.tree("t")[b"000001"] = b"after the checkpoint"
    db.flush()
    print("ready", flush=True)
    import time
    time.sleep(600)
"""


@pytest.fixture
def written_out(tmp_path: Path) -> Path:
    """A killed database whose pages are all in the file; one of them changed after the checkpoint."""
    path = tmp_path / "written.holdfast"
    command = [sys.executable, "-c", textwrap.dedent(WRITER_OF_PAGES), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
    assert line == "ready\n"
    # Copies that could replace a damaged page are not what is tested here.
    (path / "doublewrite").write_bytes(bytes((path / "doublewrite").stat().st_size))
    return path


def damage_page(path: Path, *, of_key: bytes) -> None:
    """Alter the leaf in the file that holds a key."""
    size = int(bridge.inspect(str(path))["page_size"])
    content = bytearray((path / "database.holdfast").read_bytes())
    leaf = next(
        at
        for at in range(0, len(content), size)
        if content[at + 20] == 1 and of_key in content[at : at + size]
    )
    content[leaf + size // 2] ^= 1
    (path / "database.holdfast").write_bytes(content)


def damage_log(path: Path) -> None:
    segment = min((path / "wal").glob("*.wal"))
    content = bytearray(segment.read_bytes())
    place = bridge.inspect(str(path))["redo_lsn"] + 20_000
    content[place : place + 64] = b"\xa5" * 64
    segment.write_bytes(content)


def in_child(program: str, path: Path, user: int | None = None) -> dict[str, Any]:
    """Recover in a process of its own, after `program` and as `user`; return the error that is told."""
    code = textwrap.dedent(program) + textwrap.dedent(f"""
        import json, os, sys
        from engine.catalogue import entries
        from engine.errors import HoldfastError
        from engine.recovery.manager import RecoveryManager
        manager = RecoveryManager(sys.argv[1])
        entries()
        if {user} is not None:
            os.setuid({user})
        try:
            manager.run()
        except HoldfastError as error:
            cause = error.__cause__
            told = {{**error.to_dict(), "cause": getattr(cause, "code", None),
                     "rolled_back": manager.report.rolled_back}}
            print(json.dumps(told, default=str))
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def failure(path: Path, settings: Config | None = None) -> errors.HoldfastError:
    with pytest.raises(errors.HoldfastError) as caught:
        RecoveryManager(path, settings).run()
    return caught.value


def told_by_the_command_line(
    path: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> dict[str, Any]:
    assert main(["recover", str(path), *arguments, "--json"]) == 3
    error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
    return error


def assert_same_words(path: Path, error: errors.HoldfastError, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line tells what the engine raised; its card is the one of the window."""
    told = told_by_the_command_line(path, capsys)
    assert (told["code"], told["name"], told["message"]) == (error.code, error.name, error.message)
    assert told["suggested_action"] == error.suggested_action
    assert main(["recover", str(path)]) == 3
    card = capsys.readouterr().err
    assert error.message in card
    assert f"({error.code})" in card or str(error.code) in card


def test_70_a_control_file_without_a_valid_slot(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=2)
    (path / "control").write_bytes(b"\xff" * 8192)
    error = failure(path)
    assert type(error) is errors.RecoveryImpossible
    assert "control file" in error.fields["reason"]
    assert_same_words(path, error, capsys)


def test_71_a_log_that_is_damaged_before_its_end(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=60)
    damage_log(path)
    error = failure(path)
    assert type(error) is errors.WalCorrupted
    assert error.fields["details"]
    assert_same_words(path, error, capsys)


@on_unix
def test_72_a_process_that_may_open_too_few_files(crashed: Crash) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))"
    told = in_child(limit, crashed(commits=2))
    assert told["code"] == -72
    assert told["fields"]["resource"] == "file handles"
    assert told["fields"]["required"] > told["fields"]["available"]


def test_73_a_database_that_another_process_has_open(
    crashed: Crash, capsys: pytest.CaptureFixture[str]
) -> None:
    path = crashed(commits=2)
    holder = RecoveryManager(path)
    holder.prepare()
    try:
        error = failure(path)
        assert type(error) is errors.DatabaseLocked
        assert f"process {os.getpid()}" in error.fields["lock_holder"]
        assert_same_words(path, error, capsys)
    finally:
        holder.roll_back()


@on_unix
def test_74_a_file_that_may_not_grow_in_the_middle_of_redo(crashed: Crash) -> None:
    path = crashed(commits=300)
    # What lies beside the originals would have to become larger than this.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))"
    told = in_child(limit, path)
    assert (told["code"], told["cause"]) == (-74, -72)
    assert told["fields"]["failed_stage"] == "Transaction Recovery"
    assert told["fields"]["completed_stages"][-1] == "WAL Validation"
    assert told["fields"]["rollback_available"] is True
    assert told["rolled_back"] == ["Transaction Recovery", "Lock Acquisition"]


def test_75_a_damaged_page_that_redo_needs_and_no_image_of_it(
    written_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage_page(written_out, of_key=b"000001")
    with pytest.raises(errors.InconsistentState) as caught:
        RecoveryManager(written_out).rehearse()
    assert caught.value.fields["diagnostics"]
    assert any("backup" in suggestion for suggestion in caught.value.fields["recovery_suggestions"])
    told = told_by_the_command_line(written_out, capsys, "--rehearse")
    assert (told["code"], told["message"]) == (-75, caught.value.message)
    # For real, it is the cause of a failure that was taken back.
    error = failure(written_out)
    assert isinstance(error, errors.PartialRecoveryFailure)
    assert isinstance(error.__cause__, errors.InconsistentState)
    assert_same_words(written_out, error, capsys)


def test_76_a_wrong_setting(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=2)
    (path / "reliability.toml").write_text('recovery_timeout = "soon"\n')
    error = failure(path)
    assert type(error) is errors.RecoveryConfigurationError
    assert error.fields["setting"] == "recovery_timeout"
    assert error.fields["fix"]
    assert_same_words(path, error, capsys)


@pytest.fixture
def of_nobody(crashed: Crash) -> Iterator[tuple[Path, int | None]]:
    """A crashed database of a user whom permissions bind, and that user; None is this one."""
    path = crashed(commits=1)
    if os.geteuid() != 0:
        yield path, None
        return
    nobody = 65534
    place = Path(tempfile.mkdtemp(prefix="holdfast-nobody-"))
    place.chmod(0o755)
    moved = Path(shutil.copytree(path, place / path.name))
    for entry in (moved, *moved.rglob("*")):
        os.chown(entry, nobody, nobody)
    yield moved, nobody
    shutil.rmtree(place)


@on_unix
def test_77_a_file_that_may_not_be_read(of_nobody: tuple[Path, int | None]) -> None:
    path, user = of_nobody
    (path / "control").chmod(0)
    told = in_child("", path, user)
    assert told["code"] == -77
    assert told["fields"]["path"] == str(path / "control")
    assert told["fields"]["required_permissions"] == "read and write"


def test_78_a_log_whose_folder_cannot_be_listed(crashed: Crash) -> None:
    path = crashed(commits=2)
    manager = RecoveryManager(path)
    # The storage goes bad after a first look at it was possible.
    shutil.rmtree(path / "wal")
    (path / "wal").write_bytes(b"")
    with pytest.raises(errors.RecoveryDependencyError) as caught:
        manager.run()
    assert caught.value.fields["dependency"] == "the storage of the database"
    assert isinstance(caught.value.__cause__, errors.IoError)


def test_79_a_recovery_that_takes_longer_than_it_may(crashed: Crash) -> None:
    path = crashed(commits=200)
    hurried = replace(Config(), recovery_timeout=0.001)
    with pytest.raises(errors.RecoveryTimeout) as caught:
        RecoveryManager(path, hurried).run()
    assert caught.value.fields["timeout_seconds"] == 0.001
    assert caught.value.fields["stage"]
    engine.open(path, create=False).close()


def test_80_a_state_that_cannot_be_written(crashed: Crash, capsys: pytest.CaptureFixture[str]) -> None:
    path = crashed(commits=2)
    (path / "recovery.state").mkdir()
    (path / "recovery.state" / "something").touch()
    error = failure(path)
    assert type(error) is errors.RecoveryProgress
    assert "recovery.state" in error.fields["message"]
    assert_same_words(path, error, capsys)


def test_81_what_recovery_created_cannot_be_removed(crashed: Crash) -> None:
    path = crashed(commits=60)
    damage_log(path)
    manager = RecoveryManager(path)
    task = manager.run_task()

    def meddle(progress: Any) -> None:
        marker = path / ".recovery_needed"
        if progress.stage == "WAL Discovery" and marker.is_file():
            marker.unlink()
            marker.mkdir()

    task.observe(meddle)
    with pytest.raises(errors.RecoveryRollbackFailed) as caught:
        task.run()
    assert caught.value.fields["stage"] == "Lock Acquisition"
    assert ".recovery_needed" in caught.value.fields["reason"]
    assert caught.value.fields["manual_intervention_needed"] is True
    # All the same, the lock is free again.
    assert engine.inspect(path).holder is None


def test_82_a_stage_that_another_one_needs_did_not_succeed(
    crashed: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No stage of the twelve depends on one that may fail; here one does.
    def cannot(context: stages.RecoveryContext, job: bridge.Job) -> stages.Metrics:
        raise errors.IoError(operation="read", path="index")

    changed = list(stages.STAGES)
    place = next(n for n, stage in enumerate(changed) if stage.name == "Index Reconstruction")
    changed[place] = replace(changed[place], run=cannot, depends_on=())
    changed[place + 1] = replace(changed[place + 1], depends_on=("Index Reconstruction", "Resource Cleanup"))
    monkeypatch.setattr("engine.recovery.execution.STAGES", tuple(changed))
    with pytest.raises(errors.RecoveryStageDependencyFailed) as caught:
        RecoveryManager(crashed(commits=2)).rehearse()
    assert caught.value.fields["stage"] == "Consistency Validation"
    assert caught.value.fields["dependency"] == "Resource Cleanup"


def test_83_a_damaged_page_that_redo_does_not_touch(
    written_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage_page(written_out, of_key=b"002000")
    with pytest.raises(errors.RecoveryVerificationFailed) as caught:
        RecoveryManager(written_out).rehearse()
    assert caught.value.fields["check_name"] == "Consistency Validation"
    assert caught.value.fields["critical"] is True
    told = told_by_the_command_line(written_out, capsys, "--rehearse")
    assert (told["code"], told["message"]) == (-83, caught.value.message)
    error = failure(written_out)
    assert isinstance(error, errors.PartialRecoveryFailure)
    assert isinstance(error.__cause__, errors.RecoveryVerificationFailed)


def test_each_code_has_a_test_named_after_it() -> None:
    named = {int(name.split("_")[1]) for name in globals() if name.startswith("test_") and name[5].isdigit()}
    assert named == set(range(70, 84))
