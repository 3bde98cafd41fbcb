"""The page on failed recoveries says what the catalogue says."""

from __future__ import annotations

import tomllib
from pathlib import Path

from engine.catalogue import entries

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "recovery-errors.md"


def lines() -> dict[int, list[str]]:
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("-") and cells[0][1:].isdigit():
            found[int(cells[0])] = cells
    return found


def test_the_page_names_each_error_with_its_three_answers_and_its_button() -> None:
    told = lines()
    assert set(told) == set(range(-83, -69))
    labels = tomllib.loads((ROOT / "resources" / "errors.toml").read_text("utf-8"))["actions"]
    for code, cells in told.items():
        entry = entries()[code]
        answers = ["yes" if said else "no" for said in (entry.critical, entry.retryable, entry.recoverable)]
        assert cells[1] == entry.name
        assert len(cells[2]) > 20
        assert cells[3:6] == answers
        assert cells[6] == labels[entry.action] == entry.action_label
        assert cells[7]


def test_the_readme_links_the_page() -> None:
    assert "docs/recovery-errors.md" in (ROOT / "README.md").read_text("utf-8")
