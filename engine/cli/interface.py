"""From the command line into the window. The engine knows nothing of it but its module's name."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from engine.errors import NotSupported


def open_interface(arguments: Sequence[str]) -> int:
    """Run `python -m gui` with these arguments in this process; return its exit status."""
    if find_spec("gui") is None or find_spec("PySide6") is None:
        raise NotSupported(
            feature="the window", detail="the interface or PySide6, which draws it, is not installed"
        )
    before = sys.argv
    sys.argv = ["holdfast", *arguments]
    try:
        runpy.run_module("gui", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0
