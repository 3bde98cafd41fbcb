"""Files that Python reads, full of rubbish: only coded errors come out.

`HOLDFAST_RUBBISH=n` tries more of it. Each case is drawn from its number, so a failing one can be
run again.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import engine
from engine import config as settings_file
from engine.backups import backup, emergency, named, standing
from engine.backups import history as proofs
from engine.config import Config
from engine.errors import ConfigInvalid, HoldfastError
from engine.integrity import findings
from engine.mirrors import register
from engine.recovery import detection
from engine.recovery import history as recoveries
from engine.snapshots import keeper as snapshots

CASES = int(os.environ.get("HOLDFAST_RUBBISH", "150"))

WORDS = (
    *(b"0 1 -1 1e999 nan inf true null \"\" '' [] {} [[ ]] = , : # \n \r \t \\u0000".split(b" ")),
    b"99999999999999999999999999",
    b"1" * 400 + b" MiB",
    b"-5 s",
    b"2020-01-01",
    b"\xff\xfe",
    b"[" * 3000,
    b'{"a":' * 3000,
)


def mangled(valid: bytes, case: int) -> bytes:
    """Rubbish, or the valid bytes with a few of them flipped, cut, doubled, or replaced by words."""
    dice = random.Random(case)
    if dice.random() < 0.15:
        return dice.randbytes(dice.randrange(300))
    data = bytearray(valid)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0 if data:
                data[place % len(data)] ^= 1 << dice.randrange(8)
            case 1:
                del data[place:]
            case 2:
                data[place:place] = dice.choice(WORDS)
            case 3:
                data[place : place + dice.randrange(30)] = dice.choice(WORDS)
            case _:
                end = dice.randrange(len(data) + 1)
                data[place:place] = data[min(place, end) : max(place, end)]
    return bytes(data)


def only_coded_errors(valid: bytes, path: Path, use: Callable[[], object]) -> Iterator[object]:
    """Use the file in each of its mangled forms; yields what came of it."""
    for case in range(CASES):
        path.write_bytes(mangled(valid, case))
        try:
            yield use()
        except HoldfastError as error:
            yield error
        except Exception as error:
            pytest.fail(f"case {case}: {type(error).__name__}: {error}")


def test_settings_of_rubbish_are_refused_by_name_or_right(tmp_path: Path) -> None:
    valid = (
        b'# mine\ncache_size = "128 MiB"\nlock_timeout = "10 s"\nmax_retry_attempts = 2\n'
        b'sync_mode = "durable"\ncritical_alert_channels = ["pagerduty", "slack"]\nscrub_rate = 500\n'
    )
    path = tmp_path / settings_file.FILE_NAME
    for found in only_coded_errors(valid, path, lambda: settings_file.load(tmp_path)):
        assert isinstance(found, ConfigInvalid | Config)


@pytest.mark.parametrize("name", list(settings_file.settings()))
def test_any_value_of_a_setting_is_refused_by_name_or_right(name: str) -> None:
    values = [0, -1, 10**40, 1e308, float("inf"), float("nan"), "", "9" * 400 + " TiB", "1e9 s", True, None]
    for value in [*values, [], [[]], {}, {"a": 1}, b"x", "\0", ["a", 1]]:
        told: list[str] = []
        try:
            config = Config.from_mapping({name: value})
        except ConfigInvalid as error:
            told = [str(error.fields["setting"]), str(error.fields["problems"])]
        if told:
            assert any(name in text for text in told)
        else:
            # What is accepted must be able to go into the file and come back.
            shown = settings_file.settings()[name].show(getattr(config, name))
            assert Config.from_mapping({name: shown}) == config


def test_a_record_of_a_backup_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "full-1").mkdir()
    record = {"path": "full-1", "taken_at": 1.5, "end_lsn": 9, "pages": 3, "bytes": 5, "verified_at": None}
    path = tmp_path / "full-1.backup.json"
    (tmp_path / "full-2").mkdir()
    (tmp_path / "full-2.backup.json").write_text(json.dumps({**record, "path": "full-2"}))
    for found in only_coded_errors(json.dumps(record).encode(), path, lambda: backup.list_backups(tmp_path)):
        assert isinstance(found, tuple)
        assert found, "one damaged record hides the others"
    for name, value in [("taken_at", "x"), ("end_lsn", [1]), ("pages", None)]:
        path.write_text(json.dumps({**record, name: value}))
        assert [Path(info.path).name for info in backup.list_backups(tmp_path)] == ["full-2"]
    # Where a backup lies is known from where it was found, whatever its record says.
    for value in (7, "..", "/etc"):
        path.write_text(json.dumps({**record, "path": value}))
        assert {Path(info.path) for info in backup.list_backups(tmp_path)} == {
            tmp_path / "full-1",
            tmp_path / "full-2",
        }


def test_the_state_of_an_earlier_recovery_may_hold_anything() -> None:
    valid = json.dumps({"format": 1, "status": "running", "stage": "Redo", "pid": 3, "indicators": []})
    for case in range(CASES):
        text = mangled(valid.encode(), case).decode("utf-8", "replace")
        facts = {"recovery_state": text, "page_size": 8192}
        assert isinstance(detection.persisted_state(facts), dict)
        assert detection.indicators(facts)


def test_the_list_of_recoveries_may_hold_anything(tmp_path: Path) -> None:
    report = {"outcome": "succeeded", "seconds": 1.5, "stages": [{"name": "Redo", "seconds": 1.0}]}
    valid = json.dumps({"at": 1.5, "fallback": "", "report": report}).encode() + b"\n"
    path = tmp_path / recoveries.FILE_NAME

    def use() -> object:
        found = recoveries.read(tmp_path)
        return found, [(one.outcome, one.seconds, one.stages) for one in found.entries]

    assert len(list(only_coded_errors(valid, path, use))) == CASES
    for field in ("at", "seconds"):
        for number in ("1" * 400, "1e999", '"x"', "NaN", "[1]"):
            wrong = re.sub(rb'("%s": )1.5' % field.encode(), rb"\g<1>" + number.encode(), valid)
            path.write_bytes(wrong + valid)
            (whole,) = recoveries.read(tmp_path).entries
            assert (whole.at, whole.seconds) == (1.5, 1.5), "a damaged line hides a whole one, or is shown"


def test_what_is_remembered_beside_a_database_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path)
    (tmp_path / "full-1").mkdir()
    memory = {"folders": {"/b": {"taken_at": 1, "proved_at": 2}}, "failure": None, "since": 1}
    memory |= {"scheduled_since": 0, "attempted_at": 0, "failures": 0}
    point = {"name": "before", "lsn": 9, "at": 1.5, "note": ""}
    ledger = findings.Ledger().to_json().encode()
    uses: list[tuple[str, object, Callable[[], object]]] = [
        ("mirrors.json", {"/db": ["/mirror"]}, lambda: register.heirs(tmp_path / "db")),
        (snapshots.FILE_NAME, {"given_up": {"s": "full"}}, lambda: snapshots.read_given_up(tmp_path)),
        (standing.FILE_NAME, memory, lambda: standing.read_memory(tmp_path)),
        (named.FILE_NAME, {"database": "x", "points": [point]}, lambda: named.named_in([tmp_path], "x")),
        (findings.FILE_NAME, json.loads(ledger), lambda: findings.load(tmp_path)),
        ("full-1.proof.json", {"steps": {}}, lambda: proofs.kept_backup(tmp_path / "full-1")),
        (emergency.MANIFEST, {"seal": "x", "files": []}, lambda: emergency.read_emergency(tmp_path)),
    ]
    for name, content, use in uses:
        found = list(only_coded_errors(json.dumps(content).encode(), tmp_path / name, use))
        assert len(found) == CASES
        for deep in (b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff"):
            (tmp_path / name).write_bytes(deep)
            with suppress(HoldfastError):
                use()
        (tmp_path / name).unlink(missing_ok=True)


def test_a_database_with_a_file_of_rubbish_opens_or_says_why(tmp_path: Path, config: Config) -> None:
    whole = tmp_path / "whole.holdfast"
    with engine.open(whole, config=config) as database, database.transaction() as txn:
        for number in range(200):
            txn.tree("t")[b"%d" % number] = b"v" * 50
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    names = [*files, Path("recovery.state"), Path(".recovery_needed"), Path("LOCK"), Path("reliability.toml")]
    for case in range(max(20, CASES // 5)):
        name = names[case % len(names)]
        copy = tmp_path / "copy.holdfast"
        shutil.copytree(whole, copy)
        valid = (whole / name).read_bytes() if name in files else b'{"status": "running"}'
        (copy / name).write_bytes(mangled(valid, case))
        try:
            with engine.open(copy) as database:
                database.check()
                with database.transaction() as txn:
                    list(txn.tree("t").items())
        except HoldfastError:
            pass
        except Exception as error:
            pytest.fail(f"case {case}, {name}: {type(error).__name__}: {error}")
        shutil.rmtree(copy)
