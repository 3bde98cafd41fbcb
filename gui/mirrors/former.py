"""The guide that brings over what only a former primary holds, before that is given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QWidget

from gui.backups.moments import Stop, StopKind
from gui.backups.rescue_dialog import RescueDialog
from gui.page import Shell
from gui.tasks import EngineSession


class FormerDialog(RescueDialog):
    """As the rescue guide, with what the former primary holds in the place of the past."""

    def __init__(
        self, shell: Shell, session: EngineSession, former: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(shell, session, former, Stop(StopKind.NOW, 0, 0.0), parent)

    def title_words(self) -> str:
        return self.tr("What only {name} holds: there (then) and here (now)").format(name=self._folder.name)

    def look_words(self) -> str:
        return self.tr(
            "The former database is recovered in a scratch folder, beside itself, and compared with the one "
            "that is open, row by row: then is what it holds. Nothing of either is written; the scratch "
            "folder goes when this window is closed."
        )

    def look_maker(self) -> Callable[[Any], Any]:
        former = self._folder
        return lambda database: _former_task(former, database)

    def command_words(self) -> tuple[tuple[str | Path, ...], tuple[str | Path, ...]]:
        path = self._session.path
        return ("mirror", path, "compare", self._folder), ("mirror", path, "rescue", self._folder)


def _former_task(former: Path, database: Any) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.backups.former import former_task

    return former_task(former, database)
