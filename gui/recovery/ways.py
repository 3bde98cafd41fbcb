"""The ways out, ranked by what they lose, each with its cost before it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QWidget,
)

from engine.recovery.choices import Choice, ChoiceKind
from gui.tasks.job_bar import JobBar
from gui.theme import Space, Tone
from gui.widgets import Card, Pill, button, column, label, row, set_look
from gui.widgets.basics import clear


class WayCard(QFrame):
    """One way: what it does, what it costs, and a mark on the one that is advised."""

    def __init__(self, choice: Choice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choice = choice
        self.radio = QRadioButton(choice.title)
        self.radio.setEnabled(choice.is_possible)
        self.radio.setAccessibleDescription(choice.cost or choice.why_not)
        set_look(self.radio, role="strong")
        head = row(self.radio, gap=Space.S)
        if choice.is_advised:
            head.addWidget(Pill(self.tr("recommended"), Tone.GOOD))
        if choice.loses_nothing:
            head.addWidget(Pill(self.tr("loses nothing"), Tone.NEUTRAL))
        head.addStretch(1)
        words = column(label(choice.does, "muted", wrap=True), gap=Space.XS)
        words.setContentsMargins(26, 0, 0, 0)
        if choice.is_possible:
            words.addLayout(_line(label(self.tr("Costs"), "caption"), choice.cost))
        else:
            words.addLayout(_line(label(self.tr("Not possible"), "caption", Tone.BAD), choice.why_not))
        self.setLayout(column(head, words, margin=Space.M, gap=Space.XS))
        self.show_chosen(False)

    def show_chosen(self, chosen: bool) -> None:
        set_look(self, surface="accent" if chosen else "sunken")

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.choice.is_possible:
            self.radio.setChecked(True)
            self.radio.setFocus(Qt.FocusReason.MouseFocusReason)
        super().mousePressEvent(event)


class Ways(QWidget):
    """Lets a person choose among `Choice`s; a salvage asks for its new database too."""

    chosen = Signal(object)
    """The `Choice`, or None while there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[WayCard] = []
        self.roll_forward_from: Path | None = None
        self._database = Path()
        self._group = QButtonGroup(self)
        self._list = column(gap=Space.S)
        self._words = label("", "muted", wrap=True)
        self.bar = JobBar()
        self.target = QLineEdit()
        self.target.setAccessibleName(self.tr("New database"))
        self._target = QWidget()
        browse = button(self.tr("Choose…"), self._browse)
        self._target.setLayout(
            row(label(self.tr("New database"), "caption"), self.target, browse, gap=Space.M)
        )
        card = Card(self.tr("Ways out"), self.tr("the one that loses least first"))
        card.add(self._words, self._list, self._target, None)
        whole = column(self.bar, gap=Space.M)
        whole.addWidget(card, 1)
        self.setLayout(whole)
        self._target.hide()

    def show_weighing(self, database: Path) -> None:
        """The costs are being found out."""
        self._show([])
        self._database = database
        self.roll_forward_from = None
        self._words.setText(
            self.tr("Reading log and pages, to say what each way would cost. Nothing is changed by this.")
        )
        self._words.show()

    def show_choices(self, choices: Sequence[Choice], *, roll_forward_from: Path | None = None) -> None:
        """Show the ways; the recommended one is chosen.

        `roll_forward_from`: the backups that are rolled forward after their restore, if any.
        """
        self.roll_forward_from = roll_forward_from
        self._words.hide()
        self._show(choices)
        advised = next((card for card in self.cards if card.choice.is_advised), None)
        if advised is not None:
            advised.radio.setChecked(True)
            advised.radio.setFocus(Qt.FocusReason.OtherFocusReason)

    def choose(self, kind: ChoiceKind) -> None:
        """As a click on that way."""
        for card in self.cards:
            if card.choice.kind is kind and card.choice.is_possible:
                card.radio.setChecked(True)

    def current(self) -> Choice | None:
        return next((card.choice for card in self.cards if card.radio.isChecked()), None)

    def new_database(self) -> Path:
        """Where a way that makes a new database puts it."""
        return Path(self.target.text().strip()).expanduser()

    def start_words(self) -> str:
        """What the button says that takes the chosen way."""
        now = self.current()
        words = {
            ChoiceKind.RECOVER: self.tr("Recover everything"),
            ChoiceKind.OPEN_NOW: self.tr("Open now"),
            ChoiceKind.LAST_VALID: self.tr("Recover up to the last valid record"),
            ChoiceKind.READ_ONLY: self.tr("Open read-only"),
            ChoiceKind.BACKUP: self.tr("Restore and roll forward")
            if self.roll_forward_from is not None
            else self.tr("Restore the backup…"),
            ChoiceKind.MIRROR: self.tr("Let the mirror take over…"),
            ChoiceKind.SALVAGE: self.tr("Salvage into a new database"),
        }
        return words[now.kind] if now is not None else ""

    def command_words(self) -> tuple[str | Path, ...]:
        """The command that does the same as the chosen way; empty where there is none."""
        now = self.current()
        database = self._database
        commands: dict[ChoiceKind, tuple[str | Path, ...]] = {
            ChoiceKind.RECOVER: ("recover", database),
            ChoiceKind.LAST_VALID: ("recover", database, "--fallback", "last-valid"),
            ChoiceKind.SALVAGE: ("recover", database, "--fallback", "salvage", "--to", self.new_database()),
        }
        if self.roll_forward_from is not None:
            commands[ChoiceKind.BACKUP] = (
                "restore",
                self.roll_forward_from,
                self.new_database(),
                "--to-end",
                "--log",
                database,
            )
        return commands.get(now.kind, ()) if now is not None else ()

    def _show(self, choices: Sequence[Choice]) -> None:
        for card in self.cards:
            self._group.removeButton(card.radio)
        clear(self._list)
        self.cards = [WayCard(choice) for choice in choices]
        for card in self.cards:
            self._group.addButton(card.radio)
            self._list.addWidget(card)
            card.radio.toggled.connect(self._has_chosen)
        self._target.hide()
        if not choices:
            self.chosen.emit(None)

    def _has_chosen(self, _on: bool) -> None:
        for card in self.cards:
            card.show_chosen(card.radio.isChecked())
        now = self.current()
        endings = {ChoiceKind.SALVAGE: "salvaged"}
        if self.roll_forward_from is not None:
            endings[ChoiceKind.BACKUP] = "restored"
        ending = endings.get(now.kind) if now is not None else None
        self._target.setVisible(ending is not None)
        if ending is not None:
            self.target.setText(str(self._database.with_name(f"{self._database.stem} {ending}.holdfast")))
        self.chosen.emit(now)

    def _browse(self) -> None:
        dialog = QFileDialog(self, self.tr("New database"), str(Path(self.target.text()).parent))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setFileMode(QFileDialog.FileMode.AnyFile)
        dialog.selectFile(Path(self.target.text()).name)
        dialog.setLabelText(QFileDialog.DialogLabel.Accept, self.tr("Use this name"))
        dialog.fileSelected.connect(self.target.setText)
        dialog.open()


def _line(name: QLabel, text: str) -> QHBoxLayout:
    line = row(gap=Space.M)
    line.addWidget(name, 0, Qt.AlignmentFlag.AlignTop)
    line.addWidget(label(text, wrap=True), 1)
    return line
