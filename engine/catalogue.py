"""The words of every error, read once from `resources/errors.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from engine.types import Severity

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")
_UNKNOWN = "unknown"


class Category(StrEnum):
    """What kind of trouble an error is; the settings say what is done for each kind."""

    RECOVERABLE = "recoverable"
    NON_RECOVERABLE = "non_recoverable"
    EXHAUSTION = "exhaustion"
    USAGE = "usage"


@dataclass(frozen=True, slots=True)
class Answers:
    """The four things that a person wants to know of an error."""

    how_serious: str
    what_to_do: str
    if_i_go_on: str
    can_i_keep_using_it: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One error of the catalogue."""

    name: str
    code: int
    title: str
    message: str
    fields: tuple[str, ...]
    severity: Severity
    category: Category
    retryable: bool
    critical: bool
    recoverable: bool
    suggested_action: str
    action: str
    action_label: str
    runbook: str
    answers: Answers

    def render(self, fields: Mapping[str, Any]) -> str:
        """The message with `fields` in place.

        A part in brackets is left out where a field of it is missing; a field that is
        missing outside brackets reads "unknown".
        """
        return _fill(self.message, fields)

    def render_title(self, fields: Mapping[str, Any]) -> str:
        """The title with `fields` in place, as `render` does it."""
        return _fill(self.title, fields)


@dataclass(frozen=True, slots=True)
class ErrorCard:
    """What a person is shown of an error: the same words in the window and on the command line."""

    code: int
    name: str
    title: str
    message: str
    severity: Severity
    answers: Answers
    suggested_action: str
    action: str
    """What the button does: recover, retry, free_space, ...; "none" for no button."""
    action_label: str
    runbook: str
    """The name of a runbook, or empty."""
    details: tuple[tuple[str, str], ...]
    causes: tuple[str, ...]
    """The chain of causes, nearest first."""

    def to_text(self) -> str:
        """The card as plain text, to copy or to print."""
        answers = self.answers
        lines = [
            f"{self.title} ({self.name}, {self.code})",
            self.message,
            "",
            f"How serious is it?         {answers.how_serious}",
            f"What should I do?          {answers.what_to_do}",
            f"What if I go on?           {answers.if_i_go_on}",
            f"Can I keep using it?       {answers.can_i_keep_using_it}",
            "",
            f"Suggested: {self.suggested_action}",
        ]
        lines += [f"{name}: {value}" for name, value in self.details]
        lines += [f"Caused by: {cause}" for cause in self.causes]
        return "\n".join(lines)


def _fill(template: str, fields: Mapping[str, Any]) -> str:
    given = {name: text for name, value in fields.items() if (text := field_text(value))}

    def optional(part: re.Match[str]) -> str:
        inside = part.group(1)
        return inside if all(name in given for name in _FIELD.findall(inside)) else ""

    if "operation" in given:
        # The kernel names what it did as its code does: "create_folder".
        given["operation"] = given["operation"].replace("_", " ")
    chosen = _OPTIONAL.sub(optional, template)
    return _FIELD.sub(lambda match: given.get(match.group(1), _UNKNOWN), chosen).strip()


def field_text(value: object) -> str:
    """A field's value as it reads in a message; empty where there is nothing to say."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part) for part in value)
    return str(value).rstrip(".")


@cache
def entries() -> dict[int, Entry]:
    """Every error by its code."""
    document = tomllib.loads(resources.files("resources").joinpath("errors.toml").read_text("utf-8"))
    labels: dict[str, str] = document["actions"]
    return {table["code"]: _entry(name, table, labels) for name, table in document["errors"].items()}


def _entry(name: str, table: dict[str, Any], labels: dict[str, str]) -> Entry:
    return Entry(
        name=name,
        code=table["code"],
        title=table["title"],
        message=table["message"],
        fields=tuple(table["fields"]),
        severity=Severity(table["severity"]),
        category=Category(table["category"]),
        retryable=table["retryable"],
        critical=table["critical"],
        recoverable=table["recoverable"],
        suggested_action=table["suggested_action"],
        action=table["action"],
        action_label=labels[table["action"]],
        runbook=table.get("runbook", ""),
        answers=Answers(
            how_serious=table["how_serious"],
            what_to_do=table["what_to_do"],
            if_i_go_on=table["if_i_go_on"],
            can_i_keep_using_it=table["can_i_keep_using_it"],
        ),
    )


def runbook(name: str) -> str:
    """The text (Markdown) of a runbook that an error names."""
    return resources.files("resources").joinpath("runbooks", f"{name}.md").read_text("utf-8")
