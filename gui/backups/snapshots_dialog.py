"""The dialog of snapshots: take one, open it, prove it, restore it, drop it; schedule and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QDialog, QLineEdit, QSpinBox, QStackedWidget, QWidget

from engine.config import Config
from engine.errors import Cancelled
from engine.units import format_duration, format_size, parse_duration, parse_size
from gui.backups.snapshot_card import SnapshotLook, look_at_snapshots
from gui.backups.snapshot_restore_dialog import SnapshotRestoreDialog
from gui.backups.words import tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import ConfirmBar, EmptyState, button, column, formats, indent, label, row

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.snapshots.types import SnapshotInfo

_PACES = ("1 min", "5 min", "15 min", "1 h", "4 h", "1 d")
_AGES = ("1 h", "12 h", "1 d", "7 d", "30 d")
_ROOMS = ("256 MiB", "1 GiB", "4 GiB", "16 GiB", "64 GiB")


class SnapshotsDialog(QDialog):
    """Lists the snapshots of the open database and works on them."""

    changed = Signal()
    """Snapshots or their rules have changed."""
    opened = Signal(object, str)
    """A snapshot was opened: a `Database`, which whoever listens takes over, and its name."""

    def __init__(self, shell: Shell, session: EngineSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Snapshots of {name}").format(name=session.name))
        self.resize(940, 600)
        self._shell, self._session = shell, session
        self.errors = ErrorSlot(lambda action: action in ("retry", "wait"))
        self.errors.action_requested.connect(lambda _action: self.refresh())
        self.name = QLineEdit()
        self.name.setPlaceholderText(self.tr("A name; the time where it is left empty"))
        self.name.setAccessibleName(self.tr("Name of the snapshot"))
        self.name.setMaxLength(80)
        self.model = RecordModel(_fields(), lambda info: info.name, limit=1000, parent=self)
        self.view = RecordView(self.model, self.tr("Snapshots"), (280, 170, 100, 100, 130))
        self.view.record_chosen.connect(self._show_chosen)
        self.question = ConfirmBar()
        self.question.confirmed.connect(self._drop)
        self.bar = JobBar()
        self._make_buttons()
        self._make_rules()
        self._build()
        self.refresh()

    def _make_buttons(self) -> None:
        self.take_button = button(self.tr("Take a snapshot"), self.take, "primary", "plus")
        self.open_button = button(self.tr("Open read-only"), self.open_chosen, "", "search")
        self.prove_button = button(self.tr("Prove"), self.prove, "", "check")
        self.restore_button = button(self.tr("Restore…"), self.restore, "", "undo")
        self.drop_button = button(self.tr("Drop…"), self._ask_drop, "", "trash")

    def _make_rules(self) -> None:
        self.enabled = QCheckBox(self.tr("Take one by itself every"))
        self.pace, self.age, self.room = QComboBox(), QComboBox(), QComboBox()
        self.most = QSpinBox()
        self.most.setRange(1, 1000)
        indent(self.most)
        for widget, words in (
            (self.pace, self.tr("Time between snapshots")),
            (self.most, self.tr("Scheduled snapshots that are kept")),
            (self.age, self.tr("Age at which a scheduled snapshot goes")),
            (self.room, self.tr("Room that snapshots may take")),
        ):
            widget.setAccessibleName(words)
        self.enabled.clicked.connect(lambda on: self._change({"enable_snapshots": bool(on)}))
        self.pace.activated.connect(lambda _at: self._change({"snapshot_interval": self.pace.currentText()}))
        self.most.editingFinished.connect(self._has_most)
        self.age.activated.connect(lambda _at: self._change({"keep_snapshots_for": self.age.currentText()}))
        self.room.activated.connect(lambda _at: self._change({"snapshot_space": self.room.currentText()}))
        self._kept_most = 0

    def _build(self) -> None:
        words = label(
            self.tr(
                "A snapshot keeps this moment at once, and takes room only for what changes later. It lies "
                "on the disk of the database and goes with it: a backup is what survives a lost disk."
            ),
            "muted",
            wrap=True,
        )
        top = row(gap=Space.M)
        top.addWidget(self.name, 1)
        top.addWidget(self.take_button)
        empty = EmptyState(
            "clock",
            self.tr("No snapshot yet"),
            self.tr("Take one before a change that you may want to look behind, or take back."),
        )
        self.stack = QStackedWidget()
        self.stack.addWidget(empty)
        self.stack.addWidget(self.view)
        works = row(
            self.open_button, self.prove_button, self.restore_button, self.drop_button, None, gap=Space.S
        )
        rules = row(
            self.enabled,
            self.pace,
            Space.L,
            label(self.tr("keep the last"), "caption"),
            self.most,
            label(self.tr("for"), "caption"),
            self.age,
            label(self.tr("within"), "caption"),
            self.room,
            None,
            gap=Space.S,
        )
        whole = column(label(self.windowTitle(), "title"), words, self.errors, self.question, top)
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        whole.addWidget(self.stack, 1)
        whole.addLayout(works)
        whole.addWidget(self.bar)
        whole.addLayout(rules)
        whole.addLayout(row(None, button(self.tr("Close"), self.close)))
        self.setLayout(whole)

    def refresh(self) -> None:
        """Read the list again."""
        answer = self._session.run(look_at_snapshots, self, channel="files")
        answer.done(self._show).failed(self._show_error)

    def _show(self, look: SnapshotLook) -> None:
        chosen = self.view.current()
        self.model.show(look.snapshots)
        self.stack.setCurrentIndex(1 if look.snapshots else 0)
        line = self.model.line_of(chosen.name) if chosen is not None else None
        if look.snapshots:
            self.view.choose_line(0 if line is None else line)
        self._show_chosen(self.view.current() if look.snapshots else None)
        self._show_rules(look.config)
        if look.failure is not None:
            self.errors.show_error(look.failure, self.tr("take the scheduled snapshot"))

    def _show_rules(self, config: Config) -> None:
        self.enabled.setChecked(config.enable_snapshots)
        _fill(self.pace, _PACES, config.snapshot_interval, parse_duration, format_duration)
        _fill(self.age, _AGES, config.keep_snapshots_for, parse_duration, format_duration)
        _fill(self.room, _ROOMS, config.snapshot_space, parse_size, format_size)
        self._kept_most = config.keep_snapshots
        self.most.setValue(config.keep_snapshots)

    def _show_chosen(self, info: SnapshotInfo | None) -> None:
        for one in (self.open_button, self.prove_button, self.restore_button):
            one.setEnabled(info is not None and info.is_whole)
        self.prove_button.setEnabled(info is not None)
        self.drop_button.setEnabled(info is not None)

    def take(self) -> None:
        """Take a snapshot under the name that is typed in."""
        name = self.name.text().strip()
        self._work(lambda db: db.snapshots.take_task(name), self._has_taken)

    def _has_taken(self, info: SnapshotInfo) -> None:
        self.name.clear()
        self._shell.tell(self.tr("Snapshot taken: {name}").format(name=info.name))

    def open_chosen(self) -> None:
        """Open the chosen snapshot read-only, in a window of its own."""
        if (info := self.view.current()) is not None:
            name = info.name
            self._work(
                lambda db: db.snapshots.open_task(name), lambda database: self.opened.emit(database, name)
            )

    def prove(self) -> None:
        """Read and check every page of the chosen snapshot."""
        if (info := self.view.current()) is not None:
            name = info.name
            self._work(
                lambda db: db.snapshots.verify_task(name),
                lambda pages: self._shell.tell(
                    self.tr("{name} is whole: {pages} pages").format(name=name, pages=formats.count(pages))
                ),
            )

    def restore(self) -> None:
        """Open the dialog that restores the chosen snapshot."""
        if (info := self.view.current()) is not None:
            dialog = SnapshotRestoreDialog(self._shell, self._session, info, self)
            dialog.open()

    def _ask_drop(self) -> None:
        if (info := self.view.current()) is not None:
            text = self.tr("Drop the snapshot {name}? It cannot be brought back.").format(name=info.name)
            self.question.ask(text, self.tr("Drop it"), self.tr("Keep it"), Tone.BAD)

    def _drop(self) -> None:
        if (info := self.view.current()) is not None:
            name = info.name
            answer = self._session.run(lambda db: db.snapshots.drop(name), self, channel="files")
            answer.done(lambda _none: self._has_changed()).failed(self._show_error)

    def _work(self, task_of: Any, done: Any) -> None:
        self.errors.clear()

        def end(result: Any) -> None:
            done(result)
            self._has_changed()

        def follow(task: Any) -> None:
            job = self._shell.jobs.start(task, self)
            self.bar.follow(job)
            job.answer.done(end).failed(self._show_error)

        self._session.run(task_of, self, channel="files").done(follow).failed(self._show_error)

    def _has_changed(self) -> None:
        self.refresh()
        self.changed.emit()

    def _has_most(self) -> None:
        if self.most.value() != self._kept_most:
            self._change({"keep_snapshots": self.most.value()})

    def _change(self, values: dict[str, Any]) -> None:
        answer = self._session.run(lambda db: db.snapshot_keeper.change(**values), self, channel="files")
        answer.done(lambda _none: self._has_changed()).failed(self._show_error)

    def _show_error(self, error: BaseException) -> None:
        if not isinstance(error, Cancelled):
            self.bar.hide()
            self.errors.show_error(error, self.tr("work on a snapshot"))


def _fill(box: QComboBox, choices: tuple[str, ...], value: Any, parse: Any, words: Any) -> None:
    known = {parse(text): text for text in choices}
    known.setdefault(value, words(value))
    box.clear()
    box.addItems([known[one] for one in sorted(known)])
    box.setCurrentText(known[value])


def _fields() -> tuple[Field, ...]:
    return (
        Field(tr("Name"), lambda s: s.name, icon_name=lambda _s: "clock"),
        Field(tr("Taken"), lambda s: formats.moment(s.taken_at)),
        Field(tr("Age"), lambda s: formats.ago(s.taken_at)),
        Field(tr("Keeps"), lambda s: formats.size(s.bytes), True, tip=_kept_tip),
        Field(tr("Asked for"), lambda s: tr("by the schedule") if s.is_scheduled else tr("by hand")),
        Field(tr("State"), _state, tone=lambda s: Tone.GOOD if s.is_whole else Tone.BAD),
    )


def _kept_tip(info: SnapshotInfo) -> str:
    return tr("{pages} pages that were overwritten since").format(pages=formats.count(info.pages))


def _state(info: SnapshotInfo) -> str:
    if not info.is_whole:
        return tr("damaged")
    return tr("open") if info.is_open else tr("whole")
