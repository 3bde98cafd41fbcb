"""The dialog that shows which backups would go, by which rules, before any of them goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QDialog, QSpinBox, QWidget

from engine.config import Config
from engine.errors import Cancelled
from gui.backups.words import origin_word, proof_tone, proof_word, tr
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.error_slot import ErrorSlot
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import button, column, formats, indent, label, row

if TYPE_CHECKING:
    # At run time the kernel is loaded on a worker, after the window was drawn.
    from engine.backups.history import KeptBackup
    from engine.backups.retention import Kept, RetentionPlan

_RULES = ("keep_last_backups", "keep_daily_backups", "keep_weekly_backups", "keep_monthly_backups")


class RetentionDialog(QDialog):
    """Changes the rules, shows what they come to, and removes what they do not keep."""

    pruned = Signal()
    """Backups were removed, or the rules were changed."""

    def __init__(
        self,
        shell: Shell,
        session: EngineSession,
        backups: tuple[KeptBackup, ...],
        config: Config,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Which backups stay"))
        self.resize(940, 600)
        self._shell, self._session = shell, session
        self._backups, self._config = backups, config
        self.plan: RetentionPlan | None = None
        self.rules: dict[str, QSpinBox] = {}
        self.errors = ErrorSlot(lambda action: action in ("retry", "wait"))
        self.errors.action_requested.connect(lambda _action: self._remove())
        self._prunes = QCheckBox(self.tr("remove them by themselves, after each scheduled backup"))
        self._prunes.setChecked(config.prune_backups)
        self.model = RecordModel(_fields(), lambda line: line[0].info.path, limit=1000, parent=self)
        self.view = RecordView(self.model, self.tr("Backups and what keeps them"), (170, 80, 120, 100, 120))
        self._bar = JobBar()
        self.save = button(self.tr("Keep these rules"), self._save)
        self.remove = button("", self._remove, "danger", "trash")
        self._build()
        self._plan_again()

    def _build(self) -> None:
        words = label(
            self.tr(
                "Only scheduled backups ever go. The newest, the last that was proved, those taken by hand, "
                "emergency backups and what an increment continues always stay."
            ),
            "muted",
            wrap=True,
        )
        line = row(gap=Space.M)
        for name, text in zip(
            _RULES,
            (self.tr("Newest"), self.tr("Daily"), self.tr("Weekly"), self.tr("Monthly")),
            strict=True,
        ):
            box = QSpinBox()
            box.setRange(1 if name == "keep_last_backups" else 0, 999)
            box.setValue(getattr(self._config, name))
            box.setAccessibleName(text)
            indent(box)
            box.valueChanged.connect(lambda _value: self._plan_again())
            self.rules[name] = box
            line.addLayout(column(label(text, "caption"), box, gap=2))
        line.addStretch(1)
        whole = column(label(self.tr("Which backups stay"), "title"), words, line, self._prunes, self.errors)
        whole.setSpacing(Space.M)
        whole.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        whole.addWidget(self.view, 1)
        whole.addWidget(self._bar)
        close = button(self.tr("Close"), self.close)
        whole.addLayout(row(None, close, self.save, self.remove))
        self.setLayout(whole)
        self._prunes.toggled.connect(lambda _on: self._plan_again())

    def values(self) -> dict[str, Any]:
        """The rules as they stand here."""
        rules: dict[str, Any] = {name: box.value() for name, box in self.rules.items()}
        return {**rules, "prune_backups": self._prunes.isChecked()}

    def _plan_again(self) -> None:
        config, backups = self._config.changed(**self.values()), self._backups
        answer = self._session.run(lambda db: _plan(db, backups, config), self, channel="files")
        answer.done(self._show).failed(self._show_error)

    def _show(self, plan: RetentionPlan) -> None:
        self.plan = plan
        lines: list[tuple[KeptBackup, Kept | None]] = [(backup, None) for backup in plan.removed]
        lines += [(kept.backup, kept) for kept in plan.kept]
        self.model.show(lines)
        gone = len(plan.removed)
        self.remove.setEnabled(gone > 0)
        words = self.tr("Remove 1 backup ({size})") if gone == 1 else self.tr("Remove {n} backups ({size})")
        self.remove.setText(
            words.format(n=gone, size=formats.size(plan.freed_bytes))
            if gone
            else self.tr("Nothing to remove")
        )
        self.save.setEnabled(any(getattr(self._config, k) != v for k, v in self.values().items()))

    def _save(self) -> None:
        values = self.values()
        answer = self._session.run(lambda db: db.keeper.change(**values), self, channel="files")
        answer.done(lambda _none: self._has_saved(values)).failed(self._show_error)

    def _has_saved(self, values: dict[str, Any]) -> None:
        self._config = self._config.changed(**values)
        self._plan_again()
        self._shell.tell(self.tr("The rules are in force"))
        self.pruned.emit()

    def _remove(self) -> None:
        self.errors.clear()
        self.remove.setEnabled(False)
        config = self._config.changed(**self.values())
        answer = self._session.run(lambda db: _prune_task(db, config), self, channel="files")
        answer.done(self._follow).failed(self._show_error)

    def _follow(self, task: Any) -> None:
        job = self._shell.jobs.start(task, self)
        self._bar.follow(job)
        job.answer.done(self._has_pruned).failed(self._show_error)

    def _has_pruned(self, pruned: Any) -> None:
        gone = set(pruned.names)
        self._backups = tuple(kept for kept in self._backups if kept.name not in gone)
        self._plan_again()
        self._shell.tell(
            self.tr("Removed: {n}, {size}").format(n=len(gone), size=formats.size(pruned.freed_bytes))
        )
        self.pruned.emit()

    def _show_error(self, error: BaseException) -> None:
        self._bar.hide()
        self._plan_again_quietly()
        if not isinstance(error, Cancelled):
            self.errors.show_error(error, self.windowTitle())

    def _plan_again_quietly(self) -> None:
        if self.plan is not None:
            self._show(self.plan)


def _fields() -> tuple[Field, ...]:
    return (
        Field(tr("Taken"), lambda line: formats.moment(line[0].info.taken_at)),
        Field(tr("Size"), lambda line: formats.size(line[0].info.bytes), True),
        Field(tr("Proof"), lambda line: proof_word(line[0]), tone=lambda line: proof_tone(line[0])),
        Field(tr("Asked for"), lambda line: origin_word(line[0])),
        Field(
            tr("What happens"),
            lambda line: tr("would go") if line[1] is None else tr("stays"),
            tone=lambda line: Tone.BAD if line[1] is None else Tone.GOOD,
            icon_name=lambda line: "trash" if line[1] is None else "check",
        ),
        Field(
            tr("Because"),
            lambda line: tr("no rule keeps it") if line[1] is None else ", ".join(line[1].reasons),
        ),
    )


def _plan(database: Any, backups: tuple[KeptBackup, ...], config: Config) -> RetentionPlan:
    # Imported here, as below: the kernel is loaded on the worker.
    from engine.backups.retention import retention_plan

    return retention_plan(backups, config, database.keeper.identity())


def _prune_task(database: Any, config: Config) -> Any:
    from engine.backups.retention import prune_task

    return prune_task(database.keeper.folder, config, database.keeper.identity())
