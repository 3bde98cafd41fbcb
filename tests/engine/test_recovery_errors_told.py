"""Each of the fourteen recovery errors on the command line: the words are the engine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import errors
from engine.cli.__main__ import main
from tests.recovery_causes import CAUSES, Cause, PutRight, Through
from tests.recovery_originals import ROWS, Originals

ERROR = 3


def command(path: Path, through: Through) -> list[str]:
    """What meets the cause."""
    if through is Through.OPEN:
        return ["checkpoint", str(path)]
    return ["recover", str(path), *(["--rehearse"] if through is Through.REHEARSE else [])]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize("cause", CAUSES, ids=str)
def test_the_command_line_tells_it_in_the_same_words_and_what_it_suggests_helps(
    cause: Cause, originals: Originals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if cause.missing:
        pytest.skip(cause.missing)
    path = originals.crashed(tmp_path / "harbour.holdfast", tmp_path / "backups")
    with cause.fault(path):
        assert main([*command(path, cause.through), "--json"]) == ERROR
    told = json.loads(capsys.readouterr().out)["error"]
    # Another one, for a first attempt may leave less in the way of the second.
    other = originals.crashed(tmp_path / "other.holdfast", tmp_path / "backups")
    with cause.fault(other):
        assert main(command(other, cause.through)) == ERROR
    card = capsys.readouterr().err
    assert told["code"] == cause.code, told
    for name, is_right in cause.fields.items():
        assert is_right(told["fields"][name]), (name, told["fields"][name])
    # What the engine's own class says of these fields.
    same = errors.from_kernel(told["code"], told["fields"])
    assert told["name"] == type(same).__name__
    assert told["message"] == same.message
    assert told["suggested_action"] == same.suggested_action
    words = same.as_card()
    for text in (words.title, f"{cause.code}", words.suggested_action, words.answers.how_serious):
        assert text in card, text
    if cause.put_right is PutRight.AGAIN:
        answer(capsys, *command(path, Through.OPEN if cause.through is Through.OPEN else Through.RUN))
        assert answer(capsys, "info", str(path))["state"] == "clean"
    else:
        restored = str(tmp_path / "restored.holdfast")
        answer(capsys, "restore", str(tmp_path / "backups"), restored)
        assert answer(capsys, "check", restored)["ok"] is True
        with engine.open(restored, create=False) as db, db.transaction(read_only=True) as txn:
            assert len(txn.tree("t")) == ROWS
