from __future__ import annotations

import pytest

from engine.units import counted, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "count"), [("64 MiB", 64 << 20), ("1.5GiB", 3 << 29), ("10 MB", 10**7), ("512", 512), (7, 7)]
)
def test_sizes_are_read(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("100 ms", 0.1), ("30 s", 30), ("15 m", 900), ("2h", 7200), ("7 d", 604800), (5, 5)]
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "MiB", "-1 MiB", "5 parsecs", "1 2", "1,5 s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not one of"):
        parse_size(text)
    with pytest.raises(ValueError, match="not one of"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_sizes_are_shown(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0354, "35 ms"),
        (1.25, "1.2 s"),
        (12, "12 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (345_600, "4 d"),
    ],
)
def test_durations_are_shown(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_one_thing_is_never_said_to_be_many() -> None:
    assert [counted(n, "page") for n in (0, 1, 1200)] == ["0 pages", "1 page", "1,200 pages"]
    assert [counted(n, "page was", "pages were") for n in (1, 2)] == ["1 page was", "2 pages were"]
