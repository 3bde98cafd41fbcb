"""What the kernel's campaign prints is understood, and nothing else passes for a success."""

from __future__ import annotations

import pytest

from tests.crash import long
from tests.crash.seeds import (
    KERNEL,
    KILLS,
    RECOVERIES,
    CampaignBroken,
    Outcome,
    how_to_repeat,
    understand,
    understand_races,
)

PRINTED = """
running 1 test
50 seeds: Figures {
    work: Tally {
        commits: 900,
    },
    lives: 150,
    recoveries: 150,
    crashed_recoveries: 40,
    evictions: 70,
    checkpoints: 300,
    rotations: 12,
    splits: 80,
    most_pages: 190,
}
"""


def test_figures_of_batches_add_up_and_the_greatest_stays() -> None:
    outcome = Outcome()
    for _ in range(2):
        outcome.add(understand(PRINTED, 50, 0))
    assert outcome.seeds == 100
    assert outcome.figures["commits"] == 1800
    assert outcome.figures["splits"] == 160
    assert outcome.figures["most_pages"] == 190
    assert not outcome.failed


def test_every_failing_seed_is_kept_with_what_it_said() -> None:
    failing = PRINTED + "seed 7: life 2: none of 3 allowed states\nseed 31: recovery: [-71]\n"
    outcome = understand(failing, 50, 101)
    assert outcome.failed == {7: "life 2: none of 3 allowed states", 31: "recovery: [-71]"}


def test_the_kernel_has_a_campaign_for_each_way_to_recover_and_for_kills() -> None:
    source = (KERNEL / "tests" / "crash" / "main.rs").read_text("utf-8")
    for campaign in (*RECOVERIES.values(), KILLS):
        assert f"#[test]\nfn {campaign}() {{" in source


def test_a_failing_seed_is_repeated_with_the_recovery_that_it_failed_in() -> None:
    outcome = Outcome()
    failing = understand(PRINTED + "seed 7: recovery: [-71]\n", 50, 101)
    failing.recoveries = {7: "early"}
    outcome.add(failing)
    again = how_to_repeat(7, None, outcome.recoveries[7])
    assert again == "python -m tests.crash --from 7 --seeds 1 --recovery early"


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("running 0 tests", 0),
        (PRINTED.replace("splits", "slits"), 0),
        (PRINTED, 101),
        (PRINTED + "seed 7: life 2: wrong\n", 0),
    ],
)
def test_output_that_says_nothing_clear_is_no_success(output: str, status: int) -> None:
    with pytest.raises(CampaignBroken):
        understand(output, 50, status)


def test_figures_that_one_test_prints_several_times_add_up() -> None:
    assert understand(PRINTED + PRINTED, 50, 0).figures["splits"] == 160


RACED = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 500 filtered out; finished in 9.1s\n"
LOST = "seed 21 went wrong\ntest result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured;\n"


def test_races_are_counted_and_the_seed_that_lost_is_repeated_in_its_campaign() -> None:
    assert understand_races(RACED, 50, 0).figures["interleavings"] == 200
    outcome = Outcome()
    outcome.add(understand_races(RACED, 50, 0))
    assert dict(outcome.figures) == {"interleavings": 200}, "figures that nobody counted are not told"
    failed = understand_races(LOST, 50, 101).failed
    assert list(failed) == [21]
    assert how_to_repeat(21, None, "races") == "python -m tests.crash --from 21 --seeds 1 --campaign races"


@pytest.mark.parametrize(
    ("output", "status"), [("", 0), (RACED, 101), (LOST, 0), (RACED.replace("4 passed", "0 passed"), 0)]
)
def test_races_that_say_nothing_clear_are_no_success(output: str, status: int) -> None:
    with pytest.raises(CampaignBroken):
        understand_races(output, 50, status)


PLAYED = """\
old rows                           0.9 s   1344086 changes/s,    3 MiB beyond the cache
a transaction that commits         9.1 s    550004 changes/s,   12 MiB beyond the cache
its rollback                       8.0 s    625000 changes/s,   14 MiB beyond the cache
1,000 changes undone, whole: 1.74 ms
1,000 changes undone, to a savepoint: 1.69 ms
undo                               7.7 s    649350 changes/s,   -2 MiB beyond the cache
problems: []
"""


def test_a_long_transaction_is_held_against_the_limits_of_memory_and_of_a_short_rollback() -> None:
    assert all(figure.is_right for figure in long.understand(PLAYED))
    for right, wrong in [("  12 MiB", "  65 MiB"), ("1.69 ms", "10.01 ms"), ("  -2 MiB", " 100 MiB")]:
        figures = long.understand(PLAYED.replace(right, wrong))
        assert [figure.is_right for figure in figures].count(False) == 1


@pytest.mark.parametrize("cut", ["its rollback ", "problems: []", "1,000 changes"])
def test_long_transactions_that_say_nothing_clear_are_no_success(cut: str) -> None:
    with pytest.raises(long.LongBroken):
        long.understand(PLAYED.replace(cut, "?"))
