"""Every workload, tiny, on every peer that is installed: the figures are there, the rows are right."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import catalogue, clock, report, rounds
from tests.bench.__main__ import main, settings_of
from tests.bench.bench import Bench, Measurement, WrongAnswer
from tests.bench.peers import registry
from tests.bench.peers.holdfast import Holdfast
from tests.bench.rounds import Result
from tests.bench.settings import MIB, Settings
from tests.bench.workload import Goal, Workload

ROWS = 600
SETTINGS = Settings(rows=ROWS, rounds=1, cache_bytes=8 * MIB, threads=4)
PEERS, MISSING = registry.installed()
ROW_BYTES = SETTINGS.key_bytes + SETTINGS.value_bytes

FACTS = {
    "load-random": {"rows": ROWS, "bytes": ROWS * ROW_BYTES},
    "load-sorted": {"rows": ROWS, "bytes": ROWS * ROW_BYTES},
    "get": {"bytes": SETTINGS.operations * SETTINGS.value_bytes},
    "get-beyond-cache": {"bytes": SETTINGS.operations * SETTINGS.value_bytes},
    "scan": {"rows": ROWS, "bytes": ROWS * ROW_BYTES},
    "threads-16": {"rows": ROWS},
    "threads-16-inside": {"operations": SETTINGS.threads * SETTINGS.operations_per_thread},
    "ycsb-c": {"read": SETTINGS.operations * SETTINGS.value_bytes},
    "recovery": {"rows": ROWS // 2, "bytes": ROWS // 2 * ROW_BYTES, "found": SETTINGS.value_bytes},
    "check-memory": {"sound": 1},
    "check-disk": {"sound": 1},
    "backup": {"rows": ROWS},
    "memory": {"found": ROWS * SETTINGS.value_bytes},
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    return Bench(SETTINGS, tmp_path_factory.mktemp("bench"), verifies=True)


@pytest.mark.parametrize("workload", catalogue.WORKLOADS, ids=lambda workload: workload.name)
def test_a_workload_gives_figures_and_leaves_the_right_rows_on_every_peer(
    bench: Bench, workload: Workload
) -> None:
    (result,) = rounds.run(bench, PEERS, [workload])
    able = [kind.name for kind in PEERS if not workload.without(kind)]
    assert list(result.rounds) == able
    found = report.as_json(SETTINGS, PEERS, MISSING, [result])["workloads"][workload.name]
    for name in able:
        figures = [found["medians"][name], *found["extras"][name].values()]
        assert all(math.isfinite(figure) for figure in figures), figures
        assert workload.unit == "%" or found["medians"][name] > 0
        assert workload.name not in FACTS or found["facts"][name] == FACTS[workload.name]
    assert set(found["ratios"]) == set(able) - {"Holdfast"}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    if workload.limit:
        assert found["limit"]["ratio"] > 0


def test_a_row_that_was_not_put_is_found_out(bench: Bench) -> None:
    rows = dict(bench.data.pairs)
    with bench.copied(Holdfast) as peer:
        bench.verify(peer, rows)
        session = peer.session()
        session.write(bench.data.keys[0], bench.data.value(1))
        with pytest.raises(WrongAnswer):
            bench.verify(peer, rows)
        with pytest.raises(WrongAnswer):
            bench.verify(peer)
        session.close()


def test_peers_that_disagree_end_the_run(bench: Bench) -> None:
    answers = iter([1, 2])
    workload = Workload(
        name="disagreement",
        title="",
        unit="",
        measure=lambda bench, kind: Measurement(1.0, facts={"rows": next(answers)}),
    )

    class Another(Holdfast):
        name = "Another"

    with pytest.raises(WrongAnswer):
        rounds.run(bench, [Holdfast, Another], [workload])


def test_ratios_are_medians_of_rounds_and_above_one_where_holdfast_is_ahead() -> None:
    def result(more_is_better: bool) -> Result:
        workload = Workload(
            name="w", title="", unit="", more_is_better=more_is_better, measure=lambda b, k: Measurement(0.0)
        )
        mine, theirs = [6.0, 80.0, 3.0], [2.0, 20.0, 3.0]
        return Result(
            workload,
            {"Holdfast": [Measurement(v) for v in mine], "Other": [Measurement(v) for v in theirs]},
            limits=[12.0, 160.0, 12.0],
        )

    assert result(more_is_better=True).ratio("Other") == 3.0
    assert result(more_is_better=False).ratio("Other") == pytest.approx(1 / 3)
    assert result(more_is_better=True).limit_ratio() == 0.5
    assert result(more_is_better=True).best_peer() == "Other"


def test_percentiles_are_those_of_all_operations() -> None:
    laps = [1000 * (number + 1) for number in range(101)]
    assert clock.percentiles(laps) == {"p50 us": 51.0, "p99 us": 100.0, "worst us": 101.0}


def test_an_error_of_a_thread_reaches_who_waits() -> None:
    def work(thread: int, ready: object) -> None:
        if thread == 1:
            raise ValueError(thread)
        ready()  # type: ignore[operator]

    with pytest.raises(ValueError, match="1"):
        clock.together(3, work)


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.delitem(sys.modules, "tests.bench.peers.lightning", raising=False)
    peers, missing = registry.installed()
    assert "LMDB" in missing
    assert "LMDB" not in [kind.name for kind in peers]
    assert "Holdfast" in [kind.name for kind in peers]


@pytest.mark.parametrize(
    ("options", "rows", "rounds_wanted"),
    [
        ([], 1_000_000, 3),
        (["--quick"], 3_000, 1),
        (["--quick", "--rows", "50"], 50, 1),
        (["--rounds", "2"], 1_000_000, 2),
    ],
)
def test_a_quick_run_is_short_where_nothing_else_is_asked_for(
    options: list[str], rows: int, rounds_wanted: int
) -> None:
    settings = settings_of(options)
    assert (settings.rows, settings.rounds) == (rows, rounds_wanted)


def test_the_command_prints_all_and_writes_json_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    target, picture = tmp_path / "run.json", tmp_path / "run.png"
    options = ["--rows", "300", "--rounds", "2", "--only", "scan", "--peer", "Holdfast", "--peer", "SQLite"]
    assert main([*options, "--json", str(target), "--plot", str(picture), "--directory", str(tmp_path)]) == 0
    written = json.loads(target.read_text())
    scan = written["workloads"]["scan"]
    assert len(scan["rounds"]["Holdfast"]) == len(scan["limit"]["rounds"]) == 2
    assert scan["best_peer"] == "SQLite"
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("Holdfast", "SQLite", "scan", "memory copy", "WITHOUT ROWID"))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [["--only", "none"], ["--rows", "0"], ["--peer", "none"]])
def test_a_wrong_wish_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_an_interrupted_run_reports_what_was_measured_of_all_peers(tmp_path: Path) -> None:
    twice = Bench(replace(SETTINGS, rounds=2), tmp_path)
    heard: list[str] = []

    def interrupt(text: str) -> None:
        if text.startswith("round 2") and heard:
            raise KeyboardInterrupt

    found = rounds.run(twice, PEERS, catalogue.named(["get"])[:1], interrupt, heard.append)
    assert heard[0].startswith("get: Holdfast ")
    assert heard[-1].startswith("interrupted")
    (result,) = found
    assert {len(measured) for measured in result.rounds.values()} == {1}
    assert report.as_json(SETTINGS, PEERS, MISSING, found)["workloads"]["get"]["medians"]["Holdfast"] > 0


def test_a_goal_is_told_with_what_it_came_to_and_whether_it_is_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    goals = (Goal("", 3.0), Goal("% of processor", 1.0))
    workload = Workload(name="w", title="", unit="s", measure=lambda b, k: Measurement(0.0), goals=goals)
    measured = [Measurement(2.0, extras={"% of processor": share}) for share in (0.5, 1.5, 1.7)]
    outcome = report.as_json(SETTINGS, [Holdfast], {}, [Result(workload, {"Holdfast": measured})])
    told = [(goal["figure"], goal["value"], goal["reached"]) for goal in outcome["workloads"]["w"]["goals"]]
    assert told == [("s", 2.0, True), ("% of processor", 1.5, False)]
    report.show(outcome, Console(width=150))
    printed = capsys.readouterr().out
    assert "to reach, s: at most 3.00, and it is 2.00: reached" in printed
    assert "% of processor: at most 1.00, and it is 1.50: not reached" in printed
    assert report.as_json(SETTINGS, [], {}, [Result(workload)])["workloads"]["w"].get("goals") is None
