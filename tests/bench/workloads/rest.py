"""What the background costs a database that nobody uses: the check of its pages, and its snapshots."""

from __future__ import annotations

import threading
import time

from tests.bench.bench import Bench, Measurement
from tests.bench.files import copy
from tests.bench.peers.base import Peer
from tests.bench.peers.holdfast import opened
from tests.bench.workload import Goal, Workload, only_holdfast

_SECONDS, _SECONDS_OF_A_TRIAL = 60.0, 1.0
_ROWS_OF_A_TRIAL = 100_000
_MOST_PROCESSOR = 1.0


def _at_rest(bench: Bench, kind: type[Peer]) -> Measurement:
    """Share of the processor that a process takes for the background check of a database nobody uses.

    One minute with the check going round without a pause (`scrub_pause` of 0), at the rate that the
    settings ask for by themselves: `scrub_rate` pages a second, or as many as cover the database within
    `scrub_cover_within`. One minute without. Processor time of the process, so that it counts little
    what else the machine does.
    """
    seconds = _SECONDS if bench.settings.rows >= _ROWS_OF_A_TRIAL else _SECONDS_OF_A_TRIAL
    share, pages = {}, 0
    for is_on in (False, True):
        with bench.place() as place:
            directory = copy(bench.base(kind), place / "copy.holdfast")
            settings = {"enable_continuous_validation": is_on, "scrub_pause": "0 s"}
            with opened(directory, bench.opening(), **settings) as database:
                if is_on:
                    database.integrity.scrubber.begin_round()
                began, used = time.perf_counter(), time.process_time()
                threading.Event().wait(seconds)
                share[is_on] = 100 * (time.process_time() - used) / (time.perf_counter() - began)
                if is_on:
                    progress, pages = database.integrity.scrubber.progress(), database.status().pages
    taken = share[True] - share[False]
    extras = {
        "% of processor": taken,
        "limit, % of processor": _MOST_PROCESSOR,
        "% of processor without": share[False],
        "pages": pages,
        "pages/s allowed": progress.rate,
    }
    return Measurement(taken, extras=extras)


WORKLOADS = [
    Workload(
        name="at-rest",
        title="processor that the background check takes of a database at rest, a minute long",
        unit="%",
        more_is_better=False,
        measure=_at_rest,
        without=only_holdfast,
        minor=True,
        goals=(Goal("% of processor", _MOST_PROCESSOR),),
    ),
]
