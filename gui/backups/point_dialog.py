"""The dialog that restores a moment of the past into a new database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from gui.backups.key_question import GivenKey, key_on
from gui.backups.moments import Stop, StopKind
from gui.backups.restore_dialog import RestoreDialog
from gui.page import Shell
from gui.tasks import EngineSession
from gui.theme import Tone
from gui.widgets import formats

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.point import Reached
    from engine.backups.preview import RestorePreview


class PointDialog(RestoreDialog):
    """As the dialog of a backup, and then the log is rolled forward to just this moment."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        folder: Path,
        stop: Stop,
        then: Mapping[str, int] | None,
        parent: QWidget | None = None,
    ) -> None:
        """`folder` holds the backups; `then` are the rows at that moment, where they are known."""
        self._stop, self._then, self._folder = stop, then, folder
        self.reached: Reached | None = None
        when = formats.moment(stop.at).replace(":", "-")
        target = session.path.with_name(f"{session.path.stem} of {when}.holdfast")
        super().__init__(shell, folder, target, parent, session, shell.tr("Restore a moment"))
        self.words.setText(
            self.tr(
                "The newest backup before it is copied into a new folder, the log is rolled forward to just "
                "this moment, what was unfinished then is undone, and everything is checked. No database "
                "that exists is touched."
            )
        )

    def show_state(self) -> None:
        super().show_state()
        words = (*point_words(self._stop), *self.lock.command_words())
        self.command.show_command("restore", self._folder, self.path(), *words)

    def _look(self) -> None:
        folder, lsn, target, given = self._folder, self._stop.lsn, self.path(), self.lock.key()
        answer = self.run(lambda db: _preview(db, folder, lsn, target, given))
        answer.done(lambda found: self._show_point(target, given, *found))
        answer.failed(lambda error: self._has_not_looked(target, given, error))

    def _show_point(
        self, target: Path, given: GivenKey | None, reached: Reached, found: RestorePreview
    ) -> None:
        if not self._is_awaited(target, given):
            return
        self.reached, self.preview = reached, found
        self._what.setText(
            self.tr("As it was on {moment}, {ago}").format(
                moment=formats.moment(self._stop.at), ago=formats.ago(self._stop.at)
            )
        )
        log = formats.size(reached.log_bytes)
        words = (
            self.tr("backup + 1 commit, {log} of log")
            if reached.commits == 1
            else self.tr("backup + {n} commits, {log} of log")
        )
        self._pill.show_state(words.format(n=formats.count(reached.commits), log=log), Tone.ACCENT)
        self._show_rows()
        self._show_fitness(found)

    def _show_rows(self) -> None:
        if self._then is None:
            self._list.hide()
            return
        now = {} if self._now is None else {**self._now.tables, **self._now.trees}
        names = list(dict.fromkeys((*self._then, *now)))
        self.rows.show([(name, self._then.get(name), now.get(name)) for name in names])
        self._list.show()

    def start(self) -> None:
        folder, lsn, target, given = self._folder, self._stop.lsn, self.path(), self.lock.key()
        self._looks.stop()
        answer = self.run(lambda db: _restore_task(db, folder, lsn, target, given))
        answer.done(lambda task: self.follow(task, self._show_restored)).failed(self.has_failed)

    def _show_restored(self, found: tuple[Any, Reached]) -> None:
        self._show_proof(found[0])


def point_words(stop: Stop) -> tuple[str, str]:
    """How the command line names a moment."""
    if stop.kind is StopKind.NAMED:
        return "--to-name", stop.name
    return "--to-lsn", str(stop.lsn)


def _preview(
    database: Any, folder: Path, lsn: int, target: Path, given: GivenKey | None
) -> tuple[Reached, RestorePreview]:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.point import at_lsn, preview_task
    from engine.backups.preview import restore_preview

    key = key_on(database, folder, given)
    database.flush()
    reached = preview_task(folder, at_lsn(lsn), [database.path], key=key).run()
    return reached, restore_preview(reached.backup, target, key=key)


def _restore_task(database: Any, folder: Path, lsn: int, target: Path, given: GivenKey | None) -> Any:
    from engine.backups.point import at_lsn, restore_point_task

    key = key_on(database, folder, given)
    return restore_point_task(folder, target, at_lsn(lsn), [database.path], key=key)
