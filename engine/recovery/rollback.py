"""What a recovery would have to take back, stage by stage, and the taking back.

Each stage notes an action before it does what the action undoes, and the notes are part of the
persisted state, so that they outlive a crash. What was done is undone newest first. Every action
may be repeated: one that has nothing to do does nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from engine.errors import HoldfastError, RecoveryRollbackFailed
from engine.files import sync_directory, write_atomically


class ActionKind(StrEnum):
    DELETE_FILE = "delete_file"
    """Remove a file that the recovery created."""
    RESTORE_FILE = "restore_file"
    """Give a file its original content back."""
    RELEASE_LOCK = "release_lock"
    REVERT_OPERATION = "revert_operation"
    """Take back a work of the kernel, by its name."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to take back."""

    kind: ActionKind
    target: str
    """A path inside the database directory, or the name of a lock or operation."""
    content: bytes | None = None
    """Of `RESTORE_FILE`: what the file held before."""

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"kind": self.kind.value, "target": self.target}
        if self.content is not None:
            value["content"] = base64.b64encode(self.content).decode("ascii")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        content = value.get("content")
        return cls(
            ActionKind(value["kind"]),
            str(value["target"]),
            None if content is None else base64.b64decode(content),
        )


@dataclass(frozen=True, slots=True)
class StageRollback:
    """The rollback data of one stage."""

    stage: str
    actions: tuple[Action, ...]

    @property
    def created_files(self) -> tuple[str, ...]:
        return self._targets(ActionKind.DELETE_FILE)

    @property
    def modified_files(self) -> tuple[str, ...]:
        return self._targets(ActionKind.RESTORE_FILE)

    @property
    def locks(self) -> tuple[str, ...]:
        return self._targets(ActionKind.RELEASE_LOCK)

    def _targets(self, kind: ActionKind) -> tuple[str, ...]:
        return tuple(action.target for action in self.actions if action.kind is kind)


class Rollback:
    """The rollback data of one recovery. `operations` undo what only the kernel can."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._notes: list[tuple[str, Action]] = []
        self._operations: dict[str, Callable[[], object]] = {}

    @property
    def stages(self) -> tuple[StageRollback, ...]:
        """The stages that have something to take back, in the order in which they ran."""
        names = dict.fromkeys(stage for stage, _ in self._notes)
        return tuple(
            StageRollback(name, tuple(action for stage, action in self._notes if stage == name))
            for name in names
        )

    def created(self, stage: str, path: str) -> None:
        """Note that `stage` is about to create a file that is not there."""
        self._notes.append((stage, Action(ActionKind.DELETE_FILE, path)))

    def modifies(self, stage: str, path: str) -> None:
        """Note that `stage` is about to change or remove a file; keeps its content."""
        content = (self._directory / path).read_bytes()
        self._notes.append((stage, Action(ActionKind.RESTORE_FILE, path, content)))

    def locked(self, stage: str, name: str, release: Callable[[], object]) -> None:
        """Note that `stage` holds a lock."""
        self._operations[name] = release
        self._notes.append((stage, Action(ActionKind.RELEASE_LOCK, name)))

    def performs(self, stage: str, name: str, revert: Callable[[], object]) -> None:
        """Note that `stage` is about to do something that `revert` takes back."""
        self._operations[name] = revert
        self._notes.append((stage, Action(ActionKind.REVERT_OPERATION, name)))

    def settle(self) -> None:
        """Forget everything: the recovery stays."""
        self._notes.clear()

    def roll_back(self) -> tuple[str, ...]:
        """Undo everything, the newest first; return the stages that were taken back, in that order.

        Goes on after a failure, so that as much as possible is put back and every lock is
        released; then raises `RecoveryRollbackFailed` (-81) for the first one.
        """
        failed: RecoveryRollbackFailed | None = None
        stages: dict[str, None] = {}
        while self._notes:
            stage, action = self._notes.pop()
            stages[stage] = None
            try:
                self._undo(action)
            except (OSError, HoldfastError) as error:
                reason = error.message if isinstance(error, HoldfastError) else str(error.strerror)
                failure = RecoveryRollbackFailed(
                    stage=stage,
                    reason=f"{action.kind.value} {action.target}: {reason}",
                    manual_intervention_needed=action.kind is not ActionKind.RELEASE_LOCK,
                )
                failure.__cause__ = error
                failed = failed or failure
        if failed is not None:
            raise failed
        return tuple(stages)

    def _undo(self, action: Action) -> None:
        path = self._directory / action.target
        match action.kind:
            case ActionKind.DELETE_FILE:
                path.unlink(missing_ok=True)
                sync_directory(path.parent)
            case ActionKind.RESTORE_FILE:
                write_atomically(path, action.content or b"")
            case ActionKind.RELEASE_LOCK | ActionKind.REVERT_OPERATION:
                # Locks and works of the kernel end with their process: after a crash there is none.
                if revert := self._operations.pop(action.target, None):
                    revert()

    def to_json(self) -> list[dict[str, Any]]:
        """What `recovery.state` keeps."""
        return [
            {
                "stage": entry.stage,
                "actions": [action.to_json() for action in entry.actions],
                "created_files": list(entry.created_files),
                "modified_files": list(entry.modified_files),
                "locks": list(entry.locks),
            }
            for entry in self.stages
        ]

    @classmethod
    def of_crashed(cls, directory: Path, kept: object) -> Self:
        """The rollback data that a crashed recovery left; empty where it cannot be understood.

        Only plain names count: a damaged state must not reach beyond the database directory.
        """
        rollback = cls(directory)
        try:
            for entry in kept if isinstance(kept, list) else []:
                for action in map(Action.from_json, entry["actions"]):
                    is_file = action.kind in (ActionKind.DELETE_FILE, ActionKind.RESTORE_FILE)
                    if not is_file or Path(action.target).name == action.target:
                        rollback._notes.append((str(entry["stage"]), action))
        except (KeyError, TypeError, ValueError):
            rollback._notes.clear()
        return rollback
