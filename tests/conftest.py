"""What every test gets: a quiet platform and directories of its own."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.recovery_originals import Originals

# Set before anything imports Qt. A real display is used where the caller asks for one.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

WINDOWS = ("APPDATA", "LOCALAPPDATA")

_FULL_COLLECTION_EVERY = 16
_tests_ended = itertools.count(1)


def pytest_configure() -> None:
    """Garbage is collected between tests, on the main thread.

    A window that a test leaves as garbage must not be destroyed on a thread of another one: see
    `gui.tasks.garbage`.
    """
    gc.disable()


@pytest.fixture(autouse=True)
def garbage_is_collected_between_tests() -> Iterator[None]:
    yield
    gc.collect(2 if next(_tests_ended) % _FULL_COLLECTION_EVERY == 0 else 1)


@pytest.fixture(autouse=True)
def private_user_directories(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep settings and recent files of the person who runs the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    for name in (
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
        "APPDATA",
        "LOCALAPPDATA",
    ):
        monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture(autouse=True)
def nothing_is_scrubbed_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scrubber would repair, on a slow machine, what a test has damaged; those of it ask for a round."""
    # Not imported here: there are tests of what an import loads.
    scrubber = sys.modules.get("engine.integrity.scrubber")
    if scrubber is not None:
        monkeypatch.setattr(scrubber, "_SETTLE_S", 3600.0)


@pytest.fixture(autouse=True)
def nothing_raises_an_alert_unasked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs the tests lacks is not told in databases of tests about other things."""
    service = sys.modules.get("engine.alerts.service")
    if service is None:
        return
    monkeypatch.setattr(service, "SETTLE_S", 3600.0)
    if not request.path.name.startswith("test_alert"):
        monkeypatch.setattr(service.Alerts, "attend", service.Alerts.view)


@pytest.fixture(autouse=True)
def no_thread_of_the_engine_outlives_its_test() -> Iterator[None]:
    """Threads of Holdfast are named; one that is still there after the test is a leak."""
    before = set(threading.enumerate())
    yield
    late = [t for t in threading.enumerate() if t not in before and t.name.startswith("holdfast-")]
    for thread in late:
        thread.join(timeout=5)
    leaked = [thread.name for thread in late if thread.is_alive()]
    assert not leaked, f"threads left behind: {leaked}"


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    """Databases whose writer was killed, made once and copied for each test."""
    # The tests that check that nothing loads the kernel early must be able to run.
    from tests.recovery_originals import Originals

    return Originals(tmp_path_factory.mktemp("originals"))
