"""The page of mirrors: how far each is, live, its proof, and the way to let one take over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QStackedWidget, QWidget

from engine.errors import Cancelled
from engine.types import Event, MirrorInfo, MirrorOutlook, MirrorPhase
from gui.actions import Actions
from gui.mirrors.dialogs import AddMirrorDialog
from gui.mirrors.failback import FailBackDialog
from gui.mirrors.words import (
    kind_word,
    lag_word,
    loss_words,
    reason_words,
    since_word,
    state_tone,
    state_word,
    tr,
)
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Page, Shell
from gui.tasks import EngineSession
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import Card, ConfirmBar, EmptyState, StatTile, button, column, formats, label, row

_LOOK_MS = 500


def mirror_fields() -> tuple[Field, ...]:
    """What is shown of a `MirrorInfo`."""
    return (
        Field(tr("Mirror"), lambda m: Path(m.path).name, tip=lambda m: m.path),
        Field(tr("State"), state_word, tone=state_tone, tip=lambda m: m.error),
        Field(tr("It lacks"), lag_word, True),
        Field(tr("Since"), since_word, True),
        Field(tr("Commits"), kind_word),
    )


class MirrorsPage(Page):
    """Lists the mirrors of the open database and works on them."""

    page_id = "mirrors"
    icon_name = "copy"

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self.tr("Mirrors"), "")
        self.header.set_subtitle(self.tr("A second copy, always up to date, that can take over"))
        self.header.add_action(button(self.tr("Add a mirror…"), self.add_mirror, "primary", "plus"))
        self.back = button(self.tr("Fail back…"), self.fail_back, "quiet", "undo")
        self.back.hide()
        self.header.add_action(self.back)
        self._former: Path | None = None
        self.model = RecordModel(mirror_fields(), lambda m: m.path, limit=100, parent=self)
        self.view = RecordView(self.model, self.tr("Mirrors"), (260, 180, 110, 110))
        self.view.record_chosen.connect(self._show_chosen)
        self.errors = self.make_errors(self.refresh)
        self.question = ConfirmBar()
        self.question.confirmed.connect(self._has_confirmed)
        self._confirmed = self._nothing
        self._bar = JobBar()
        self._level = StatTile(self.tr("Have everything"))
        self._lag = StatTile(self.tr("Lack most"))
        self._held = StatTile(self.tr("Log kept for them"))
        self._reason = label("", "caption", wrap=True)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self.refresh)
        self._is_asking = False
        self._build()

    def _nothing(self) -> None:
        """What the question asks for, where it asks nothing."""

    def _build(self) -> None:
        empty = EmptyState(
            "copy",
            self.tr("No mirror yet"),
            self.tr("A mirror follows each commit, and takes over when the disk of the database fails."),
            button(self.tr("Add the first mirror…"), self.add_mirror, "primary"),
        )
        listed = QWidget()
        inner = column(self.view, self._reason, gap=Space.S)
        self.prove = button(self.tr("Prove it"), self.prove_chosen, "quiet", "check")
        self.mend = button(self.tr("Mend it"), self.mend_chosen, "quiet", "integrity")
        self.take_over = button(self.tr("Let it take over…"), self.ask_fail_over, "quiet", "arrow-right")
        self.remove = button(self.tr("Remove…"), self.ask_remove, "quiet", "trash")
        self.settle = button(self.tr("Settle its history…"), self.settle_chosen, "quiet", "undo")
        self.settle.hide()
        buttons = (self.settle, self.prove, self.mend, self.take_over, self.remove)
        inner.addLayout(row(None, *buttons, gap=Space.S))
        listed.setLayout(inner)
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(listed)
        card = Card()
        card.add(self._bar)
        card.body.addWidget(self._stack, 1)
        tiles = row(self._level, self._lag, self._held, gap=Space.M)
        whole = column(self.question, self.errors, tiles, gap=Space.M)
        whole.addWidget(card, 1)
        self.body.addLayout(whole, 1)

    def add_actions(self, actions: Actions) -> None:
        for action_id, words, handler, keys, drawing in (
            ("mirrors.add", self.tr("Add a mirror…"), self.add_mirror, "Ctrl+Alt+Y", "plus"),
            (
                "mirrors.prove",
                self.tr("Prove the chosen mirror"),
                self.prove_chosen,
                "Ctrl+Alt+Shift+N",
                "check",
            ),
            ("mirrors.fail_back", self.tr("Fail back…"), self.fail_back, "Ctrl+Alt+Shift+U", "undo"),
            (
                "mirrors.fail_over",
                self.tr("Let the chosen mirror take over…"),
                self.ask_fail_over,
                "Ctrl+Alt+Shift+G",
                "arrow-right",
            ),
        ):
            actions.add(action_id, words, handler, shortcut=keys, icon_name=drawing, needs_database=True)

    def attach(self, session: EngineSession) -> None:
        super().attach(session)
        session.events_arrived.connect(self._hear)
        session.run(lambda db: db.mirrors.former(), self, channel="mirrors").done(self._show_former)
        self.refresh()

    def detach(self) -> None:
        self._timer.stop()
        self._show_former(None)
        self.model.show([])
        self.question.hide()
        self.errors.clear()
        self._bar.hide()
        self._is_asking = False
        super().detach()

    def _show_former(self, former: Path | None) -> None:
        self._former = former
        self.back.setVisible(former is not None)

    def entered(self) -> None:
        self.refresh()
        self._timer.start()

    def left(self) -> None:
        self._timer.stop()

    def refresh(self) -> None:
        """Look at the mirrors again; one look at a time."""
        if self.session is None or self._is_asking:
            return
        self._is_asking = True
        answer = self.session.run(lambda db: db.mirrors.standing(), self, channel="mirrors")
        answer.done(self._show).failed(self._show_error)

    def _show(self, found: tuple[MirrorInfo, ...]) -> None:
        self._is_asking = False
        self.model.show(found)
        self._stack.setCurrentIndex(1 if found else 0)
        if found and self.view.current() is None:
            self.view.choose_line(0)
        self._show_tiles(found)
        self._show_chosen(self.view.current())

    def _show_tiles(self, found: tuple[MirrorInfo, ...]) -> None:
        if not found:
            for tile in (self._level, self._lag, self._held):
                tile.show_value("–", self.tr("no mirror"))
            return
        level = sum(info.is_level for info in found)
        tone = Tone.GOOD if level == len(found) else Tone.WARN
        self._level.show_value(f"{level} / {len(found)}", self.tr("mirrors"), tone)
        worst = max(found, key=lambda info: (info.lag_s, info.lag_bytes))
        lasts = self.tr("for {time}").format(time=since_word(worst))
        self._lag.show_value(formats.size(worst.lag_bytes), lasts if worst.lag_bytes else self.tr("no lag"))
        held = sum(info.held for info in found)
        words = self.tr("catch up without a copy")
        self._held.show_value(f"{held} / {len(found)}", words, Tone.GOOD if held == len(found) else Tone.WARN)

    def _show_chosen(self, info: MirrorInfo | None) -> None:
        for part in (self.prove, self.mend, self.take_over, self.remove):
            part.setEnabled(info is not None)
        self.settle.setVisible(info is not None and info.phase is MirrorPhase.REFUSED)
        self._reason.setText("" if info is None else reason_words(info))
        self._reason.setVisible(info is not None and bool(info.error))

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == "failed_over":
                self.shell.tell(self.tr("The disk failed: the mirror has taken over"))
                self.shell.open(Path(event.fields["path"]))
            elif event.kind.startswith("mirror"):
                self.refresh()

    # What can be done

    def add_mirror(self) -> None:
        """Open the dialog that adds a mirror."""
        if self.session is not None:
            dialog = AddMirrorDialog(self.session, self)
            dialog.added.connect(self.refresh)
            dialog.open()

    def prove_chosen(self) -> None:
        """Recover the chosen mirror beside itself, and check all of it."""
        self._work(lambda db, path: db.mirrors.verify_task(path), self._has_proved)

    def _has_proved(self, proof: Any) -> None:
        if proof.ok:
            self.shell.tell(self.tr("The mirror was recovered beside itself, and is whole"))
        else:
            # Not told for a moment only: it could not take over as it is.
            self._confirmed = self.mend_chosen
            words = self.tr(
                "The mirror {name} is damaged: {problem}. What is damaged can be replaced from the database, "
                "while both are in use."
            )
            text = words.format(name=proof.path.name, problem=proof.problems[0])
            self.question.ask(text, self.tr("Mend it"), self.tr("Leave it"), Tone.BAD)

    def mend_chosen(self) -> None:
        """Replace damaged pages of the chosen mirror by those of the database."""
        self._work(lambda db, path: db.mirrors.mend_task(path), self._has_mended)

    def _has_mended(self, pages: int) -> None:
        if pages:
            words = (
                self.tr("One damaged page of the mirror was replaced from the database")
                if pages == 1
                else self.tr("{pages} damaged pages of the mirror were replaced from the database")
            )
            self.shell.tell(words.format(pages=formats.count(pages)))
        else:
            self.shell.tell(self.tr("Every page of the mirror is whole"))
        self.refresh()

    def ask_fail_over(self) -> None:
        """Say what may be lost, then ask."""
        chosen = self._chosen()
        if self.session is None or chosen is None:
            return
        self.errors.clear()
        path = Path(chosen.path)
        answer = self.session.run(
            lambda db: (db.mirrors.outlook(path), db.status().state == "failed"), self, channel="mirrors"
        )
        answer.done(lambda found: self._ask(path, *found)).failed(self._show_error)

    def _ask(self, path: Path, seen: MirrorOutlook, has_failed: bool) -> None:
        loss = self.tr("This disk works, so nothing is lost: the mirror gets everything first.")
        if has_failed:
            loss = loss_words(seen)
        text = self.tr(
            "{loss} The database is closed here, {name} takes its place, and this directory can follow as "
            "its mirror and take the place back."
        ).format(loss=loss, name=path.name)
        self._confirmed = self.fail_over
        yes = self.tr("Let {name} take over").format(name=path.name)
        is_safe = not has_failed or seen.is_without_loss
        self.question.ask(text, yes, self.tr("Stay here"), Tone.WARN if is_safe else Tone.BAD)

    def fail_over(self) -> None:
        """Let the chosen mirror take over, and open it."""
        self._work(lambda db, path: db.mirrors.fail_over_task(path), self._has_failed_over)

    def _has_failed_over(self, done: Any) -> None:
        self.shell.tell(self.tr("{name} has taken over").format(name=done.path.name))
        self.shell.open(done.path)

    def fail_back(self) -> None:
        """Open the dialog that gives the former directory its place back."""
        if self.session is not None and self._former is not None:
            FailBackDialog(self.shell, self.session, self._former, self).open()

    def settle_chosen(self) -> None:
        """Open the dialog about a mirror of another history."""
        chosen = self._chosen()
        if self.session is not None and chosen is not None:
            FailBackDialog(self.shell, self.session, Path(chosen.path), self).open()

    def ask_remove(self) -> None:
        """Ask before the chosen mirror is kept no longer."""
        chosen = self._chosen()
        if chosen is None:
            return
        self._confirmed = self._remove
        text = self.tr("Keep {name} no longer? Its files go too.").format(name=Path(chosen.path).name)
        self.question.ask(text, self.tr("Remove the mirror"), self.tr("Keep it"), Tone.BAD)

    def _remove(self) -> None:
        chosen = self._chosen()
        if self.session is None or chosen is None:
            return
        path = chosen.path
        answer = self.session.run(
            lambda db: db.mirrors.remove(path, remove_files=True), self, channel="mirrors"
        )
        answer.failed(self._show_error).finally_(self.refresh)

    def _has_confirmed(self) -> None:
        work, self._confirmed = self._confirmed, self._nothing
        work()

    def _chosen(self) -> MirrorInfo | None:
        found: MirrorInfo | None = self.view.current()
        return found

    def _work(self, task_of: Any, done: Any) -> None:
        chosen = self._chosen()
        if self.session is None or chosen is None:
            return
        self.errors.clear()
        path = Path(chosen.path)

        def follow(task: Any) -> None:
            job = self.shell.jobs.start(task, self)
            self._bar.follow(job)
            job.answer.done(done).failed(self._show_error)

        answer = self.session.run(lambda db: task_of(db, path), self, channel="mirrors")
        answer.done(follow).failed(self._show_error)

    def _show_error(self, error: BaseException) -> None:
        self._is_asking = False
        self._bar.hide()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.tr("work on a mirror"))
