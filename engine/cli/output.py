"""What the command line prints: lines or one JSON object on standard output, cards and progress beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from engine.errors import Cancelled, HoldfastError
from engine.tasks import Task, TaskProgress
from engine.units import format_duration, format_size

T = TypeVar("T")

FINE, PROBLEMS, USAGE, ERROR = 0, 1, 2, 3
"""The exit statuses: fine; the check found problems; wrong usage; an error."""

_POLL_S = 0.1


class Output:
    """Where a verb puts its result. With `--json` that is one object, and nothing else."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def result(self, value: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print the result: `value` with `--json`, else `lines`."""
        if self.as_json:
            print(json.dumps(value, default=_plain, ensure_ascii=False), flush=True)
        else:
            for line in lines:
                print(line)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell something beside the result, on standard error."""
        if not self.as_json:
            print(text, file=sys.stderr, flush=True)

    def failure(self, error: HoldfastError) -> None:
        """Print an error: its card on standard error, or an object with `--json`."""
        if self.as_json:
            print(json.dumps({"error": error.to_dict()}, default=_plain, ensure_ascii=False), flush=True)
        else:
            self.card(error)

    def card(self, error: HoldfastError) -> None:
        """The same words as in the window."""
        print(error.as_card().to_text(), file=sys.stderr, flush=True)

    def follow(self, task: Task[T]) -> T:
        """Run `task` on a thread and show how far it is, where someone is watching.

        Ctrl-C asks it to stop and waits for its answer, `Cancelled`.
        """
        show = _Bar(task.name) if not self.as_json and sys.stderr.isatty() else None
        task.start()
        try:
            return _until_end(task, show.update if show else None)
        finally:
            if show:
                show.close()


def columns(rows: Sequence[Sequence[object]], headings: Sequence[str]) -> list[str]:
    """Rows as aligned text; numbers to the right."""
    if not rows:
        return []
    cells = [[_text(value) for value in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[place]) for row in cells)) for place, heading in enumerate(headings)
    ]
    right = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(headings))]

    def line(parts: Sequence[str]) -> str:
        aligned = (
            part.rjust(width) if is_right else part.ljust(width)
            for part, width, is_right in zip(parts, widths, right, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return [line(list(headings)), line(["-" * width for width in widths]), *map(line, cells)]


def pairs(values: Mapping[str, object]) -> list[str]:
    """Names and values, aligned; what is None is left out."""
    shown = {name: value for name, value in values.items() if value is not None}
    width = max(map(len, shown), default=0)
    return [f"{name.ljust(width)}  {_text(value)}" for name, value in shown.items()]


def _until_end(task: Task[T], show: Callable[[TaskProgress], None] | None) -> T:
    while True:
        try:
            return task.wait(_POLL_S)
        except TimeoutError:
            if show is not None:
                show(task.progress())
        except KeyboardInterrupt:
            if task.is_cancelled:
                # Asked twice: leave the work alone. The database sorts it out when it is opened next.
                raise Cancelled(operation=task.name) from None
            print("Cancelling", file=sys.stderr, flush=True)
            task.cancel()


class _Bar:
    """A progress bar on standard error."""

    def __init__(self, name: str) -> None:
        # Imported here: it takes longer than most verbs.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._id = self._bar.add_task(name, total=None, told="")

    def update(self, progress: TaskProgress) -> None:
        share = progress.share
        self._bar.update(
            self._id,
            description=progress.text,
            total=None if share is None else 1.0,
            completed=share or 0.0,
            told=_told(progress),
        )

    def close(self) -> None:
        self._bar.stop()


def _told(progress: TaskProgress) -> str:
    if not progress.unit:
        return ""
    if progress.unit == "bytes":
        text = f"{format_size(progress.done)}, {format_size(progress.rate)}/s"
    else:
        text = f"{progress.done:,.0f} {progress.unit}, {progress.rate:,.0f}/s"
    if progress.remaining_s is not None:
        text += f", {format_duration(progress.remaining_s)} left"
    return text


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def _plain(value: object) -> object:
    """What JSON cannot hold as it is: sets, paths, errors."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
