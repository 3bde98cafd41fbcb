"""The process that opens a killed database and asks it for one record: `python -m tests.crash.opener PATH`.

It says, in one line of JSON, how long that took and what was still to be done then; and, once the recovery
behind the opening was through and checked, how long all of it took. The time begins with `engine.open`, the
program being loaded.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import engine
from engine.config import load
from engine.recovery.report import RecoveryReport
from tests.crash.workload import LEDGER

TIMEOUT_S = 600


def main(path: Path) -> dict[str, Any]:
    """Open, ask for what the first thread committed last, wait for the rest."""
    settings = load(path).changed(recover_on_demand=True, enable_continuous_validation=False)
    checked = threading.Event()
    began, used = time.perf_counter(), time.process_time()
    database = engine.open(path, config=settings, create=False)
    opened_s = time.perf_counter() - began
    with database:
        with database.transaction(read_only=True) as txn:
            value = txn.tree(LEDGER, create=False)[b"0000"]
        told = {
            "opened_s": round(opened_s, 3),
            "first_query_s": round(time.perf_counter() - began, 3),
            "first_query_processor_s": round(time.process_time() - used, 3),
            "number": int(value),
        }
        report, standing = database.recovery_report, database.status().recovery
        if report is None or standing is None:
            raise AssertionError("the database was not opened before its recovery was through")
        told |= {"pages": standing.pages, "pages_left": standing.pages_left, "stages": _seconds(report)}
        database.events.subscribe(lambda _: checked.set(), kinds=["recovery_checked"])
        recent = {event.kind for event in database.events.recent()}
        if "recovery_checked" not in recent and not checked.wait(TIMEOUT_S):
            raise AssertionError("the recovery does not end")
        told["checked_s"] = round(time.perf_counter() - began, 3)
        through = database.recovery_report
        assert through is not None
        told |= {"through_s": round(through.seconds, 3), "log_bytes": int(through.analysis["bytes"])}
    return told


def _seconds(report: RecoveryReport) -> dict[str, float]:
    """Of each stage before the opening, in wall and in processor time."""
    return {
        f"{stage.name} ({kind})": round(seconds, 3)
        for stage in report.stages
        for kind, seconds in (("wall", stage.seconds), ("processor", stage.processor_seconds))
        if seconds >= 0.005
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
