"""The scenarios at a small size, and proof that their verdicts can be other than good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engine
from engine.bridge import Transaction
from engine.database import Database
from tests.crash import matrix, workload
from tests.crash.run import MIB
from tests.crash.scenarios import SCENARIOS, NotAsItMustBe, Scenario, ensure
from tests.crash.workload import BACK, UNFINISHED, Shape, Verdict, verify

SHAPE = Shape(threads=2, records=3, value_bytes=60)
COMMITS = BACK + 10


# Of the others there is no recovery, or one way to it.
BOTH_WAYS = tuple(
    name for name in SCENARIOS if name not in ("normal-shutdown", "first-query", "two-processes")
)


@pytest.mark.parametrize(
    ("name", "opens_early"),
    [*((name, False) for name in SCENARIOS), *((name, True) for name in BOTH_WAYS)],
)
def test_nothing_that_was_acknowledged_is_lost_and_nothing_else_is_there(
    name: str, opens_early: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if SCENARIOS[name].missing:
        pytest.skip(SCENARIOS[name].missing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    outcome = matrix.play(SCENARIOS[name], 2 * MIB, said.append, opens_early=opens_early)
    assert outcome.is_right, (outcome.failure, said)
    assert outcome.verdict is not None
    assert outcome.verdict.commits > 10
    assert list(tmp_path.iterdir()) == [], "what went well leaves nothing behind"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """`COMMITS` transactions of each thread."""
    with engine.open(tmp_path / "model.holdfast") as opened:
        with opened.transaction() as txn:
            workload.prepare(txn, SHAPE)
        for thread in range(SHAPE.threads):
            for number in range(COMMITS):
                with opened.transaction() as txn:
                    workload.carry_out(txn, thread, number, SHAPE)
        yield opened


def judged(database: Database, acknowledged: int = COMMITS, *, may_lack: bool = False) -> Verdict:
    return verify(database, SHAPE, dict.fromkeys(range(SHAPE.threads), acknowledged), may_lack=may_lack)


def test_what_must_be_there_and_nothing_else_is_right(database: Database) -> None:
    for acknowledged in (COMMITS, COMMITS - 1):
        verdict = judged(database, acknowledged)
        assert verdict.problems == []
    assert verdict.commits == SHAPE.threads * COMMITS
    assert verdict.records == SHAPE.threads * (COMMITS * SHAPE.records - 10)


def test_an_acknowledged_commit_that_is_not_there_is_lost_unless_it_may_lack(database: Database) -> None:
    verdict = judged(database, COMMITS + 1)
    assert len(verdict.lost) == SHAPE.threads
    assert not verdict.torn
    assert judged(database, COMMITS + 1, may_lack=True).problems == []


def test_a_commit_that_was_never_made_is_told(database: Database) -> None:
    assert len(judged(database, COMMITS - 2).torn) == SHAPE.threads


def _lose_a_record(txn: Transaction) -> None:
    del txn.tree("work-0")[b"%08d-0001" % 25]


def _alter_a_record(txn: Transaction) -> None:
    txn.tree("work-1")[b"%08d-0001" % 25] = b"other"


def _leave_a_deleted_record(txn: Transaction) -> None:
    txn.tree("work-0")[b"%08d-0000" % 2] = b"back again"


def _add_half_a_transaction(txn: Transaction) -> None:
    txn.tree("work-0")[b"%08d-0000" % COMMITS] = b"half"


def _leave_unfinished_work(txn: Transaction) -> None:
    txn.tree(UNFINISHED)[b"x"] = b"never committed"


def _move_a_coin(txn: Transaction) -> None:
    accounts = txn.tree("accounts-0")
    accounts[b"0000"] = b"%d" % (int(accounts[b"0000"]) - 1)
    accounts[b"0001"] = b"%d" % (int(accounts[b"0001"]) + 1)


@pytest.mark.parametrize(
    "meddle",
    [
        _lose_a_record,
        _alter_a_record,
        _leave_a_deleted_record,
        _add_half_a_transaction,
        _leave_unfinished_work,
        _move_a_coin,
    ],
)
def test_a_transaction_that_is_there_in_part_is_told(
    database: Database, meddle: Callable[[Transaction], None]
) -> None:
    with database.transaction() as txn:
        meddle(txn)
    verdict = judged(database, may_lack=True)
    assert verdict.torn
    assert not verdict.lost


def test_coins_that_were_made_are_told_as_inconsistent(database: Database) -> None:
    with database.transaction() as txn:
        txn.tree("accounts-0")[b"0000"] = b"1000000"
    assert judged(database).inconsistent == ["thread 0: coins were made or lost"]


def test_the_matrix_shows_what_was_found_and_what_could_not_be_played() -> None:
    wrong = Verdict(torn=["half of it"], lost=["3 | 4"])
    timed = {"recovery_s": 4.0, "log_bytes": 10**9, "mb_per_s": 250, "peak_bytes": 80e6}
    text = matrix.matrix_markdown(
        [
            matrix.Outcome("simple-crash", "killed", Verdict(), timed),
            matrix.Outcome(
                "disk-full", "full", wrong, {"recovery_s": 0.2, "log_bytes": 1, "peak_bytes": 5e7}
            ),
            matrix.Outcome("normal-shutdown", "closed", None, failure="it did not open"),
            matrix.Outcome("memory-exhaustion", "none left", None, missing="no such limit"),
        ]
    )
    assert "| process kill | yes | yes | yes | 4.0 s, 250 MB/s, 80 MB |" in text
    assert (
        "| disk full | yes | no: half of it | no: 3 / 4 | 0.2 s, 50 MB; too little log for a rate |" in text
    )
    assert "| normal shutdown | no | no | no | it did not open |" in text
    assert "| memory exhaustion | not played | not played | not played | no such limit |" in text


def test_a_scenario_that_does_not_end_as_it_must_keeps_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def play(_run: object) -> Verdict:
        ensure(False, "the wrong answer")
        raise NotAsItMustBe

    said: list[str] = []
    outcome = matrix.play(Scenario("wrong", "made to fail", play), MIB, said.append)
    assert not outcome.is_right
    assert outcome.failure == "the wrong answer"
    (kept,) = tmp_path.iterdir()
    assert str(kept) in said[-1]
