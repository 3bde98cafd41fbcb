"""The verb alerts: listed, acknowledged and silenced, whatever state the database is in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.alerts.alert import AlertType
from engine.backups.standing import Memory, write_memory
from engine.cli.__main__ import main
from engine.errors import HoldfastError, RecoveryVerificationFailed
from engine.recovery import history
from engine.recovery.report import RecoveryReport
from engine.types import Outcome, Severity

FINE, PROBLEMS, ERROR = 0, 1, 3
DAY = 86400.0

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tuple[int, str]:
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out

    return call


@pytest.fixture
def unproved(tmp_path: Path) -> Path:
    """A closed database that nobody has backed up for a month."""
    path = tmp_path / "harbour.holdfast"
    engine.open(path).close()
    write_memory(path, Memory(since=time.time() - 30 * DAY))
    return path


def about_backups(out: str) -> dict[str, Any]:
    """The alert of the backups, of all that this machine may lack."""
    (alert,) = [alert for alert in json.loads(out)["alerts"] if alert["key"] == "no_proved_backup"]
    return dict(alert)


def test_alerts_are_listed_with_what_to_do(unproved: Path, run: Run) -> None:
    status, out = run("alerts", unproved)
    assert status == PROBLEMS
    for words in ("high  backups: open", "There was no backup for 30 d.", "To do: Take a backup", "Runbook:"):
        assert words in out
    status, told = run("alerts", unproved, "--json")
    alert = about_backups(told)
    assert (status, alert["severity"], alert["state"], alert["impact"]) == (PROBLEMS, "high", "open", "none")


def test_a_look_changes_nothing_in_the_database_but_its_alerts(unproved: Path, run: Run) -> None:
    before = {item: item.stat().st_mtime_ns for item in unproved.rglob("*") if item.is_file()}
    run("alerts", unproved)
    after = {item: item.stat().st_mtime_ns for item in unproved.rglob("*") if item.is_file()}
    changed = {item.name for item in after if before.get(item) != after[item]}
    assert changed <= {"history.db", "alerts.log", "LOCK"}


def test_an_alert_is_acknowledged_by_its_number(unproved: Path, run: Run) -> None:
    number = about_backups(run("alerts", unproved, "--json")[1])["id"]
    status, out = run("alerts", unproved, "acknowledge", number)
    assert (status, f"Alert {number} is acknowledged by" in out) == (FINE, True)
    alert = about_backups(run("alerts", unproved, "--json")[1])
    assert (alert["state"], bool(alert["acknowledged_by"])) == ("acknowledged", True)


def test_alerts_are_silenced_by_number_and_by_type(unproved: Path, run: Run) -> None:
    number = about_backups(run("alerts", unproved, "--json")[1])["id"]
    assert "is silent until" in run("alerts", unproved, "silence", number, "--for", "2h")[1]
    assert about_backups(run("alerts", unproved, "--json")[1])["state"] == "silenced"
    assert "silent no more" in run("alerts", unproved, "silence", number, "--for", "0")[1]
    assert about_backups(run("alerts", unproved, "--json")[1])["state"] == "open"
    kind = AlertType.HEALTH_CHECK_FAILED.value
    run("alerts", unproved, "silence", kind, "--for", "1 d")
    assert about_backups(run("alerts", unproved, "--json")[1])["state"] == "silenced"
    assert f"The type {kind} is silent." in run("alerts", unproved)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("acknowledge",), "needs the number"),
        (("acknowledge", "99"), "no alert 99 is open"),
        (("acknowledge", "all"), "not the number"),
        (("silence", "1"), "needs a time"),
        (("silence", "everything", "--for", "2h"), "must be one of"),
    ],
)
def test_what_cannot_be_answered_is_said(
    unproved: Path, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    status, out = run("alerts", unproved, *arguments, "--json")
    assert status == ERROR
    assert words in json.loads(out)["error"]["message"]


def test_those_that_are_over_are_listed_on_demand(unproved: Path, run: Run) -> None:
    run("alerts", unproved)
    write_memory(unproved, Memory(since=time.time()))
    status, out = run("alerts", unproved, "--cleared", "--json")
    assert (status, about_backups(out)["state"]) == (FINE, "cleared")
    assert "no backup" not in run("alerts", unproved)[1]


def test_a_database_that_is_open_elsewhere_can_be_answered_for(unproved: Path, run: Run) -> None:
    with engine.open(unproved) as db:
        db.keeper.look()
        db.alerts.look()
        _status, out = run("alerts", unproved, "--json")
        alert = about_backups(out)
        assert any("open in another program" in note for note in json.loads(out)["notes"])
        run("alerts", unproved, "acknowledge", alert["id"])
        db.alerts.look()
        (ours,) = [a for a in db.alerts.list() if a.id == alert["id"]]
        assert ours.acknowledged_by


def failed(error: HoldfastError) -> RecoveryReport:
    return RecoveryReport(indicators=(), stages=(), outcome=Outcome.FAILED, error=error)


def test_a_recovery_that_failed_is_told_of_a_database_that_is_not_opened(
    crashed: Callable[..., Path], run: Run
) -> None:
    path = crashed(commits=1)
    error = RecoveryVerificationFailed(check_name="pages", details="one is damaged", critical=True)
    history.append(path, failed(error), at=time.time())
    status, out = run("alerts", path, "--json")
    told = json.loads(out)
    (alert,) = told["alerts"]
    assert (status, alert["type"], alert["impact"]) == (PROBLEMS, "recovery_failure", "unavailable")
    assert (alert["code"], alert["severity"], alert["runbook"]) == (-83, Severity.CRITICAL, "recovery-failed")
    assert any("not opened to look" in note for note in told["notes"])
    assert (path / ".recovery_needed").exists() is False
    engine.open(path).close()
    assert "recovery_failed" not in {a["key"] for a in json.loads(run("alerts", path, "--json")[1])["alerts"]}


def test_settings_that_cannot_be_read_hide_no_alert(crashed: Callable[..., Path], run: Run) -> None:
    path = crashed(commits=1)
    (path / "reliability.toml").write_text("this is no TOML", "utf-8")
    status, out = run("alerts", path)
    assert (status, "No alert is open." in out) == (FINE, True)
