"""What the machine itself must have: a linker, Qt's system libraries, a font, Rust.

Standard library only. Whatever is missing is installed where that needs no question (root,
or sudo without a password); otherwise `Missing` carries the one line that a person can run.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# What Qt's offscreen and X11 platforms load beyond what its wheels bring: library -> Debian package.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
FONT_PACKAGE = "fonts-dejavu-core"
FONT_DIRECTORIES = ("/usr/share/fonts", "/usr/local/share/fonts")


class Missing(Exception):
    """Something that a person has to install; the text says how, in one line."""


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a command with its output shown; `Missing` if it fails."""
    line = " ".join(str(part) for part in command)
    try:
        status = subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=False).returncode
    except OSError as error:
        raise Missing(f"could not run {line}: {error.strerror}") from error
    if status != 0:
        raise Missing(f"this command failed with status {status}: {line}")


def output(*command: str | Path) -> str:
    """What a command prints, or nothing where it cannot be run or fails."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def prepare_libraries() -> None:
    """Install the linker, Qt's libraries and a font where they are missing. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    packages = [package for library, package in QT_LIBRARIES.items() if not _can_load(library)]
    if not any(any(Path(place).rglob("*.[to]tf")) for place in FONT_DIRECTORIES):
        packages.append(FONT_PACKAGE)
    if not (shutil.which("cc") and Path("/usr/include/stdio.h").exists()):
        packages += ["gcc", "libc6-dev"]
    if packages:
        install_packages(packages)


def install_packages(packages: list[str]) -> None:
    """Install Debian packages; elsewhere say what they are called there."""
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Missing(
            "install the packages of your distribution that correspond to these of Debian, "
            f"then run this again: {wanted}"
        )
    privileged = _as_root()
    if privileged is None:
        raise Missing(f"run this line, then this command again: sudo apt-get install -y {wanted}")
    say(f"Installing system packages: {wanted}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(*privileged, "apt-get", "update", "-q", env=env)
    run(*privileged, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages, env=env)


def prepare_rust(needed: str) -> Path:
    """The path of `cargo` of at least version `needed`, installed where it is missing."""
    found = find_cargo(needed)
    if found is None:
        say(f"Rust {needed} or newer is missing; looking for a way to install it")
        _install_rust(needed)
        found = find_cargo(needed)
    if found is None:
        where = "winget install Rustlang.Rustup" if os.name == "nt" else "the installer at https://rustup.rs"
        raise Missing(f"install Rust {needed} or newer with {where}, then run this again")
    return found


def find_cargo(needed: str) -> Path | None:
    """`cargo` of at least version `needed`: on the path, or where rustup puts it."""
    suffix = ".exe" if os.name == "nt" else ""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    on_path = shutil.which("cargo")
    candidates = [Path(on_path)] if on_path else []
    candidates += [home / "bin" / f"cargo{suffix}", *sorted(Path("/usr/lib").glob("rust-*/bin/cargo"))]
    for cargo in candidates:
        if cargo.exists() and _version(output(cargo, "--version")) >= _version(needed):
            return cargo
    return None


def _install_rust(needed: str) -> None:
    if os.name == "nt":
        if shutil.which("winget"):
            agree = ("--accept-source-agreements", "--accept-package-agreements")
            run("winget", "install", "--id", "Rustlang.Rustup", "--exact", "--silent", *agree)
        return
    if shutil.which("rustup"):
        run("rustup", "toolchain", "install", "stable", "--profile", "minimal")
        run("rustup", "default", "stable")
        return
    if not shutil.which("apt-get") or (privileged := _as_root()) is None:
        return
    run(*privileged, "apt-get", "update", "-q")
    for package in ("cargo", "cargo-web"):
        if _version(_candidate(package)) >= _version(needed):
            install_packages([package])
            return
    if _candidate("rustup"):
        install_packages(["rustup"])
        run("rustup", "default", "stable")


def _candidate(package: str) -> str:
    """The version of a package that apt would install, or nothing."""
    found = re.search(r"Candidate: (?:\d+:)?(\d\S*)", output("apt-cache", "policy", package))
    return found.group(1) if found else ""


def _version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _as_root() -> list[str] | None:
    """The words to put before a command so that root runs it, or None."""
    if os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["sudo", "-n"]
    return None


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
