"""The rescue guide: look at a moment of the past, choose rows or tables of it, preview, bring them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from engine.errors import BackupLocked, Cancelled
from gui.backups.key_question import GivenKey, KeyQuestion, key_on
from gui.backups.moments import Stop
from gui.backups.point_dialog import point_words
from gui.backups.rescue_steps import ChooseStep, DoneStep, PreviewStep, Wanted
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.step_dialog import StepDialog
from gui.widgets import column, formats, label

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.past import DifferencePage, Past, TableDifference
    from engine.backups.rescue import Rescued, RescuedTable

LOOK, CHOOSE, PREVIEW, RESCUE, DONE = range(5)
_SHOWN = {LOOK: 0, CHOOSE: 1, PREVIEW: 2, RESCUE: 2, DONE: 3}
_CHANNEL = "past"


class _Holder:
    """Holds the scratch copy of the past until the guide has gone and nothing uses it any more."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.past: Past | None = None
        self.is_gone = False
        """The guide has gone; what is still under way lets go of the past when it ends."""

    def take(self, past: Past) -> None:
        self.past = past

    def let_go(self) -> None:
        past, self.past = self.past, None
        if past is not None:
            self._shell.run(past.close)


class RescueDialog(StepDialog):
    """Brings rows or tables of the past back into the open database, in one transaction."""

    rescued = Signal()
    """Rows were written: views fetch again."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        folder: Path,
        stop: Stop,
        parent: QWidget | None = None,
        key: GivenKey | None = None,
    ) -> None:
        """`key` opens the backups in `folder`, where they are encrypted and somebody has given it already."""
        moment = formats.moment(stop.at)
        self._session, self._folder, self._stop = session, folder, stop
        names = (self.tr("1 Look"), self.tr("2 Choose"), self.tr("3 Preview"), self.tr("4 Rescue"))
        errors = ErrorSlot(lambda action: action in ("retry", "wait"))
        super().__init__(self.title_words(), (*names, self.tr("5 Done")), _SHOWN, errors, parent)
        self.resize_within(1060, 640)
        self.shell = shell
        self._held = _Holder(shell)
        self._job: Any = None
        self._counts: tuple[RescuedTable, ...] = ()
        self.choose, self.preview, self.outcome = ChooseStep(moment), PreviewStep(), DoneStep()
        self.lock = KeyQuestion()
        self.lock.take(key)
        self.lock.given.connect(self.look)
        parts = (self._look_part(), self.choose, self.preview, self.outcome)
        self.lay_out(parts, self._go_back, self._go_on)
        self.errors.action_requested.connect(lambda _action: self._retry())
        self.choose.changed.connect(self._show_buttons)
        self.choose.rows_wanted.connect(self._fetch_rows)
        self.preview.changed.connect(lambda _way: self.count())
        self.finished.connect(lambda _result: self._end())
        self._show_step(LOOK)
        self.look()

    def title_words(self) -> str:
        """What the guide is about."""
        moment = formats.moment(self._stop.at)
        return self.tr("The past of {name}: {moment}").format(name=self._session.name, moment=moment)

    def look_words(self) -> str:
        """What its first step does."""
        return self.tr(
            "The database as it was on {moment} is rebuilt in a scratch folder, beside the one that is open, "
            "and compared with it row by row. Nothing of yours is written; the scratch folder goes when this "
            "window is closed."
        ).format(moment=formats.moment(self._stop.at))

    def look_maker(self) -> Callable[[Any], Any]:
        """What makes, on the worker, the task that gives the past."""
        folder, lsn, given = self._folder, self._stop.lsn, self.lock.key()
        return lambda database: _past_task(database, folder, lsn, given)

    def command_words(self) -> tuple[tuple[str | Path, ...], tuple[str | Path, ...]]:
        """The commands that compare, and that rescue but for what is chosen."""
        words = (*point_words(self._stop), *self.lock.command_words())
        path, where = self._session.path, ("--backups", self._folder, *words)
        return ("difference", path, *where), ("rescue", path, *where)

    def _look_part(self) -> QWidget:
        told = QWidget()
        told.setLayout(column(self.lock, label(self.look_words(), "muted", wrap=True), None))
        return told

    def _show_step(self, step: int) -> None:
        self.turn_to(step)
        self._show_buttons()

    def _show_buttons(self) -> None:
        step = self.step
        self.back.setVisible(step == PREVIEW)
        self.close_button.setVisible(step != DONE)
        words = {
            CHOOSE: self.tr("Preview the rescue"),
            PREVIEW: self._rescue_words(),
            DONE: self.tr("Done"),
        }
        self.go.setVisible(step in words)
        self.go.setText(words.get(step, ""))
        total = sum(table.total for table in self._counts)
        anew = any(table.is_new for table in self._counts)
        self.go.setEnabled(
            {CHOOSE: bool(self.choose.chosen), PREVIEW: bool(total or anew), DONE: True}.get(step, False)
        )
        self._show_command()

    def _rescue_words(self) -> str:
        total = sum(table.total for table in self._counts)
        return self.tr("Rescue {rows} in one transaction").format(rows=formats.rows(total))

    def _show_command(self) -> None:
        compares, rescues = self.command_words()
        if self.step in (LOOK, CHOOSE):
            self.command.show_command(*compares)
            return
        tables = [word for name in self.choose.chosen for word in ("--table", name)]
        self.command.show_command(*rescues, *tables, "--conflicts", self.preview.way())
        # A key may hold anything: rows that were picked one by one have no command of their own.
        self.command.setVisible(
            all(wanted.keys is None and not wanted.into for wanted in self.choose.chosen.values())
        )

    def _go_on(self) -> None:
        if self.step == CHOOSE:
            self.count()
        elif self.step == PREVIEW:
            self.rescue()
        else:
            self.accept()

    def _go_back(self) -> None:
        self.errors.clear()
        self._show_step(CHOOSE)

    def _retry(self) -> None:
        self.errors.clear()
        if self._held.past is None:
            self.look()
        elif self.step in (PREVIEW, RESCUE):
            self.count()
        else:
            self.compare()

    # Work

    def look(self) -> None:
        """Rebuild the past in a scratch folder, then compare."""
        self._start(self.look_maker(), self._compare_with)

    def _compare_with(self, past: Past) -> None:
        self._held.take(past)
        self.compare()

    def compare(self) -> None:
        """Count what differs, table by table."""
        past = self._held.past
        if past is not None:
            self._start(lambda db: _difference_task(db, past), self._show_difference)

    def _show_difference(self, found: tuple[TableDifference, ...]) -> None:
        self._show_step(CHOOSE)
        self.choose.show_tables(found)
        self.choose.table_view.setFocus()

    def _fetch_rows(self, name: str, after: bytes | None, is_all: bool) -> None:
        past = self._held.past
        if past is None:
            return
        answer = self._session.run(lambda db: _rows(db, past, name, after, is_all), self, channel=_CHANNEL)
        answer.done(lambda found: self.choose.show_rows(name, found[0], found[1], after is None, is_all))
        answer.failed(self._has_failed)

    def count(self) -> None:
        """Count what the rescue would write."""
        past, chosen, way = self._held.past, tuple(self.choose.chosen.values()), self.preview.way()
        if past is not None and chosen:
            self._start(lambda db: _preview_task(db, past, chosen, way), self._show_counts)

    def _show_counts(self, counts: tuple[RescuedTable, ...]) -> None:
        self._counts = counts
        self.preview.show_counts(counts)
        self._show_step(PREVIEW)

    def rescue(self) -> None:
        """Put the chosen rows back."""
        past, chosen, way = self._held.past, tuple(self.choose.chosen.values()), self.preview.way()
        if past is not None:
            self._show_step(RESCUE)
            self._start(lambda db: _rescue_task(db, past, chosen, way), self._has_rescued)

    def _has_rescued(self, done: Rescued) -> None:
        self.outcome.show_done(done)
        self._show_step(DONE)
        self.go.setFocus()
        self._session.changed.emit("tables")
        self.rescued.emit()

    def _start(self, make: Callable[[Any], Any], done: Callable[[Any], object]) -> None:
        """Make a task on a worker and follow it as a job."""
        self.errors.clear()
        self.go.setEnabled(False)
        self.back.setEnabled(False)
        self.preview.ways.setEnabled(False)
        answer = self._session.run(make, self, channel=_CHANNEL)
        answer.done(lambda task: self._follow(task, done)).failed(self._has_failed)

    def _follow(self, task: Any, done: Callable[[Any], object]) -> None:
        # The answer is taken even where this window has gone: a scratch folder hangs on it.
        job = self._job = self.shell.jobs.start(task)
        self.bar.follow(job)
        held = self._held

        def finish(result: Any) -> None:
            if not held.is_gone:
                self._settle()
                done(result)
                return
            if is_past(result):
                held.take(result)
            held.let_go()

        def fail(error: BaseException) -> None:
            if held.is_gone:
                held.let_go()
            else:
                self._has_failed(error)

        job.answer.done(finish).failed(fail)

    def _settle(self) -> None:
        self._job = None
        self.bar.hide()
        self.back.setEnabled(True)
        self.preview.ways.setEnabled(True)

    def _has_failed(self, error: BaseException) -> None:
        self._settle()
        if self.step == RESCUE:
            # Nothing was changed: the choice stands, and can be changed.
            self._show_step(PREVIEW)
        self._show_buttons()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.windowTitle())
            if isinstance(error, BackupLocked):
                self.lock.ask()
        elif self._held.past is None:
            self.close()

    def _end(self) -> None:
        """The scratch folder goes; a look that is under way is stopped, a rescue is not."""
        self._held.is_gone = True
        if self._job is None:
            self._held.let_go()
        elif self.step != RESCUE:
            self._job.cancel()


def is_past(result: Any) -> bool:
    from engine.backups.past import Past

    return isinstance(result, Past)


def _past_task(database: Any, folder: Path, lsn: int, given: GivenKey | None) -> Any:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.past import past_task
    from engine.backups.point import at_lsn

    key = key_on(database, folder, given)
    database.flush()
    return past_task(folder, at_lsn(lsn), [database.path], key=key)


def _difference_task(database: Any, past: Past) -> Any:
    from engine.backups.past import difference_task

    return difference_task(past, database)


def _rows(
    database: Any, past: Past, name: str, after: bytes | None, is_all: bool
) -> tuple[tuple[str, ...], DifferencePage]:
    from engine.backups.past import columns_of, differing_rows, rows_then

    read = rows_then if is_all else differing_rows
    return columns_of(past, database, name), read(past, database, name, after)


def _choices(chosen: tuple[Wanted, ...]) -> Any:
    from engine.backups.rescue import Choice

    return [Choice(wanted.name, wanted.keys, wanted.into) for wanted in chosen]


def _preview_task(database: Any, past: Past, chosen: tuple[Wanted, ...], way: str) -> Any:
    from engine.backups.rescue import Conflicts, rescue_preview_task

    return rescue_preview_task(past, database, _choices(chosen), Conflicts(way))


def _rescue_task(database: Any, past: Past, chosen: tuple[Wanted, ...], way: str) -> Any:
    from engine.backups.rescue import Conflicts, rescue_task

    return rescue_task(past, database, _choices(chosen), Conflicts(way))
