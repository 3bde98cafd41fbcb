"""The board of alerts: raised once, counted, answered, silenced, escalated, cleared, kept over a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.alerts.alert import (
    AlertState,
    AlertType,
    Impact,
    NewsKind,
    impact_of_share,
)
from engine.alerts.board import REOPENED_S, Board
from engine.alerts.escalation import Policy
from engine.config import Config
from engine.errors import InvalidArgument
from engine.types import Severity
from tests.engine.alert_watch import DAY, HOUR, MIN, START, Watch, wrong


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def test_one_condition_is_one_alert_however_often_it_is_seen(watch: Watch) -> None:
    for _ in range(5):
        watch.board.see([wrong()])
        watch.clocks.pass_by(30)
    alert = watch.only()
    assert (alert.id, alert.count, alert.raised_at) == (1, 1, START)
    assert alert.last_seen_at == START + 4 * 30
    assert watch.told() == [("raised", 0)]


def test_an_alert_is_cleared_when_its_condition_is_gone_and_that_is_told(watch: Watch) -> None:
    watch.board.see([wrong(), wrong("low_disk")])
    watch.clocks.pass_by(30)
    watch.board.see([wrong("low_disk")])
    assert [alert.key for alert in watch.board.alerts()] == ["low_disk"]
    (over,) = watch.board.alerts(cleared=True)
    assert (over.key, over.cleared_at) == ("no_proved_backup", START + 30)
    assert watch.board.state(over) is AlertState.CLEARED
    assert watch.told() == [("raised", 0), ("raised", 0), ("cleared", 0)]


def test_what_comes_back_soon_is_the_same_alert_and_later_a_new_one(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.see([])
    watch.clocks.pass_by(REOPENED_S - 1)
    watch.board.see([wrong()])
    assert (watch.only().id, watch.only().count) == (1, 2)
    watch.board.see([])
    watch.clocks.pass_by(REOPENED_S)
    watch.board.see([wrong()])
    assert (watch.only().id, watch.only().count) == (2, 1)


def test_a_condition_that_has_to_last_is_told_once_it_has(watch: Watch) -> None:
    slow = wrong("low_memory", after_s=60.0)
    watch.board.see([slow])
    watch.clocks.pass_by(59)
    watch.board.see([slow])
    assert watch.board.alerts() == ()
    watch.clocks.pass_by(1)
    watch.board.see([slow])
    assert watch.only().key == "low_memory"
    # It is the condition that has to last, not its alert: a restart clears nothing that still holds.
    watch.again().see([slow])
    assert watch.only().is_open


def test_what_went_away_meanwhile_has_to_last_anew(watch: Watch) -> None:
    slow = wrong("low_memory", after_s=60.0)
    watch.board.see([slow])
    watch.clocks.pass_by(40)
    watch.board.see([])
    watch.clocks.pass_by(40)
    watch.board.see([slow])
    assert watch.board.alerts() == ()


def test_a_rule_that_was_not_asked_neither_raises_nor_clears(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.see([wrong("low_disk")], lambda rule: rule == "low_disk")
    assert {alert.key for alert in watch.board.alerts()} == {"no_proved_backup", "low_disk"}
    watch.board.see([wrong("mirror_lost:/m")], lambda rule: rule != "mirror_lost")
    assert watch.board.alerts() == ()


@pytest.mark.parametrize(
    ("severity", "levels"),
    [
        (Severity.CRITICAL, {0: 1, 14 * MIN: 1, 15 * MIN: 2, 30 * MIN: 3, 5 * HOUR: 3}),
        (Severity.HIGH, {0: 0, 14 * MIN: 0, 15 * MIN: 1, 30 * MIN: 2, 45 * MIN: 3, 5 * HOUR: 3}),
        (Severity.MEDIUM, {0: 0, 59 * MIN: 0, HOUR: 1, HOUR + 15 * MIN: 2, 5 * HOUR: 3}),
        (Severity.LOW, {0: 0, 5 * HOUR: 0}),
    ],
)
def test_an_alert_that_nobody_answers_goes_up_by_its_severity(
    watch: Watch, severity: Severity, levels: dict[float, int]
) -> None:
    passed = 0.0
    for at, level in levels.items():
        watch.clocks.pass_by(at - passed)
        passed = at
        watch.board.see([wrong(severity=severity)])
        assert watch.only().level == level, at


def test_every_level_is_told_once_and_no_level_after_an_answer(watch: Watch) -> None:
    watch.board.see([wrong(severity=Severity.CRITICAL)])
    for _ in range(3):
        watch.clocks.pass_by(10 * MIN)
        watch.board.see([wrong(severity=Severity.CRITICAL)])
    assert watch.told() == [("raised", 1), ("escalated", 2), ("escalated", 3)]
    watch.board.see([])
    watch.clocks.pass_by(HOUR)
    watch.board.see([wrong(severity=Severity.CRITICAL)])
    watch.board.acknowledge(watch.only().id, "kim")
    watch.clocks.pass_by(DAY)
    watch.board.see([wrong(severity=Severity.CRITICAL)])
    assert watch.told() == [("cleared", 3), ("raised", 1)]
    assert (watch.only().acknowledged_by, watch.board.state(watch.only())) == ("kim", AlertState.ACKNOWLEDGED)


def test_the_settings_say_how_long_and_how_far(tmp_path: Path) -> None:
    config = Config().changed(
        escalation_timeout="1 min",
        max_escalation_level=2,
        summary_alert_schedule="weekly",
        metrics_retention="1 d",
    )
    assert Policy.of(config) == Policy(60.0, 2, 7 * DAY, DAY)
    assert Policy.of(config.changed(enable_summary_alerts=False)).summary_every_s is None
    watch = Watch(tmp_path, Policy.of(config))
    watch.board.see([wrong()])
    watch.clocks.pass_by(10 * MIN)
    watch.board.see([wrong()])
    assert watch.only().level == 2


def test_an_acknowledged_alert_that_becomes_graver_waits_for_an_answer_anew(watch: Watch) -> None:
    watch.board.see([wrong("low_disk", Severity.MEDIUM)])
    watch.board.acknowledge(1, "kim")
    watch.clocks.pass_by(30)
    watch.board.see([wrong("low_disk", Severity.CRITICAL)])
    assert (watch.only().id, watch.only().severity) == (1, Severity.CRITICAL)
    assert watch.board.state(watch.only()) is AlertState.OPEN
    assert watch.told() == [("raised", 0), ("raised", 1)]


def test_a_silenced_alert_is_told_and_escalated_only_after_the_silence(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.told()
    watch.board.silence(1, 2 * HOUR)
    watch.clocks.pass_by(2 * HOUR - 1)
    watch.board.see([wrong()])
    assert (watch.board.state(watch.only()), watch.only().level) == (AlertState.SILENCED, 0)
    watch.clocks.pass_by(1)
    watch.board.see([wrong()])
    assert watch.board.state(watch.only()) is AlertState.OPEN
    watch.clocks.pass_by(15 * MIN)
    watch.board.see([wrong()])
    assert watch.told() == [("escalated", 1)]


def test_a_silent_type_is_listed_and_not_told_until_it_may_be(watch: Watch) -> None:
    watch.board.silence_type(AlertType.HEALTH_CHECK_FAILED, HOUR)
    watch.board.see([wrong(), wrong("low_disk", type=AlertType.RESOURCE_EXHAUSTION)])
    assert [news.alerts[0].key for news in watch.news] == ["low_disk"]
    watch.told()
    silent = next(alert for alert in watch.board.alerts() if alert.key == "no_proved_backup")
    assert watch.board.state(silent) is AlertState.SILENCED
    watch.clocks.pass_by(HOUR)
    watch.board.see([wrong(), wrong("low_disk", type=AlertType.RESOURCE_EXHAUSTION)])
    assert ("raised", 0) in watch.told()
    assert watch.board.silences() == ()


def test_a_silence_can_be_ended(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.silence(1, HOUR)
    watch.board.silence_type(AlertType.HEALTH_CHECK_FAILED, HOUR)
    watch.board.silence(1, 0)
    assert watch.board.state(watch.only()) is AlertState.SILENCED
    watch.board.silence_type(AlertType.HEALTH_CHECK_FAILED, 0)
    assert watch.board.state(watch.only()) is AlertState.OPEN


def test_an_alert_that_there_is_not_cannot_be_answered(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.see([])
    for answer in (lambda: watch.board.acknowledge(1, "kim"), lambda: watch.board.silence(7, HOUR)):
        with pytest.raises(InvalidArgument):
            answer()


def test_a_clock_that_is_set_back_neither_silences_nor_delays(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.board.silence(1, HOUR)
    watch.clocks.wall -= 365 * DAY
    watch.board.see([wrong()])
    assert watch.board.state(watch.only()) is AlertState.OPEN
    watch.clocks.pass_by(15 * MIN)
    watch.board.see([wrong()])
    assert watch.only().level == 1
    watch.board.see([])
    assert watch.board.alerts() == ()


def test_a_clock_that_jumps_ahead_escalates_nothing(watch: Watch) -> None:
    watch.board.see([wrong()])
    watch.clocks.wall += 365 * DAY
    watch.board.see([wrong()])
    assert watch.only().level == 0


def test_low_alerts_are_only_summed_up_once_a_day(watch: Watch) -> None:
    low = [wrong("snapshot_failed", Severity.LOW), wrong("busy_processor", Severity.LOW)]
    watch.board.see(low)
    watch.clocks.pass_by(DAY - 1)
    watch.board.see(low)
    assert watch.news == []
    watch.clocks.pass_by(1)
    watch.board.see(low)
    watch.board.see(low)
    (summary,) = watch.news
    assert (summary.kind, len(summary.alerts), summary.severity) == (NewsKind.SUMMARY, 2, Severity.LOW)


def test_a_summary_counts_from_anew_after_the_clock_was_set_back(watch: Watch) -> None:
    low = [wrong("snapshot_failed", Severity.LOW)]
    watch.board.see(low)
    watch.clocks.wall -= 400 * DAY
    watch.board.see(low)
    watch.clocks.pass_by(DAY)
    watch.board.see(low)
    assert [news.kind for news in watch.news] == [NewsKind.SUMMARY]


def test_boards_of_several_threads_lose_no_answer(watch: Watch) -> None:
    conditions = [wrong(f"rule_{number}") for number in range(8)]
    watch.board.see(conditions)
    start = threading.Barrier(4)

    def answer(share: int) -> None:
        board = Board(watch.directory)
        start.wait(60)
        for number in range(share, 8, 4):
            board.acknowledge(number + 1, f"thread {share}")

    threads = [threading.Thread(target=answer, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {alert.acknowledged_by for alert in watch.board.alerts()} == {f"thread {n}" for n in range(4)}


def test_the_impact_is_the_share_of_operations_that_suffers() -> None:
    limits = {
        0.0: Impact.NONE,
        0.009: Impact.MINOR,
        0.01: Impact.MAJOR,
        0.1: Impact.MAJOR,
        0.11: Impact.CRITICAL,
    }
    assert {share: impact_of_share(share) for share in limits} == limits
