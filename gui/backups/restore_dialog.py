"""The dialog that restores a backup: it shows what will be there before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

from engine.types import TargetState
from gui.backups.dialogs import WorkDialog
from gui.backups.key_question import GivenKey, key_on, known_key
from gui.backups.words import proof_tone, proof_word, tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Shell
from gui.tasks import Answer, EngineSession
from gui.theme import Space, Tone
from gui.widgets import Pill, formats, label, row, set_look

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import RowCounts
    from engine.backups.preview import RestorePreview

_LOOK_AFTER_MS = 150

RowLine = tuple[str, int | None, int | None]
"""A table or tree: its name, its rows in the backup and now; None where it is not there."""


class RestoreDialog(WorkDialog):
    """Restores a backup into a new folder; nothing that exists is touched."""

    def __init__(
        self,
        shell: Shell,
        source: Path,
        target: Path,
        parent: QWidget | None = None,
        session: EngineSession | None = None,
        title: str = "",
    ) -> None:
        self._source = source
        self._session = session
        self._now: RowCounts | None = None
        self.preview: RestorePreview | None = None
        self._looks = QTimer()
        self._looks.setSingleShot(True)
        super().__init__(shell, title or shell.tr("Restore a backup"), shell.tr("New database"), parent)
        self.asked.connect(self.start)
        self.changed.connect(self.show_state)
        self._looks.setParent(self)
        self._looks.timeout.connect(self._look)
        self.resize(700, 560)
        self.words.setText(
            self.tr(
                "The backup is copied into a new folder, brought to its last commit by a recovery, and "
                "checked in full. No database that exists is touched."
            )
        )
        self._build()
        if session is not None:
            session.run(_rows_now, self, channel="files").done(self._show_now)
        self.place.setText(str(target))

    def _build(self) -> None:
        self._pill = Pill()
        self._what = label("", "strong")
        self._fit = label("", wrap=True)
        fields = difference_fields(with_now=self._session is not None)
        self.rows = RecordModel(fields, lambda line: line[0], limit=1000, parent=self)
        self._list = RecordView(self.rows, self.tr("Tables of the backup"), (280, 110, 110))
        self._list.setMinimumHeight(150)
        for part in (row(self._what, self._pill, None), self._list, self._fit):
            if isinstance(part, QWidget):
                self.middle.addWidget(part)
            else:
                self.middle.addLayout(part)
        self.middle.setSpacing(Space.S)
        self._list.hide()

    def show_state(self) -> None:
        path = self.path()
        self.go.setText(self.tr("Restore into {name}").format(name=path.name))
        # Only what was looked at can be started.
        self.go.setEnabled(False)
        self.command.show_command("restore", self._source, path, *self.lock.command_words())
        self._looks.start(_LOOK_AFTER_MS)

    def run(self, work: Callable[[Any], Any]) -> Answer:
        """Do `work` on a worker, with the database that the backup is of, or None where it is not open."""
        if self._session is None:
            return self.shell.run(lambda: work(None), self)
        return self._session.run(work, self, channel="files")

    def _is_awaited(self, target: Path, given: GivenKey | None) -> bool:
        """True where this is still what is to be looked at, and nothing has been done since."""
        return target == self.path() and given == self.lock.key() and not self.go.isHidden()

    def _has_not_looked(self, target: Path, given: GivenKey | None, error: BaseException) -> None:
        """Nothing was started: the button waits for another place, or for a key."""
        if not self._is_awaited(target, given):
            # To ask again would forget the key that was given meanwhile.
            return
        self.go.setEnabled(False)
        self.show_failure(error)

    def _look(self) -> None:
        source, target, given = self._source, self.path(), self.lock.key()
        answer = self.run(lambda database: _preview(database, source, target, given))
        answer.done(lambda found: self._show_preview(target, given, found))
        answer.failed(lambda error: self._has_not_looked(target, given, error))

    def _show_preview(self, target: Path, given: GivenKey | None, found: RestorePreview) -> None:
        if not self._is_awaited(target, given):
            return
        self.preview = found
        kept = found.backup
        self._what.setText(
            self.tr("As it was on {moment}, {ago}").format(
                moment=formats.moment(kept.info.taken_at), ago=formats.ago(kept.info.taken_at)
            )
        )
        self._pill.show_state(proof_word(kept), proof_tone(kept))
        self._show_rows()
        if found.is_locked and self.lock.isHidden():
            self.lock.ask(kept.info.encryption)
        self._show_fitness(found)

    def _show_fitness(self, found: RestorePreview) -> None:
        words, tone = self._fitness(found)
        self._fit.setText(words)
        set_look(self._fit, tone=str(tone))
        has_place = bool(self.place.text().strip())
        self.go.setEnabled(has_place and found.target.is_fit and found.has_room and not found.is_locked)

    def _fitness(self, found: RestorePreview) -> tuple[str, Tone]:
        if found.target is TargetState.NOT_EMPTY:
            return self.tr("Something is there already. Choose a name that does not exist yet."), Tone.BAD
        if found.target is TargetState.NO_PARENT:
            return self.tr("The folder that it would go into does not exist."), Tone.BAD
        room = self.tr("It takes about {need} there; {free} are free.").format(
            need=formats.size(found.needed_bytes), free=formats.size(found.free_bytes)
        )
        if not found.has_room:
            return f"{room} {self.tr('Choose another disk.')}", Tone.BAD
        if found.is_locked:
            return f"{self.tr('It is encrypted: give its key above.')} {room}", Tone.WARN
        if found.backup.setback is not None:
            return f"{found.backup.setback.message} {room}", Tone.BAD
        return room, Tone.NEUTRAL

    def _show_now(self, counts: RowCounts) -> None:
        self._now = counts
        self._show_rows()

    def _show_rows(self) -> None:
        if self.preview is None:
            return
        kept = self.preview.backup
        there = kept.counted or kept.noted
        if there is None:
            self._list.hide()
            return
        then = {**there.tables, **there.trees}
        now = {} if self._now is None else {**self._now.tables, **self._now.trees}
        names = list(dict.fromkeys((*there.tables, *there.trees, *now)))
        self.rows.show([(name, then.get(name), now.get(name)) for name in names])
        self._list.show()

    def start(self) -> None:
        source, target, given = self._source, self.path(), self.lock.key()
        self._looks.stop()
        answer = self.run(lambda database: _restore_task(database, source, target, given))
        answer.done(lambda task: self.follow(task, self._show_proof)).failed(self.has_failed)

    def _show_proof(self, result: Any) -> None:
        self.has_succeeded()
        self._fit.hide()
        check: Any = next(
            (s.metrics for s in result.recovery.stages if s.name == "Consistency Validation"), {}
        )
        self.banner.say(
            Tone.GOOD,
            self.tr("Restored, recovered and checked"),
            self.tr("{pages} pages and {records} records were checked, without a problem.").format(
                pages=formats.count(check.get("pages", result.pages)),
                records=formats.count(check.get("records", 0)),
            ),
        )
        self.offer_to_open(result.path)


def difference_fields(*, with_now: bool) -> list[Field]:
    """The columns of a `RowLine`, with the rows of now where they are known."""
    fields = [
        Field(tr("What will be there"), lambda line: str(line[0])),
        Field(tr("Rows"), lambda line: _count(line[1]), True),
    ]
    if with_now:
        fields += [
            Field(tr("Now"), lambda line: _count(line[2]), True),
            Field(tr("Difference"), _difference, True, tone=_difference_tone),
        ]
    return fields


def _count(rows: int | None) -> str:
    return "–" if rows is None else formats.count(rows)


def _difference(line: RowLine) -> str:
    _name, then, now = line
    if then == now:
        return "0"
    delta = (then or 0) - (now or 0)
    return f"{'+' if delta > 0 else '−'}{formats.count(abs(delta))}"


def _difference_tone(line: RowLine) -> Tone | None:
    _name, then, now = line
    return Tone.WARN if (then or 0) != (now or 0) else None


def _preview(database: Any, source: Path, target: Path, given: GivenKey | None) -> RestorePreview:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.preview import restore_preview

    return restore_preview(source, target, key=known_key(database, source, given))


def _rows_now(database: Any) -> RowCounts:
    from engine.backups.history import count_kept

    return count_kept(database)


def _restore_task(database: Any, source: Path, target: Path, given: GivenKey | None) -> Any:
    from engine.backups.restore import restore_task

    return restore_task(source, target, key=key_on(database, source, given))
