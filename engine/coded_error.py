"""The base of every coded error: its words, its answers, its shapes for people and programs.

No text of an error holds stored keys or values: it may be logged, shown and mailed. The keys that
damage lies between are beside its fields, for the program that catches it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.catalogue import Answers, Category, Entry, ErrorCard, entries, field_text
from engine.types import Severity


@dataclass(frozen=True, slots=True, repr=False)
class KeyRange:
    """The keys from `low` on and below `high`, as stored; None is open.

    Its text names neither, so that what is logged or reported of it shows nothing that is stored.
    """

    low: bytes | None
    high: bytes | None

    def __repr__(self) -> str:
        return "KeyRange(...)"


class HoldfastError(Exception):
    """Anything that Holdfast refuses or fails to do; raised as one of its subclasses.

    `fields` are those the catalogue names, `metadata` whatever else was known.
    """

    code: ClassVar[int] = -1

    key_range: KeyRange | None = None
    """The keys that cannot be read because of it, of errors of damaged pages. In no text of the error."""

    def __init__(self, **fields: Any) -> None:
        known = self.entry.fields
        self.fields: dict[str, Any] = fields
        self.metadata: dict[str, Any] = {k: v for k, v in fields.items() if k not in known}
        super().__init__(self.entry.render(self.words_of(fields)))

    @property
    def entry(self) -> Entry:
        """This error in the catalogue."""
        return entries()[self.code]

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def title(self) -> str:
        return self.entry.render_title(self.words_of(self.fields))

    @staticmethod
    def words_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields as the message has them, where that is not as they are kept."""
        return fields

    @property
    def advice(self) -> Entry:
        """Where the answers and the action are taken from: of this error, or of what is behind it."""
        return self.entry

    @property
    def message(self) -> str:
        """What happened, with the fields in place."""
        return str(self.args[0])

    @property
    def suggested_action(self) -> str:
        """What to do, of this very case where it is known, else of errors of this kind."""
        return str(self.fields.get("suggested_action") or self.advice.suggested_action)

    @property
    def severity(self) -> Severity:
        return self.entry.severity

    @property
    def category(self) -> Category:
        return self.entry.category

    @property
    def answers(self) -> Answers:
        return self.advice.answers

    @property
    def operation(self) -> str:
        """What was being done, or empty."""
        return field_text(self.fields.get("operation"))

    @property
    def resource(self) -> str:
        """What it was done to (a path, a table, a tree, a page), or empty."""
        for name in ("resource", "path", "file", "table", "tree", "page_id"):
            if text := field_text(self.fields.get(name)):
                return text
        return ""

    def is_critical_recovery_failure(self) -> bool:
        """Whether a person has to act."""
        return self.entry.critical

    def is_retryable(self) -> bool:
        """Whether the same may succeed later or with other parameters."""
        return self.entry.retryable

    def is_recoverable(self) -> bool:
        """Whether another way to the goal exists."""
        return self.entry.recoverable

    def as_card(self) -> ErrorCard:
        """The words of this error for a person."""
        entry, advice = self.entry, self.advice
        details = tuple((k, text) for k, v in self.fields.items() if (text := field_text(v)))
        return ErrorCard(
            code=self.code,
            name=entry.name,
            title=self.title,
            message=self.message,
            severity=entry.severity,
            answers=advice.answers,
            suggested_action=self.suggested_action,
            action=advice.action,
            action_label=advice.action_label,
            runbook=advice.runbook,
            details=details,
            causes=_causes(self),
        )

    def to_dict(self) -> dict[str, Any]:
        """The shape that `--json` prints: code, name, message, suggested_action, fields."""
        return {
            "code": self.code,
            "name": self.name,
            "message": self.message,
            "suggested_action": self.suggested_action,
            "fields": self.fields,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), default=str)

    def __reduce__(self) -> tuple[Any, ...]:
        # The cause is not part of an exception's own pickle, and a chain must survive a copy.
        return _restore, (type(self), self.fields, self.__cause__, dict(self.__dict__))


def _restore(
    kind: type[HoldfastError], fields: dict[str, Any], cause: BaseException | None, state: dict[str, Any]
) -> HoldfastError:
    error = kind(**fields)
    error.__dict__.update(state)
    error.__cause__ = cause
    return error


def _causes(error: BaseException) -> tuple[str, ...]:
    chain: list[str] = []
    cause = error.__cause__
    while cause is not None and len(chain) < 20:
        if isinstance(cause, HoldfastError):
            chain.append(f"{cause.title} ({cause.name}, {cause.code}): {cause.message}")
        else:
            # The text of a foreign exception may hold data; its kind does not.
            chain.append(type(cause).__name__)
        cause = cause.__cause__
    return tuple(chain)
