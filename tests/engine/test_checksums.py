"""Checksums of pages without an engine, over the files that the engine writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from engine.integrity.checksums import Verdict, verify_batch, verify_block, verify_file_task

PAGE = 8192


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed database of some pages."""
    made = tmp_path / "d.holdfast"
    with engine.open(made) as db, db.transaction() as txn:
        tree = txn.tree("t")
        for i in range(2000):
            tree[b"%06d" % i] = b"v" * 100
    return made


def blocks(path: Path) -> list[bytes]:
    data = (path / "database.holdfast").read_bytes()
    return [data[start : start + PAGE] for start in range(0, len(data), PAGE)]


def write(path: Path, at: int, content: bytes) -> None:
    with (path / "database.holdfast").open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_every_page_that_the_engine_wrote_is_whole(path: Path) -> None:
    verdicts = verify_batch(blocks(path), 0)
    assert set(verdicts) == {Verdict.WHOLE, Verdict.ZEROED}
    found = verify_file_task(path / "database.holdfast", PAGE).run()
    assert found.ok
    assert found.whole == verdicts.count(Verdict.WHOLE) > 20
    assert found.pages == len(verdicts)


def test_a_batch_answers_for_each_block(path: Path) -> None:
    pages = blocks(path)[2:8]
    pages[1] = pages[1][:100] + bytes([pages[1][100] ^ 1]) + pages[1][101:]
    pages[3] = bytes(PAGE)
    pages[4], pages[5] = pages[5], pages[4]
    assert verify_batch(pages, 2) == (
        Verdict.WHOLE,
        Verdict.ALTERED,
        Verdict.WHOLE,
        Verdict.ZEROED,
        Verdict.MISPLACED,
        Verdict.MISPLACED,
    )
    assert verify_block(pages[4]) is Verdict.WHOLE


def test_a_file_names_what_is_altered_misplaced_and_torn_off(path: Path) -> None:
    whole = blocks(path)
    write(path, 10 * PAGE + 4000, b"?")
    write(path, 12 * PAGE, whole[13])
    with (path / "database.holdfast").open("r+b") as file:
        file.truncate((len(whole) - 1) * PAGE + 100)
    write(path, (len(whole) - 1) * PAGE, b"torn")
    found = verify_file_task(path / "database.holdfast", PAGE).run()
    assert found.damaged == (
        (10, Verdict.ALTERED),
        (12, Verdict.MISPLACED),
        (len(whole) - 1, Verdict.TORN_OFF),
    )
    assert found.damaged_in_all == 3


def test_a_file_that_is_missing_and_a_size_that_cannot_be_are_coded_errors(tmp_path: Path) -> None:
    with pytest.raises(errors.HoldfastError):
        verify_file_task(tmp_path / "none", PAGE).run()
    for size in (0, 100, 5000, 1 << 20):
        with pytest.raises(errors.InvalidArgument):
            verify_file_task(tmp_path / "none", size)


def test_the_command_line_verifies_pages_of_a_database_that_nobody_may_open(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine.open(path):
        assert main(["verify-pages", str(path)]) == 0
    capsys.readouterr()
    write(path, 10 * PAGE + 4000, b"?")
    assert main(["verify-pages", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["damaged"] == [{"page": 10, "what": "altered"}]
