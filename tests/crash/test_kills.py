"""Processes killed at random moments, and proof that the verifier can tell a good end from a bad one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine.database import Database
from tests.crash import contents
from tests.crash.kills import Campaign
from tests.crash.model import Model, differences
from tests.crash.script import (
    ACCOUNTS,
    JOURNAL,
    TABLE,
    THREADS,
    DropTable,
    PutRow,
    SetIndex,
    draw,
    scratch_tree,
)
from tests.crash.takeovers import Takeovers
from tests.crash.visitor import VERBS, Visitor
from tests.crash.writer import CONFIG, carry_out

SEED = 11
TRANSACTIONS = 12
"""Of each thread."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with engine.open(tmp_path / "model.holdfast", config=CONFIG) as opened:
        contents.prepare(opened)
        yield opened


@pytest.fixture
def model(database: Database) -> Model:
    """A model of a database that holds what it must."""
    model = Model(SEED)
    for number in range(TRANSACTIONS):
        for thread in range(THREADS):
            commit(database, model, thread, number)
    return model


def commit(database: Database, model: Model, thread: int, number: int) -> None:
    script = draw(SEED, thread, number)
    with database.transaction() as txn:
        for step in script.steps:
            carry_out(txn, step)
        if not script.commits:
            txn.abort()
            return
    model.intend(thread, number)
    model.acknowledge(thread, number)


def told(database: Database, model: Model) -> list[str]:
    """What the verifier says of the database."""
    found = contents.contents(database)
    return model.settle(found.stands).problems + differences(model.contents(), found)


def next_commit(thread: int) -> int:
    """The number of the next transaction of a thread that is not aborted."""
    return next(n for n in range(TRANSACTIONS, TRANSACTIONS + 100) if draw(SEED, thread, n).commits)


def test_acknowledged_commits_survive_kills_and_nothing_else_does(tmp_path: Path) -> None:
    # This seed kills at work, in recovery, and at work beside a second program.
    campaign = Campaign(tmp_path, seed=329, tell=print, recovery="whole")
    figures = campaign.run(kills=4)
    assert figures.kills == 4
    assert figures.visits >= 1
    assert figures.verifications >= 2
    assert figures.recoveries >= 1
    assert figures.commits_acknowledged > 100
    assert figures.rotations > 0
    assert figures.splits > 0


def test_commits_survive_kills_while_an_open_database_is_still_redone(tmp_path: Path) -> None:
    # This seed kills at work, then twice a process that writes behind its opening, blind.
    campaign = Campaign(tmp_path, seed=199, tell=print, recovery="early")
    figures = campaign.run(kills=4)
    assert figures.blind_lives == 2
    assert figures.recoveries_behind_the_opening >= 2
    assert figures.verifications >= 2
    assert figures.commits_acknowledged > 50


def test_a_synchronous_mirror_that_takes_over_has_every_acknowledged_commit(tmp_path: Path) -> None:
    campaign = Takeovers(tmp_path, seed=4, tell=print)
    figures = campaign.run(kills=2)
    assert figures.kills_at_work == 2
    assert figures.verifications == 3
    assert figures.commits_acknowledged > 0
    assert [item.name for item in tmp_path.glob("*.holdfast")] == [campaign.path.name]


def test_the_same_seed_draws_the_same_transaction() -> None:
    assert draw(SEED, 3, 40) == draw(SEED, 3, 40)
    assert draw(SEED, 3, 40) != draw(SEED + 1, 3, 40)


def test_a_database_that_holds_what_it_must_differs_in_nothing(database: Database, model: Model) -> None:
    assert told(database, model) == []


def test_an_acknowledged_commit_that_is_not_there_is_told(database: Database, model: Model) -> None:
    number = next_commit(2)
    model.intend(2, number)
    model.acknowledge(2, number)
    problems = told(database, model)
    assert any(f"it must be {number}" in problem for problem in problems), problems
    assert any("missing" in problem or "must hold" in problem for problem in problems), problems


def test_a_transaction_in_flight_may_be_there_or_not(database: Database, model: Model) -> None:
    number = next_commit(2)
    model.intend(2, number)
    assert told(database, model) == []
    with database.transaction() as txn:
        for step in draw(SEED, 2, number).steps:
            carry_out(txn, step)
    model.intend(2, number)
    assert told(database, model) == []


def test_half_of_a_transaction_in_flight_is_told(database: Database, model: Model) -> None:
    number = next(n for n in range(next_commit(2), 200) if len(draw(SEED, 2, n).effects()) > 5)
    steps = draw(SEED, 2, number).effects()
    model.intend(2, number)
    with database.transaction() as txn:
        # The ledger, which is last, says that it is there, and the rest is not.
        carry_out(txn, steps[-1])
    assert told(database, model) != []


def test_a_stray_record_is_told_by_its_tree_and_key(database: Database, model: Model) -> None:
    with database.transaction() as txn:
        txn.tree(ACCOUNTS)[b"nobody wrote this"] = b"x"
    (problem,) = told(database, model)
    assert ACCOUNTS in problem
    assert "nobody wrote this" in problem
    assert "stray" in problem


def test_a_stray_row_and_a_stray_tree_are_told(database: Database, model: Model) -> None:
    with database.transaction() as txn:
        carry_out(txn, PutRow(TABLE, 5_000_000, "stray"))
        txn.tree("nobody made this")
    problems = told(database, model)
    assert any("5000000: stray" in problem for problem in problems), problems
    assert any("nobody made this: stray" in problem for problem in problems), problems


def test_a_lost_record_and_one_of_other_bytes_are_told(database: Database, model: Model) -> None:
    with database.transaction() as txn:
        journal = txn.tree(JOURNAL)
        lost, other = list(journal)[:2]
        del journal[lost]
        journal[other] = journal[other] + b"!"
    missing, changed = told(database, model)
    assert repr(lost) in missing
    assert "missing" in missing
    assert repr(other) in changed
    assert "must hold" in changed


def test_a_tree_that_was_dropped_is_told_when_it_is_missing(database: Database, model: Model) -> None:
    name = next(scratch_tree(thread) for thread in range(THREADS) if scratch_tree(thread) in database.trees())
    with database.transaction() as txn:
        txn.drop_tree(name)
    (problem,) = told(database, model)
    assert problem.startswith(f"tree {name}: missing")


def test_an_index_and_a_table_that_come_or_go_unasked_are_told(database: Database, model: Model) -> None:
    known = contents.contents(database)
    indexed = next(
        name for name in known.tables if f"{name}.{contents.NAMES}" in known.indexes and name != TABLE
    )
    plain = next(name for name in known.tables if f"{name}.{contents.NAMES}" not in known.indexes)
    for step in (SetIndex(indexed, False), SetIndex(plain, True)):
        with database.transaction() as txn:
            carry_out(txn, step)
    problems = told(database, model)
    assert sorted(problems) == sorted(
        [f"index {indexed}.{contents.NAMES}: missing", f"index {plain}.{contents.NAMES}: stray"]
    )
    with database.transaction() as txn:
        carry_out(txn, DropTable(plain))
    assert any(problem.startswith(f"table {plain}: missing") for problem in told(database, model))


@pytest.mark.parametrize("verb", VERBS)
def test_a_second_program_is_told_that_the_database_is_in_use(database: Database, verb: str) -> None:
    visitor = Visitor(verb, database.path, lambda: True)
    assert visitor.problem() is None
    assert visitor.was_refused


@pytest.mark.parametrize("verb", VERBS)
def test_a_second_program_that_is_let_in_while_the_writer_lives_is_told(
    database: Database, verb: str
) -> None:
    database.close()
    assert "the writer alive: status 0" in (Visitor(verb, database.path, lambda: True).problem() or "")
    assert Visitor(verb, database.path, lambda: False).problem() is None
