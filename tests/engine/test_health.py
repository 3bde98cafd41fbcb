"""The health score from figures, with its deductions and checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import Config
from engine.health.checks import Answer, checks
from engine.health.figures import Figures, Gauge
from engine.health.score import Component, Evidence, HealthState, score, state_of
from engine.types import (
    CacheStatus,
    CheckpointStatus,
    CheckReport,
    IntegrityStanding,
    Latency,
    LogStatus,
    Problem,
    StoreStatus,
    SyncMode,
    TransactionCounters,
)

GIB = 1 << 30

FIGURES = Figures(0.0, 20.0, 10.0, 16 * GIB, 8 * GIB, GIB // 4, 8, 30, 1024, 500 * GIB, 200 * GIB)
STATUS = StoreStatus(
    at=0.0,
    state="open",
    reason="",
    read_only=False,
    pages=1000,
    free_pages=10,
    log=LogStatus(1000, 1000, 1 << 26, 1, 1 << 26, 10, 1000, 5, 0, SyncMode.DURABLE, 0, "checkpoint"),
    checkpoint=CheckpointStatus(900, 0.0, 900, 1, 0.1, 10, 100, 1 << 30),
    cache=CacheStatus(8192, 1000, 10, 8192, 100, 1, 0, 0),
    transactions=TransactionCounters(1, 10, 9, 5, 0, 0, 0, 0, 1.0),
    waiters=0,
)
EVIDENCE = Evidence(FIGURES, STATUS, Config())


def test_a_database_with_nothing_wrong_scores_100() -> None:
    judged = score(EVIDENCE)
    assert judged.value == 100
    assert judged.state is HealthState.HEALTHY
    assert judged.deductions == ()


def test_the_deductions_add_up_to_what_is_missing() -> None:
    figures = replace(FIGURES, cpu_percent=99.0, memory_available=GIB // 4)
    judged = score(replace(EVIDENCE, figures=figures))
    assert judged.value == 100 - sum(deduction.points for deduction in judged.deductions)
    assert {deduction.component for deduction in judged.deductions} == {Component.CPU, Component.MEMORY}
    assert all(deduction.reason and deduction.fix for deduction in judged.deductions)


def test_what_is_not_set_up_is_not_counted_and_said_so() -> None:
    part = next(part for part in score(EVIDENCE).parts if part.component is Component.REPLICATION)
    assert part.score is None
    assert "no mirror" in part.note


def test_an_engine_that_takes_no_writes_is_critical() -> None:
    judged = score(replace(EVIDENCE, status=replace(STATUS, state="failed", reason="a sync failed")))
    assert judged.state is HealthState.CRITICAL
    assert "a sync failed" in judged.deductions[0].reason


def test_damage_found_by_the_last_check_is_critical_until_a_check_finds_none() -> None:
    report = CheckReport(False, 10, 10, 10, 0.1, (Problem(-21, 7, "t", "checksum"),))
    evidence = replace(EVIDENCE, last_check=report)
    judged = score(evidence)
    assert judged.state is HealthState.CRITICAL
    integrity = checks(evidence, judged)[0]
    assert (integrity.name, integrity.answer) == ("data_integrity", Answer.CRITICAL)
    healed = replace(EVIDENCE, last_check=replace(report, ok=True, problems=()))
    assert checks(healed, score(healed))[0].answer is Answer.HEALTHY


def test_what_was_never_checked_is_unknown_not_healthy() -> None:
    assert checks(EVIDENCE, score(EVIDENCE))[0].answer is Answer.UNKNOWN


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"log": replace(STATUS.log, sync_mode=SyncMode.OFF)}, "sync_mode"),
        ({"latency": {"sync": Latency(100, 1e5, 2e6, 3e6)}}, "slow_sync"),
        ({"transactions": replace(STATUS.transactions, oldest_age_s=4000.0)}, "old_transaction"),
        ({"waiters": 25}, "waiters"),
        ({"checkpoint": replace(STATUS.checkpoint, redo_bytes=3 * GIB)}, "checkpoint_debt"),
        ({"cache": replace(STATUS.cache, used=8192, hits=100_000, misses=100_000)}, "small_cache"),
    ],
)
def test_each_fault_of_the_engine_has_its_deduction(change: dict[str, object], name: str) -> None:
    status = replace(STATUS, **change)  # type: ignore[arg-type]
    assert [deduction.name for deduction in score(replace(EVIDENCE, status=status)).deductions] == [name]


def test_a_full_disk_alone_takes_the_score_out_of_healthy() -> None:
    judged = score(replace(EVIDENCE, figures=replace(FIGURES, disk_free=1 << 20)))
    assert judged.state is HealthState.CRITICAL


def test_the_states_have_the_limits_that_are_documented() -> None:
    assert [state_of(value).value for value in (100, 80, 79, 50, 49, 0)] == [
        "healthy",
        "healthy",
        "degraded",
        "degraded",
        "critical",
        "critical",
    ]


def test_the_gauge_reads_this_machine(tmp_path: Path) -> None:
    figures = Gauge(tmp_path).read()
    assert figures.memory_total >= figures.memory_available > 0
    assert figures.disk_total >= figures.disk_free > 0
    assert figures.process_memory > 0
    assert figures.threads >= 1


def test_an_open_finding_counts_until_it_is_closed_and_a_kept_check_is_believed() -> None:
    standing = IntegrityStanding(checked_at=1.0, is_checked_well=False, urgent=2, indexes=1)
    evidence = replace(EVIDENCE, integrity=standing)
    judged = score(evidence)
    assert {deduction.name: deduction.action for deduction in judged.deductions} == {
        "damage": "repair",
        "damaged_index": "repair",
    }
    assert judged.state is HealthState.CRITICAL
    healed = replace(EVIDENCE, integrity=IntegrityStanding(1.0, True, 0, 0))
    assert score(healed).value == 100
    answers = {check.name: check.answer for check in checks(healed, score(healed))}
    assert answers["data_integrity"] is Answer.HEALTHY
