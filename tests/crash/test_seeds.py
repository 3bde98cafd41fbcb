"""What the kernel's campaign prints is understood, and nothing else passes for a success."""

from __future__ import annotations

import pytest

from tests.crash.seeds import KERNEL, RECOVERIES, CampaignBroken, Outcome, how_to_repeat, understand

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


def test_the_kernel_has_a_campaign_for_each_way_to_recover() -> None:
    source = (KERNEL / "tests" / "crash" / "main.rs").read_text("utf-8")
    for campaign in RECOVERIES.values():
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
