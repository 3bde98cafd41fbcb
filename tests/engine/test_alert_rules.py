"""What is an alert and what is none, and how the alerts of an open database come about."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.alerts import rules, service
from engine.alerts.alert import AlertState, AlertType, Condition, Impact, News, NewsKind
from engine.alerts.channels import Channel, Desktop, LogFile, Router, log_file, route
from engine.backups.rehearsal import rehearse_task
from engine.backups.standing import Memory, write_memory
from engine.catalogue import runbook
from engine.config import Config, load
from engine.database import Database
from engine.errors import ConfigInvalid, InvalidArgument, MirrorNotReached
from engine.health.checks import checks
from engine.health.report import HealthReport
from engine.health.score import Evidence, score
from engine.types import (
    BackupStanding,
    Event,
    IntegrityStanding,
    MirrorInfo,
    MirrorPhase,
    RecoveryStanding,
    Severity,
)
from tests.crash.faults import NO_SMALL_DISK, small_disk
from tests.engine.alert_watch import Watch, wrong
from tests.engine.test_health import EVIDENCE, FIGURES, GIB, STATUS

DAY = 86400.0
SOUND = IntegrityStanding(0.0, True, 0, 0)


def found(
    evidence: Evidence = EVIDENCE, integrity: IntegrityStanding = SOUND, **more: Any
) -> list[Condition]:
    evidence = replace(evidence, integrity=integrity)
    judged = score(evidence)
    report = HealthReport(
        at=evidence.figures.at,
        score=judged.value,
        state=judged.state,
        deductions=judged.deductions,
        parts=judged.parts,
        checks=checks(evidence, judged),
        figures=evidence.figures,
        status=evidence.status,
        backups=evidence.backups,
    )
    return list(rules.conditions(rules.Seen(report, integrity, **more)))


def only(conditions: list[Condition]) -> Condition:
    (condition,) = conditions
    return condition


def test_of_a_sound_database_nobody_is_told_anything() -> None:
    assert found() == []


def backed_up(now: float, **values: Any) -> Evidence:
    return replace(EVIDENCE, figures=replace(FIGURES, at=now), backups=BackupStanding("/backups", **values))


def test_no_proved_backup_for_days_is_an_alert_that_grows_with_its_age() -> None:
    within, now = Config().proved_backup_within, 2_000_000_000.0
    assert found(backed_up(now, since=now - within)) == []
    proved = backed_up(now, since=0.0, taken_at=now - DAY, proved_at=now - within - DAY)
    condition = only(found(proved))
    assert (condition.key, condition.severity) == ("no_proved_backup", Severity.MEDIUM)
    assert "8 d old" in condition.summary
    assert (condition.action, condition.runbook) == ("back_up", "no-proved-backup")
    never = only(found(backed_up(now, since=now - within - DAY)))
    assert never.severity is Severity.HIGH
    assert never.impact is Impact.NONE


def test_a_backup_that_is_dated_ahead_of_the_clock_is_told_and_no_age_is_made_up() -> None:
    now = 2_000_000_000.0
    for ahead in (0.0, 60.0):
        assert found(backed_up(now, since=now, taken_at=now + ahead, proved_at=now + ahead)) == []
    condition = only(found(backed_up(now, since=now, taken_at=now + DAY, proved_at=now + DAY)))
    assert condition.key == "backup_ahead_of_clock"
    assert "-" not in condition.summary.partition("dated")[0]


def test_a_log_that_cannot_be_written_is_critical() -> None:
    condition = only(found(replace(EVIDENCE, status=replace(STATUS, state="failed", reason="sync failed"))))
    assert (condition.type, condition.severity) == (AlertType.LOG_WRITE_FAILURE, Severity.CRITICAL)
    assert (condition.code, condition.action, condition.runbook) == (-12, "reopen", "database-unavailable")
    assert "sync failed" in condition.summary


def test_damage_is_critical_and_its_impact_is_the_share_of_pages() -> None:
    damaged = only(found(integrity=replace(SOUND, urgent=2), damage_code=-21))
    assert (damaged.type, damaged.severity) == (AlertType.DATA_CORRUPTION, Severity.CRITICAL)
    assert (damaged.impact, damaged.code, damaged.action) == (Impact.MINOR, -21, "repair")
    assert damaged.summary == "Damage was found: 2 findings are open."
    assert only(found(integrity=replace(SOUND, urgent=200))).impact is Impact.CRITICAL
    index = only(found(integrity=replace(SOUND, indexes=1)))
    assert (index.severity, index.runbook) == (Severity.HIGH, "data-corruption")


def test_writes_that_damage_has_stopped_are_critical() -> None:
    halted = only(found(replace(EVIDENCE, status=replace(STATUS, is_halted=True))))
    assert (halted.code, halted.severity, halted.impact) == (-39, Severity.CRITICAL, Impact.CRITICAL)
    assert "a part of the database is damaged" in halted.summary


def test_a_recovery_that_is_stuck_is_critical() -> None:
    standing = RecoveryStanding("stuck", 9, 2, 0, 0, ((4, "no"), (5, "no")), 100, 7, 1.0, None)
    condition = only(found(replace(EVIDENCE, status=replace(STATUS, recovery=standing))))
    assert (condition.type, condition.severity) == (AlertType.RECOVERY_FAILURE, Severity.CRITICAL)
    assert condition.summary.endswith("redone: 2.")


def test_a_fail_over_that_failed_is_critical() -> None:
    error = MirrorNotReached(path="/m", reason="gone")
    condition = only(found(fail_over_failure=error))
    assert (condition.code, condition.severity) == (error.code, Severity.CRITICAL)
    assert condition.runbook == "mirror-lost"


def a_mirror(path: str) -> MirrorInfo:
    return MirrorInfo(
        path, False, False, MirrorPhase.LOST, 0, 0, 4096, 30.0, True, 0, 0, 0, 0, error="It is gone."
    )


def test_each_mirror_that_is_lost_is_an_alert_of_its_own() -> None:
    mirrors = (a_mirror("/a/m.holdfast"), a_mirror("/b/m.holdfast"))
    conditions = found(replace(EVIDENCE, mirrors=mirrors))
    assert [c.key for c in conditions] == ["mirror_lost:/a/m.holdfast", "mirror_lost:/b/m.holdfast"]
    assert {c.severity for c in conditions} == {Severity.HIGH}


def test_a_disk_that_fills_up_is_graver_the_less_is_free() -> None:
    least = 2 * Config().segment_size
    free = {least - 1: Severity.CRITICAL, 4 * least - 1: Severity.HIGH, 20 * GIB: Severity.MEDIUM}
    for bytes_free, severity in free.items():
        condition = only(found(replace(EVIDENCE, figures=replace(FIGURES, disk_free=bytes_free))))
        assert (condition.type, condition.severity) == (AlertType.RESOURCE_EXHAUSTION, severity)
        assert condition.runbook == "disk-full"


def test_a_transaction_that_is_open_for_long_is_an_alert() -> None:
    old = replace(STATUS, transactions=replace(STATUS.transactions, oldest_age_s=301.0))
    assert only(found(replace(EVIDENCE, status=old))).type is AlertType.LONG_TRANSACTION


def test_a_choice_is_no_reason_to_call_anybody() -> None:
    log = replace(STATUS.log, sync_mode="off")
    status = replace(STATUS, log=log, cache=replace(STATUS.cache, used=8192, hits=100, misses=900_000))
    evidence = replace(EVIDENCE, status=status)
    assert {deduction.name for deduction in score(evidence).deductions} == {"sync_mode", "small_cache"}
    assert found(evidence) == []


def every_condition() -> list[Condition]:
    now = 2_000_000_000.0
    figures = replace(FIGURES, at=now, memory_available=1, handles=1024, disk_free=1)
    transactions = replace(STATUS.transactions, oldest_age_s=7200.0)
    status = replace(STATUS, state="failed", reason="no", waiters=30, transactions=transactions)
    backups = BackupStanding(
        "/b", since=1.0, failure="No.", archive_failure="No.", archive_waiting_bytes=1 << 50
    )
    evidence = replace(EVIDENCE, figures=figures, status=status, backups=backups, mirrors=(a_mirror("/m"),))
    more = found(evidence, replace(SOUND, urgent=1, indexes=1), fail_over_failure=MirrorNotReached(path="/m"))
    return [
        *more,
        *found(replace(EVIDENCE, status=replace(STATUS, is_halted=True))),
        rules.failed_look(OSError("gone")),
        rules.failed_recovery("it stopped", "", -70),
    ]


def test_every_critical_and_high_alert_names_a_runbook_that_is_there() -> None:
    grave = [c for c in every_condition() if c.severity in (Severity.CRITICAL, Severity.HIGH)]
    assert len(grave) >= 13
    for condition in grave:
        assert runbook(condition.runbook).startswith("# "), condition.key


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for condition in every_condition():
        assert condition.summary.endswith(".")
        assert ".." not in condition.summary
        assert condition.recommended_action
        assert condition.component


# Channels


def news(severity: Severity = Severity.HIGH, kind: NewsKind = NewsKind.RAISED, path: Path = Path()) -> News:
    told: list[News] = []
    watch = Watch(path)
    watch.board = type(watch.board)(path, may_write=False, tell=told.append)
    watch.board.see([wrong(severity=severity)])
    (alert,) = watch.board.alerts()
    return News(kind, 7.0, (alert,))


class Kept(Channel):
    name = "slack"

    def __init__(self) -> None:
        self.news: list[News] = []

    def tell(self, news: News) -> None:
        self.news.append(news)


class Broken(Channel):
    name = Desktop.name

    def tell(self, news: News) -> None:
        raise OSError("no screen")


def test_a_channel_hears_what_the_severity_routes_to_it(tmp_path: Path) -> None:
    config = Config()
    assert route(Severity.CRITICAL, config) == ("desktop", "log", "pagerduty", "slack")
    assert route(Severity.CRITICAL, config.changed(enable_pager_alerts=False)) == ("desktop", "log", "slack")
    assert route(Severity.HIGH, config) == ("desktop", "log")
    assert route(Severity.LOW, config) == ("log",)
    slack = Kept()
    router = Router([slack])
    router.tell(news(Severity.CRITICAL, path=tmp_path), config)
    router.tell(news(Severity.HIGH, path=tmp_path), config)
    assert [told.severity for told in slack.news] == [Severity.CRITICAL]
    assert router.missing(config) == ("desktop", "log", "pagerduty")


def test_a_channel_that_fails_keeps_no_other_from_telling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slack = Kept()
    with caplog.at_level(logging.WARNING, "engine.alerts"):
        Router([Broken(), slack]).tell(news(Severity.CRITICAL, path=tmp_path), Config())
    assert len(slack.news) == 1
    assert any("no screen" in record.getMessage() for record in caplog.records)


def test_the_log_file_has_one_object_a_line_and_is_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.alerts.channels._LARGEST_BYTES", 2000)
    channel = LogFile(tmp_path / "alerts.log", Path("/db.holdfast"))
    told = news(path=tmp_path)
    for _ in range(20):
        channel.tell(told)
    channel.close()
    files = sorted(tmp_path.glob("alerts.log*"))
    assert len(files) == 4
    lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    assert {line["event"] for line in lines} == {"alert_raised"}
    assert lines[0]["alerts"][0]["key"] == "no_proved_backup"
    if os.name != "nt":
        assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_a_log_file_that_cannot_be_written_is_told_to_the_router(tmp_path: Path) -> None:
    channel = LogFile(tmp_path / "no such folder" / "alerts.log", tmp_path)
    with pytest.raises(OSError, match="alerts"):
        channel.tell(news(path=tmp_path))
    channel.close()


def test_the_settings_say_where_the_log_file_is(tmp_path: Path) -> None:
    database = tmp_path / "harbour.holdfast"
    assert log_file(database, Config()) == database / "alerts.log"
    elsewhere = Config().changed(log_location=str(tmp_path / "logs"))
    assert log_file(database, elsewhere) == tmp_path / "logs" / "harbour.alerts.log"


# An open database


@pytest.fixture
def unproved(tmp_path: Path) -> Path:
    """A database that nobody has backed up for a month."""
    path = tmp_path / "harbour.holdfast"
    with engine.open(path) as db, db.transaction() as txn:
        txn.tree("t")[b"k"] = b"v"
    write_memory(path, Memory(since=time.time() - 30 * DAY))
    return path


def about_backups(db: Database) -> list[str]:
    """Of all that the machine of the tests may lack."""
    return [alert.key for alert in db.alerts.list() if alert.component == "backups"]


def looked(db: Database) -> None:
    db.keeper.look()
    db.alerts.look()


def test_an_open_database_without_a_proved_backup_alerts_until_it_has_one(
    unproved: Path, tmp_path: Path
) -> None:
    with engine.open(unproved) as db:
        looked(db)
        assert about_backups(db) == ["no_proved_backup"]
        alert = next(alert for alert in db.alerts.list() if alert.key == "no_proved_backup")
        assert (alert.severity, alert.type) == (Severity.HIGH, AlertType.HEALTH_CHECK_FAILED)
        assert "30 d" in alert.summary
        rehearse_task(db.backups.full_task(tmp_path / "chain").run().path).run()
        db.keeper.look(tmp_path / "chain")
        looked(db)
        assert about_backups(db) == []
        assert "no_proved_backup" in {alert.key for alert in db.alerts.list(cleared=True)}
    with engine.open(unproved) as db:
        assert "no_proved_backup" in {alert.key for alert in db.alerts.list(cleared=True)}
    lines = [json.loads(line) for line in (unproved / "alerts.log").read_text("utf-8").splitlines()]
    ours = [line["event"] for line in lines if line["alerts"][0]["key"] == "no_proved_backup"]
    assert ours == ["alert_raised", "alert_cleared"]


def test_nothing_is_said_of_backups_before_anybody_has_looked_at_their_folders(unproved: Path) -> None:
    with engine.open(unproved) as db:
        looked(db)
    with engine.open(unproved, read_only=True) as db:
        db.alerts.look()
        # What was known stays.
        assert about_backups(db) == ["no_proved_backup"]
    (unproved / "history.db").unlink()
    with engine.open(unproved, read_only=True) as db:
        db.alerts.look()
        assert about_backups(db) == []


def test_a_read_only_database_keeps_nothing(unproved: Path) -> None:
    with engine.open(unproved, read_only=True) as db:
        looked(db)
        assert about_backups(db) == ["no_proved_backup"]
    assert not (unproved / "history.db").exists()


def test_alerts_are_told_as_events_and_answers_too(unproved: Path) -> None:
    events: list[Event] = []
    with engine.open(unproved) as db:
        db.events.subscribe(events.append)
        looked(db)
        (alert,) = [alert for alert in db.alerts.list() if alert.key == "no_proved_backup"]
        db.alerts.acknowledge(alert.id)
        db.alerts.silence("health_check_failed", 60.0)
        view = db.alerts.view()
        assert view.state(next(a for a in view.alerts if a.id == alert.id)) is AlertState.SILENCED
        assert alert.id not in {a.id for a in view.unanswered}
        assert view.unreachable == ("pagerduty", "slack")
    raised = [e for e in events if e.kind == "alert_raised" and e.fields["alert"] == alert.id]
    assert [(e.fields["severity"], e.fields["level"]) for e in raised] == [("high", 0)]
    assert sum(event.kind == "alerts_changed" for event in events) == 2


def test_a_type_that_there_is_not_cannot_be_silenced(unproved: Path) -> None:
    with engine.open(unproved) as db, pytest.raises(InvalidArgument, match="long_transaction"):
        db.alerts.silence("everything", 60.0)


def test_settings_of_alerts_are_in_force_at_once_and_kept(unproved: Path) -> None:
    with engine.open(unproved) as db:
        db.alerts.change(escalation_timeout="1 min", max_escalation_level=7)
        assert (db.config.escalation_timeout, db.config.max_escalation_level) == (60.0, 7)
        with pytest.raises(ConfigInvalid):
            db.alerts.change(max_escalation_level=99)
    assert load(unproved).max_escalation_level == 7


def test_a_health_check_that_fails_is_an_alert_and_clears_nothing(
    unproved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.open(unproved) as db:
        looked(db)

        def fail() -> HealthReport:
            raise OSError("the disk does not answer")

        monkeypatch.setattr(db.health, "report", fail)
        db.alerts.look()
        keys = {alert.key for alert in db.alerts.list()}
        assert {"health_check_failed", "no_proved_backup"} <= keys
        monkeypatch.undo()
        db.alerts.look()
        assert "health_check_failed" not in {alert.key for alert in db.alerts.list()}


@pytest.mark.skipif(bool(NO_SMALL_DISK), reason=NO_SMALL_DISK or "small disks")
def test_a_full_disk_is_told_although_nothing_can_be_kept_of_it(tmp_path: Path) -> None:
    config = Config().changed(segment_size="1 MiB", cache_size="1 MiB")
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        path = disk.folder / "full.holdfast"
        with engine.open(path, config=config) as db:
            ballast = disk.folder / "ballast"
            with ballast.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
            db.alerts.look()
            (alert,) = [alert for alert in db.alerts.list() if alert.key == "low_disk"]
            assert alert.severity is Severity.CRITICAL
            assert "could not be written" in db.alerts.view().note
            ballast.unlink()
            db.alerts.look()
            assert "low_disk" not in {a.key for a in db.alerts.list() if a.severity is Severity.CRITICAL}
        with engine.open(path, config=config) as db:
            known = (*db.alerts.list(), *db.alerts.list(cleared=True))
            assert alert.id in {a.id for a in known}


def test_a_damaged_history_keeps_no_database_from_being_opened(unproved: Path) -> None:
    (unproved / "history.db").write_bytes(b"rubbish" * 1000)
    with engine.open(unproved) as db:
        assert db.alerts.list() == ()
        looked(db)
        assert about_backups(db) == ["no_proved_backup"]


def wait_for(events: list[Event], came: threading.Condition, holds: Callable[[Event], bool]) -> bool:
    with came:
        return came.wait_for(lambda: any(map(holds, events)), timeout=60)


def test_whoever_attends_has_the_alerts_looked_after_from_then_on(
    unproved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "GLANCE_S", 0.01)
    events: list[Event] = []
    came = threading.Condition()

    def hear(event: Event) -> None:
        with came:
            events.append(event)
            came.notify_all()

    with engine.open(unproved) as db:
        db.events.subscribe(hear)
        db.alerts.attend()
        # The thread of the backups looks at their folders, and the one of the alerts then at them.
        db.keeper.look()
        assert wait_for(events, came, lambda e: e.kind == "alert_raised" and "backup" in e.fields["summary"])
        db.integrity.report_page(1, -21, "made up", "read")  # type: ignore[arg-type]
        assert wait_for(
            events, came, lambda e: e.kind == "alert_raised" and e.fields["severity"] == "critical"
        )
        finding = db.integrity.findings()[0]
        db.integrity.dismiss(finding.id, "it was made up")
        assert wait_for(events, came, lambda e: e.kind == "alert_cleared" and "Damage" in e.fields["summary"])


def test_a_script_that_opens_a_database_for_a_moment_has_no_part_in_it(unproved: Path) -> None:
    with engine.open(unproved) as db:
        assert db.status().state == "open"
    assert not (unproved / "history.db").exists()
    assert not (unproved / "alerts.log").exists()


def test_after_the_close_nothing_is_looked_at(unproved: Path) -> None:
    with engine.open(unproved) as db:
        alerts = db.alerts
    alerts.look()
    assert not (unproved / "history.db").exists()
