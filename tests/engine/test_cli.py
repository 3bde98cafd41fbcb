"""The command line as scripts use it: processes, exit statuses, JSON, cards."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import engine

ROOT = Path(engine.__file__).resolve().parent.parent


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        encoding="utf-8",
        **options,
    )


def holdfast(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    """Run a command; it must end with `status` and never show a traceback."""
    with start(*arguments) as process:
        out, err = process.communicate(timeout=100)
    assert "Traceback" not in out + err, err
    assert process.returncode == status, (arguments, out, err)
    return out, err


def answer(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """The one object that a command prints with `--json`."""
    out, err = holdfast(*arguments, "--json", status=status)
    assert err == ""
    value: dict[str, Any] = json.loads(out)
    return value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database = tmp_path / "shop.holdfast"
    engine.open(database).close()
    return database


def test_a_day_in_the_life_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.holdfast"
    assert answer("create", path)["page_size"] == 8192
    assert answer("put", path, "settings", "colour", "blue")["replaced"] is False
    assert answer("put", path, "settings", "colour", "grün")["replaced"] is True
    assert answer("get", path, "settings", "colour")["value"] == "grün"
    assert holdfast("get", path, "settings", "colour")[0] == "grün\n"
    holdfast("put", path, "settings", "size", "12")
    records = answer("scan", path, "settings")["records"]
    assert records == [{"key": "colour", "value": "grün"}, {"key": "size", "value": "12"}]
    assert answer("scan", path, "settings", "--from", "d", "--keys")["records"] == [{"key": "size"}]
    assert answer("scan", path, "settings", "--limit", "1")["more"] is True
    assert answer("delete", path, "settings", "size")["deleted"] is True
    assert answer("get", path, "settings", "size", status=1)["found"] is False
    assert answer("checkpoint", path)["checkpoint"]["lsn"] > 0
    assert answer("log", path, "--limit", "5")["entries"]
    assert answer("locks", path)["locks"] == []
    assert answer("check", path)["ok"] is True


def test_info_has_the_shape_that_scripts_build_on(path: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,name\n1,Ada\n2,Bo\n")
    imported = answer("import", path, tmp_path / "people.csv", "--key", "id")
    assert imported["tables"] == [{"name": "people", "rows": 2}]
    info = answer("info", path)
    assert info["state"] == "clean"
    assert info["indicators"] == []
    assert info["page_size"] == 8192
    assert info["tables"] == [{"name": "people", "rows": 2}]
    assert set(info["wal"]) == {"bytes", "segments", "last_lsn"}
    assert set(info["checkpoint"]) == {"lsn", "at"}
    assert info["pages"] > 0
    assert isinstance(info["trees"], list)
    tables = answer("tables", path)["tables"]
    assert [column["name"] for column in tables[0]["columns"]] == ["id", "name"]
    assert answer("export", path, tmp_path / "out.jsonl", "--table", "people")["rows"] == 2
    holdfast("info", path)
    holdfast("tables", path)


def test_recover_tells_what_it_found_and_did(crashed: Callable[..., Path]) -> None:
    path = crashed(commits=20)
    info = answer("info", path)
    assert info["state"] == "needs_recovery"
    assert "unclean_shutdown" in [indicator["name"] for indicator in info["indicators"]]
    error = answer("check", path, status=3)["error"]
    assert (error["code"], error["name"]) == (-60, "RecoveryNeeded")
    plan = answer("recover", path, "--plan")
    assert len(plan["losers"]) == 1
    report = answer("recover", path)
    assert report["recovered"] is True
    assert report["rehearsal"] is False
    assert len(report["stages"]) == 12
    assert {stage["status"] for stage in report["stages"]} == {"succeeded"}
    assert all(set(stage) >= {"name", "status", "seconds", "metrics"} for stage in report["stages"])
    assert report["undo"]["transactions"] == 1
    assert report["lost"] == []
    assert report["error"] is None
    again = answer("recover", path)
    assert again["indicators"] == []
    check = answer("check", path, "--detailed")
    assert (check["ok"], check["problems"]) == (True, [])
    assert check["pages"] > 0


def test_a_verb_on_a_crashed_database_recovers_it_first_and_says_so(crashed: Callable[..., Path]) -> None:
    path = crashed(commits=2)
    out, err = holdfast("get", path, "other", "last")
    assert out == "commit\n"
    assert "recovered" in err


def test_backup_verify_restore(path: Path, tmp_path: Path) -> None:
    holdfast("put", path, "t", "k", "v")
    backup = answer("backup", path, tmp_path / "chain")["backup"]
    assert backup["pages"] > 0
    assert answer("verify-backup", tmp_path / "chain")["ok"] is True
    (tmp_path / "scratch").mkdir()
    rehearsed = answer("verify-backup", tmp_path / "chain", "--restore", "--scratch", tmp_path / "scratch")
    assert rehearsed["ok"]
    assert rehearsed["compared"]
    assert rehearsed["rows"] == {"tables": {}, "trees": {"t": 1}}
    assert list((tmp_path / "scratch").iterdir()) == []
    restored = answer("restore", tmp_path / "chain", tmp_path / "back.holdfast")
    assert restored["end_lsn"] == backup["end_lsn"]
    assert answer("get", tmp_path / "back.holdfast", "t", "k")["value"] == "v"
    victim = max(
        Path(backup["path"]).rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0
    )
    with victim.open("r+b") as file:
        file.truncate(100)
    damaged = answer("verify-backup", tmp_path / "chain", status=1)
    assert damaged["ok"] is False
    assert damaged["error"]["name"] == "BackupDamaged"
    assert answer("verify-backup", tmp_path / "chain", "--restore", status=1)["ok"] is False
    assert answer("restore", tmp_path / "chain", tmp_path / "no.holdfast", status=3)["error"]["code"] == -62


def test_load_is_measured(path: Path) -> None:
    result = answer("load", path, "--threads", "4", "--operations", "2000", "--keys", "500")
    assert result["operations"] >= 2000
    assert result["per_second"] > 0
    assert answer("check", path)["ok"] is True


@pytest.mark.parametrize(
    ("prepare", "name", "code"),
    [
        (lambda path: None, "DatabaseNotFound", -14),
        (lambda path: path.write_text("x"), "NotADatabase", -19),
        (lambda path: path.mkdir(), "NotADatabase", -19),
    ],
)
def test_what_is_no_database_gives_a_card(
    tmp_path: Path, prepare: Callable[[Path], Any], name: str, code: int
) -> None:
    path = tmp_path / "thing"
    prepare(path)
    for verb in (("info",), ("check",), ("get", "t", "k"), ("recover",)):
        command = (verb[0], path, *verb[1:])
        error = answer(*command, status=3)["error"]
        assert (error["name"], error["code"]) == (name, code)
        assert set(error) == {"code", "name", "message", "suggested_action", "fields"}
        out, err = holdfast(*command, status=3)
        assert out == ""
        assert "What should I do?" in err


def test_an_existing_database_is_not_created_again(path: Path) -> None:
    assert answer("create", path, status=3)["error"]["name"] == "DatabaseExists"


def test_a_database_that_is_open_elsewhere_is_told_with_its_holder(path: Path) -> None:
    with engine.open(path):
        assert answer("info", path)["state"] == "open_elsewhere"
        error = answer("locks", path, status=3)["error"]
    assert error["name"] == "DatabaseOpenElsewhere"
    assert str(os.getpid()) in error["message"]


def test_a_recovery_of_a_database_in_use_offers_no_way_out_of_damage(path: Path, tmp_path: Path) -> None:
    holdfast("backup", path, tmp_path / "shop backups")
    with engine.open(path):
        out, err = holdfast("recover", path, "--backups", tmp_path / "shop backups", status=3)
    assert "DatabaseLocked" in err
    assert "failed" in out
    assert "Restore" not in err
    assert "damaged" not in err


def test_what_an_import_leaves_out_is_told(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "names.sqlite"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript("CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE VIEW seen AS SELECT 1;")
    out, err = holdfast("import", path, source, "--plan")
    assert "Not carried over: view seen" in err
    assert answer("import", path, source)["left_out"] == ["view seen"]
    other = path.with_name("other.holdfast")
    holdfast("create", other)
    out, err = holdfast("import", other, source)
    assert "1 row in" in out
    assert "Not carried over: view seen" in err


def test_a_damaged_control_file_gives_a_card(path: Path) -> None:
    (path / "control").write_bytes(b"\xa5" * (path / "control").stat().st_size)
    assert answer("info", path)["state"] == "damaged"
    told, _err = holdfast("info", path)
    assert "control file" in told
    assert "--fallbacks" in told
    assert answer("get", path, "t", "k", status=3)["error"]["code"] < 0
    error = answer("recover", path, status=3)["error"]
    assert -83 <= error["code"] <= -70


def test_damaged_pages_are_found_by_check_with_status_1(path: Path) -> None:
    with engine.open(path) as db, db.transaction() as txn:
        tree = txn.tree("t")
        for number in range(2000):
            tree[b"%06d" % number] = b"v" * 100
    with (path / "database.holdfast").open("r+b") as file:
        # In the midst of the leaves of the tree.
        file.seek(20 * 8192)
        file.write(b"\xa5" * 9000)
    report = answer("check", path, status=1)
    assert report["ok"] is False
    assert all(set(problem) == {"code", "page", "tree", "detail"} for problem in report["problems"])
    holdfast("check", path, status=1)


@pytest.mark.parametrize(
    "arguments", [("chekc", "x"), ("get",), ("scan", "x", "t", "--limit", "many"), ("--no",)]
)
def test_wrong_usage_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    assert "usage" in holdfast(*arguments, status=2)[1]


def test_help_needs_no_database() -> None:
    assert "verify-backup" in holdfast("--help")[0]


def wait_for_writes(path: Path) -> None:
    """Wait until the log of a database that another process has open is written to again and again."""
    seen: set[int] = set()
    for _ in range(2000):
        seen |= {segment.stat().st_mtime_ns for segment in (path / "wal").glob("*.wal")}
        if len(seen) > 5:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody writes")


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a single process there")
def test_control_c_ends_long_work_with_a_card(path: Path) -> None:
    with start("load", path, "--operations", "200000000") as process:
        wait_for_writes(path)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, (out, err)
    assert "Traceback" not in err
    assert "cancelled" in err.lower()
    assert answer("check", path)["ok"] is True


def test_a_mirror_is_kept_proved_and_takes_over_from_the_command_line(path: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror.holdfast"
    assert answer("mirror", path, "status") == {"mirrors": []}
    added = answer("mirror", path, "add", mirror)["mirror"]
    assert added["phase"] == "following"
    holdfast("put", path, "settings", "key", "value")
    (known,) = answer("mirror", path, "status")["mirrors"]
    assert known["outlook"]["lost_bytes"] == 0, "a clean close brings everything over"
    assert answer("mirror", path, "verify", mirror, "--scratch", tmp_path)["ok"]
    assert answer("mirror", path, "fail-over", mirror, "--preview")["outlook"]["lost_commits"] == 0
    done = answer("mirror", path, "fail-over", mirror)["fail_over"]
    assert done["path"] == str(mirror)
    refused = json.loads(holdfast("get", path, "settings", "key", "--json", status=3)[0])
    assert refused["error"]["code"] == -112, "it follows its successor already"
    assert "value" in holdfast("get", mirror, "settings", "key")[0]
    assert answer("mirror", mirror, "fail-back", path)["fail_over"]["path"] == str(path)
    assert "value" in holdfast("get", path, "settings", "key")[0]
