"""What a setting is: its kind, default, limits and help; how it is read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.units import format_duration, format_size, parse_duration, parse_size

_MOST = 10**9
"""The largest count where a setting names none of its own."""

KEY = "setting"
"""Where a dataclass field keeps its `Setting`, in its metadata."""


class Section(StrEnum):
    """Groups of settings, as the file and the interface order them."""

    STORAGE = "Storage"
    LOG = "Log and checkpoints"
    RECOVERY = "Recovery"
    INTEGRITY = "Integrity"
    BACKUPS = "Backups"
    MIRRORS = "Mirrors"
    LIMITS = "Limits"
    HEALTH = "Health"
    HEALING = "Healing"
    ALERTS = "Alerts"


class Kind(StrEnum):
    FLAG = "flag"
    COUNT = "count"
    SIZE = "size"
    DURATION = "duration"
    CHOICE = "choice"
    TEXT = "text"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting: which, why, and what to do."""

    setting: str
    issue: str
    fix: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; `minimum` and `maximum` are in bytes or seconds where it is a size or a duration."""

    kind: Kind
    section: Section
    help: str
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    power_of_two: bool = False

    def read(self, name: str, value: Any) -> Any:
        """The value in the engine's units, or a `Problem`."""
        try:
            converted = _READERS[self.kind](value)
        except (ValueError, TypeError):
            return Problem(name, f"{value!r} is not {_NOUNS[self.kind]}", self._fix())
        if self.kind is Kind.CHOICE and converted not in self.choices:
            return Problem(name, f"{value!r} is not one of its values", self._fix())
        if self._is_outside(converted):
            return Problem(name, f"{value!r} is outside its limits", self._fix())
        return converted

    def show(self, value: Any) -> Any:
        """The value as it is written into the file."""
        match self.kind:
            case Kind.SIZE:
                return _exactly(value, format_size(value), parse_size)
            case Kind.DURATION:
                return _exactly(value, format_duration(value), parse_duration)
            case Kind.WORDS:
                return list(value)
            case _:
                return value

    def _is_outside(self, value: Any) -> bool:
        if self.minimum is not None and value < self.minimum:
            return True
        if self.maximum is not None and value > self.maximum:
            return True
        return self.power_of_two and value & (value - 1) != 0

    def _fix(self) -> str:
        match self.kind:
            case Kind.FLAG:
                return "Write true or false."
            case Kind.CHOICE:
                return f"Write one of: {', '.join(self.choices)}."
            case Kind.TEXT:
                return "Write a text in quotes."
            case Kind.WORDS:
                return 'Write a list of texts, such as ["pagerduty", "slack"].'
            case _:
                return f"Write {_NOUNS[self.kind]}{self._limits()}, such as {self.show(self.default)!r}."

    def _limits(self) -> str:
        parts = []
        if self.minimum is not None:
            parts.append(f"at least {self.show(self.minimum)}")
        if self.maximum is not None:
            parts.append(f"at most {self.show(self.maximum)}")
        if self.power_of_two:
            parts.append("a power of two")
        return f" ({', '.join(parts)})" if parts else ""


def flag(default: bool, section: Section, help: str) -> Any:
    """A setting that is on or off."""
    return _declare(Setting(Kind.FLAG, section, help, default))


def count(default: int, section: Section, help: str, *, min: int, max: int = _MOST) -> Any:
    """A whole number."""
    return _declare(Setting(Kind.COUNT, section, help, default, min, max))


def size(
    default: str, section: Section, help: str, *, min: str, max: str | None = None, power_of_two: bool = False
) -> Any:
    """A number of bytes, written "64 MiB"."""
    limits = (parse_size(min), parse_size(max) if max else None)
    return _declare(
        Setting(Kind.SIZE, section, help, parse_size(default), *limits, power_of_two=power_of_two)
    )


def duration(default: str, section: Section, help: str, *, min: str, max: str | None = None) -> Any:
    """A number of seconds, written "30 s"."""
    limits = (parse_duration(min), parse_duration(max) if max else None)
    return _declare(Setting(Kind.DURATION, section, help, parse_duration(default), *limits))


def choice(default: str, choices: tuple[str, ...], section: Section, help: str) -> Any:
    """One of a few words."""
    return _declare(Setting(Kind.CHOICE, section, help, default, choices=choices))


def text(default: str, section: Section, help: str) -> Any:
    """Any text."""
    return _declare(Setting(Kind.TEXT, section, help, default))


def words(default: tuple[str, ...], section: Section, help: str) -> Any:
    """A list of texts."""
    return _declare(Setting(Kind.WORDS, section, help, default))


def _declare(setting: Setting) -> Any:
    return field(default=setting.default, metadata={KEY: setting})


def _exactly(value: Any, shown: str, parse: Callable[[str], Any]) -> Any:
    # Rounding for people must not change a setting when it is saved.
    try:
        return shown if parse(shown) == value else value
    except ValueError:
        return value


def _read_flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "on", "yes", "false", "off", "no"):
        return value.lower() in ("true", "on", "yes")
    if not isinstance(value, bool):
        raise TypeError
    return value


def _read_count(value: Any) -> int:
    if isinstance(value, (bool, float)):
        raise TypeError
    return int(value)


def _read_size(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return parse_size(value)


def _read_duration(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return parse_duration(value)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def _read_words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in value.replace(",", " ").split() if word)
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return tuple(_read_text(word) for word in value)


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.FLAG: _read_flag,
    Kind.COUNT: _read_count,
    Kind.SIZE: _read_size,
    Kind.DURATION: _read_duration,
    Kind.CHOICE: _read_text,
    Kind.TEXT: _read_text,
    Kind.WORDS: _read_words,
}

_NOUNS: Mapping[Kind, str] = {
    Kind.FLAG: "true or false",
    Kind.COUNT: "a whole number",
    Kind.SIZE: "a size",
    Kind.DURATION: "a duration",
    Kind.CHOICE: "one of its values",
    Kind.TEXT: "a text",
    Kind.WORDS: "a list of texts",
}
