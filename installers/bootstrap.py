#!/usr/bin/env python3
"""Set up what is missing, then open Holdfast or test it.

    python installers/bootstrap.py run [arguments of the program]
    python installers/bootstrap.py test [arguments of pytest]

Needs Python 3.11 and the standard library; brings the rest. The second call is quick: what
has not changed is not done again. Everything lands in `.venv` and `engine/kernel/target`.
"""

import sys

if sys.version_info < (3, 11):
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(f"Holdfast needs Python 3.11 or newer; this is {version}. Run this again with a newer one.")

import hashlib
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

from machine import Missing, install_packages, prepare_libraries, prepare_rust, run, say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
KERNEL = ROOT / "engine" / "kernel"
REQUIREMENTS = ROOT / "installers" / "requirements.txt"


def main(arguments: list[str]) -> int:
    """Run one of the two commands; the exit status is that of the program or the tests."""
    command = arguments[0] if arguments else ""
    if command not in ("run", "test"):
        print(__doc__.strip())
        return 2
    try:
        cargo = set_up()
        return run_tests(cargo, arguments[1:]) if command == "test" else run_program(arguments[1:])
    except Missing as missing:
        print(f"\nHoldfast is not ready: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What was done so far is kept; the next call goes on from there.", file=sys.stderr
        )
        return 130


def set_up() -> Path:
    """Everything that `run` and `test` need; returns the path of `cargo`."""
    prepare_libraries()
    cargo = prepare_rust(_kernel_manifest()["package"]["rust-version"])
    _prepare_environment()
    _install_requirements()
    _build_kernel(cargo)
    return cargo


def run_program(arguments: list[str]) -> int:
    """Open the window; without a display play the tour offscreen and leave its pictures."""
    env = _environment()
    if not arguments and not _has_display():
        say("There is no display here: playing the guided tour offscreen instead.")
        pictures = ROOT / "artefacts" / "tour"
        arguments = ["tour", "--offscreen", "--out", str(pictures)]
    return _status(_python(), "-m", "gui", *arguments, env=env)


def run_tests(cargo: Path, arguments: list[str]) -> int:
    """The kernel's tests, then those of Python, whose closing line comes last."""
    started = time.monotonic()
    kernel = 0
    spread: list[str] = []
    if not arguments:
        say("Testing the kernel")
        kernel = _status(cargo, "test", "--locked", "--quiet", cwd=KERNEL, env=_environment(cargo))
        # All of them, on all processors.
        spread = ["-n", "logical", "--dist", "worksteal"]
        say(f"Kernel: {'passed' if kernel == 0 else 'FAILED'} after {time.monotonic() - started:.0f} s")
    say("Testing engine and interface")
    env = {"QT_QPA_PLATFORM": "offscreen", **_environment(cargo)}
    python = _status(_python(), "-m", "pytest", "-q", *spread, *arguments, env=env)
    return kernel or python


def _prepare_environment() -> None:
    if _python().exists() and _status(_python(), "-c", "import pip") == 0:
        return
    say(f"Making a virtual environment in {VENV.name}")
    shutil.rmtree(VENV, ignore_errors=True)
    if _status(sys.executable, "-m", "venv", VENV) != 0:
        # Debian ships Python without what `venv` needs.
        shutil.rmtree(VENV, ignore_errors=True)
        if not sys.platform.startswith("linux"):
            raise Missing("this Python cannot make virtual environments; install one from python.org")
        install_packages([f"python3.{sys.version_info.minor}-venv"])
        run(sys.executable, "-m", "venv", VENV)


def _install_requirements() -> None:
    stamp = VENV / "requirements.stamp"
    digest = _digest([REQUIREMENTS])
    if _reads(stamp, digest):
        return
    say("Installing Python packages")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(_python(), "-m", "pip", "install", *quiet, "-r", REQUIREMENTS)
    stamp.write_text(digest)


def _build_kernel(cargo: Path) -> None:
    stamp = VENV / "kernel.stamp"
    sources = [KERNEL / "Cargo.toml", KERNEL / "Cargo.lock", ROOT / "pyproject.toml"]
    digest = _digest(sources + sorted((KERNEL / "src").rglob("*.rs")))
    built = any((ROOT / "engine").glob("_kernel*.so")) or any((ROOT / "engine").glob("_kernel*.pyd"))
    if built and _reads(stamp, digest):
        return
    say("Building the storage kernel (a few minutes the first time)")
    run(_python(), "-m", "maturin", "develop", "--release", "--quiet", cwd=ROOT, env=_environment(cargo))
    stamp.write_text(digest)


def _environment(cargo: Path | None = None) -> dict[str, str]:
    env = {**os.environ, "VIRTUAL_ENV": str(VENV), "PIP_QUIET": "1"}
    env.pop("PYTHONHOME", None)
    first = [str(_python().parent)] + ([str(cargo.parent)] if cargo else [])
    env["PATH"] = os.pathsep.join([*first, os.environ.get("PATH", "")])
    return env


def _python() -> Path:
    return VENV / "Scripts" / "python.exe" if os.name == "nt" else VENV / "bin" / "python"


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _kernel_manifest() -> dict[str, dict[str, str]]:
    return tomllib.loads((KERNEL / "Cargo.toml").read_text("utf-8"))


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]}{ROOT}".encode())
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def _reads(stamp: Path, digest: str) -> bool:
    return stamp.exists() and stamp.read_text() == digest


def _status(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> int:
    return subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
