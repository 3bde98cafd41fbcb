"""`python -m gui [PATH]` shows the window; `python -m gui tour` plays the guided tour."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Start what the arguments ask for; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["tour"]:
        return _tour(given[1:])
    parser = argparse.ArgumentParser(prog="python -m gui", description="Open Holdfast's window.")
    parser.add_argument("path", nargs="?", type=Path, help="the database to open")
    options = parser.parse_args(given)
    if not has_display():
        print("Holdfast: there is no display here. 'python -m gui tour --offscreen' plays the guided tour.")
        return 3
    from gui.app import run

    return run(options.path)


def _tour(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m gui tour", description="Play the guided tour.")
    parser.add_argument("--offscreen", action="store_true", help="draw without a display")
    parser.add_argument("--out", type=Path, default=Path("artefacts/tour"), help="where the pictures go")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--size", type=_size, default=(1280, 800), help="WIDTHxHEIGHT, in pixels (1280x800)")
    options = parser.parse_args(given)
    if options.offscreen or not has_display():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from gui.tour.play import play

    return play(options.out, options.theme, options.size)


def _size(text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not (by and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 1280x800")
    return int(width), int(height)


def has_display() -> bool:
    """Whether there is a screen to draw on: always, except on a Unix without one."""
    if sys.platform in ("win32", "darwin") or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
