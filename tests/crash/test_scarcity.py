"""Work in processes with little memory, and proof that what it loses would be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import engine
from tests.crash import scarcity
from tests.crash.pauper import TREE
from tests.crash.scarcity import EVERY, MIB, Outcome, Scarce

pytestmark = pytest.mark.skipif(bool(scarcity.MISSING), reason=scarcity.MISSING or "there is one")


@pytest.mark.parametrize("work", EVERY)
def test_all_work_is_done_within_256_mib_of_addresses(work: str, tmp_path: Path) -> None:
    outcome = Outcome()
    folder = tmp_path / "run"
    folder.mkdir()
    scarcity.run(folder, work, 256 * MIB, outcome)
    assert outcome.done[work] == 1
    assert list(tmp_path.iterdir()) == [], "what went well leaves nothing behind"


def test_a_value_that_another_one_took_the_place_of_is_found(tmp_path: Path) -> None:
    path = tmp_path / "scarce.holdfast"
    committed = scarcity._prepare(path, "put")
    scarcity._verify(path, committed, "whole")
    with engine.open(path) as database, database.transaction() as txn:
        txn.tree(TREE)[b"00000001"] = b"another"
    with pytest.raises(Scarce, match=re.escape("value 1 is another one")):
        scarcity._verify(path, committed, "changed")
    with engine.open(path) as database, database.transaction() as txn:
        del txn.tree(TREE)[b"00000001"]
    with pytest.raises(Scarce, match="2 commits were acknowledged, 1 are there"):
        scarcity._verify(path, committed, "lost")
