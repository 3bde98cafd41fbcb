"""What is said of a mirror that does not follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import DiskFull, IoError
from engine.types import MirrorInfo, MirrorPhase
from gui.mirrors.words import reason_words

LOST = MirrorInfo(
    path="/mnt/m.holdfast",
    synchronous=False,
    in_step=False,
    phase=MirrorPhase.LOST,
    shipped_lsn=0,
    redone_lsn=0,
    lag_bytes=0,
    lag_s=7.0,
    held=True,
    copies=0,
    copied=0,
    to_copy=10,
    shipped_bytes=0,
    error_code=IoError.code,
    error="It cannot be reached.",
    mended=0,
    log_mended=0,
)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (LOST, "It cannot be reached. It goes on by itself when it is there again."),
        (
            replace(LOST, error_code=DiskFull.code, error="There was no room left."),
            "There was no room left. It goes on by itself once there is room on its disk.",
        ),
        (replace(LOST, phase=MirrorPhase.FOLLOWING, error=""), ""),
        (replace(LOST, phase=MirrorPhase.REFUSED, error="Another history."), "Another history."),
    ],
)
def test_a_mirror_that_does_not_follow_says_why_and_what_brings_it_back(info: MirrorInfo, words: str) -> None:
    assert reason_words(info) == words
