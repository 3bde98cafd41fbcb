"""The one command before a commit: `python -m tests.check`, from the root of the repository.

Runs every check, goes on after a failure, and ends with a table and the names of what failed. The
tools are those of the Python that runs it; Cargo is found where rustup puts it, too. `--fix` lets
the formatters write; names of checks (`python -m tests.check ruff mypy`) run only those.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "engine" / "kernel"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its command, where it runs, and its form that mends what it can."""

    name: str
    command: tuple[str, ...]
    directory: Path = ROOT
    fix: tuple[str, ...] = ()
    needs_kernel: bool = False


def checks() -> list[Check]:
    """Every check, quick ones first."""
    python = (sys.executable, "-m")
    ruff, cargo = (*python, "ruff"), ("cargo",)
    spread = ("-n", "logical", "--dist", "worksteal")
    # Cargo.toml makes warnings errors.
    clippy = ("clippy", "--all-targets", "--features", "extension-module", "--locked", "--quiet")
    return [
        Check("format", (*ruff, "format", "--check", "."), fix=(*ruff, "format", ".")),
        Check("ruff", (*ruff, "check", "."), fix=(*ruff, "check", "--fix", ".")),
        Check("mypy", (*python, "mypy")),
        Check("imports", (str(Path(sys.executable).with_name("lint-imports")),)),
        # Told where the settings are: unlike mypy, stubtest does not look for them.
        Check(
            "stubs",
            (*python, "mypy.stubtest", "--mypy-config-file", "pyproject.toml", "engine._kernel"),
            needs_kernel=True,
        ),
        Check("cargo fmt", (*cargo, "fmt", "--check"), KERNEL, fix=(*cargo, "fmt")),
        Check("clippy", (*cargo, *clippy), KERNEL),
        Check("cargo test", (*cargo, "test", "--locked", "--quiet"), KERNEL),
        Check("pytest", (*python, "pytest", "-q", *spread), needs_kernel=True),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; the exit status is 0 only if all of them passed."""
    known = checks()
    parser = argparse.ArgumentParser(prog="python -m tests.check", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(check.name for check in known)}")
    parser.add_argument("--fix", action="store_true", help="let the formatters write")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - {check.name for check in known}:
        parser.error(f"there is no check named {', '.join(sorted(unknown))}")
    chosen = [check for check in known if not options.names or check.name in options.names]
    if options.fix:
        chosen = [replace(check, command=check.fix or check.command) for check in chosen]
    results = [(check, *_run(check)) for check in chosen]
    _print_table(results)
    return 0 if all(passed for _, passed, _ in results) else 1


def _run(check: Check) -> tuple[bool, float]:
    print(f"\n==> {check.name}", flush=True)
    started = time.monotonic()
    if check.needs_kernel and importlib.util.find_spec("engine._kernel") is None:
        print("the kernel is not built: run maturin develop --release")
        return False, 0.0
    env = {"QT_QPA_PLATFORM": "offscreen", **os.environ, "PATH": _tools()}
    try:
        program = shutil.which(check.command[0], path=env["PATH"]) or check.command[0]
        command = (program, *check.command[1:])
        status = subprocess.run(command, cwd=check.directory, env=env, check=False).returncode
    except FileNotFoundError:
        print(f"{check.command[0]} is not installed")
        status = 127
    return status == 0, time.monotonic() - started


def _tools() -> str:
    """Where programs are looked for: beside this Python, wherever the system says, where Rust lies."""
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""), str(cargo_home / "bin"))
    return os.pathsep.join(place for place in places if place)


def _print_table(results: Sequence[tuple[Check, bool, float]]) -> None:
    table = Table("Check", "Result", "Seconds")
    for check, passed, seconds in results:
        table.add_row(check.name, "[green]passed" if passed else "[red]failed", f"{seconds:.1f}")
    print()
    Console().print(table)
    if failed := [check.name for check, passed, _ in results if not passed]:
        again = " ".join(shlex.quote(name) for name in failed)
        print(f"Failed: {', '.join(failed)}. Again, these only: python -m tests.check {again}")


if __name__ == "__main__":
    sys.exit(main())
