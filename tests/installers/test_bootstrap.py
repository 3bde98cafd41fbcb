from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that looks at the machine, imported as the script imports it."""
    monkeypatch.syspath_prepend(ROOT / "installers")
    import machine

    return machine


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "installers" / "requirements.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {plain(name): version for name, version in pairs}


def test_called_with_nothing_it_names_its_two_commands() -> None:
    script = ROOT / "installers" / "bootstrap.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bootstrap.py run" in done.stdout
    assert "bootstrap.py test" in done.stdout


def test_every_dependency_of_the_project_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {plain(re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0]) for line in wanted}
    assert names <= pinned().keys()


def test_lock_files_name_no_other_place_than_the_public_registries() -> None:
    lock = (ROOT / "engine" / "kernel" / "Cargo.lock").read_text()
    sources = set(re.findall(r'^source = "(.*)"$', lock, re.MULTILINE))
    assert sources == {"registry+https://github.com/rust-lang/crates.io-index"}
    assert "://" not in (ROOT / "installers" / "requirements.txt").read_text()


@pytest.mark.parametrize(
    ("text", "version"),
    [("cargo 1.89.0 (c24e10642 2025-06-23)", (1, 89)), ("1.96.0+dfsg1-1~deb12u2", (1, 96)), ("", (0, 0))],
)
def test_versions_are_read(machine: ModuleType, text: str, version: tuple[int, int]) -> None:
    assert machine._version(text) == version


@pytest.mark.skipif(os.name == "nt", reason="the program that stands for cargo is a shell script")
def test_a_rust_that_is_too_old_is_not_used(
    machine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cargo = tmp_path / "bin" / "cargo"
    cargo.parent.mkdir()
    cargo.write_text("#!/bin/sh\necho 'cargo 1.88.0 (abc 2025-01-01)'\n")
    cargo.chmod(0o755)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(cargo.parent))
    assert machine.find_cargo("1.88") == cargo
    assert machine.find_cargo("9.0") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="set-up installs packages on Linux only")
def test_without_the_right_to_install_it_says_the_one_line_to_run(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_as_root", lambda: None)
    with pytest.raises(machine.Missing, match="libegl1"):
        machine.install_packages(["libegl1"])


def test_no_test_directory_is_a_package() -> None:
    # `tests/engine/__init__.py` would stand in the way of the real `engine`.
    assert list((ROOT / "tests").rglob("__init__.py")) == []
