"""An error as a card: what happened, how serious it is, and the button that does something about it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPlainTextEdit, QSizePolicy, QWidget

from engine.catalogue import ErrorCard as CardWords
from engine.types import Severity
from gui.theme import Space, Tone, pixmap
from gui.widgets.basics import Pill, button, column, label, row

_INSTEAD_OF_RETRY = ("retry", "wait", "choose_another", "recover")


class ErrorCard(QFrame):
    """Shows the catalogue's words for an error; `action_requested` carries the id of the suggested action.

    `can_do` says whether the program can carry out an action; without it every button is shown.
    """

    action_requested = Signal(str)
    dismissed = Signal()

    def __init__(
        self, words: CardWords, can_do: Callable[[str], bool] | None = None, parent: QWidget | None = None
    ):
        super().__init__(parent)
        self.words = words
        self._tone = Tone.WARN if words.severity in (Severity.LOW, Severity.MEDIUM) else Tone.BAD
        self.setProperty("surface", "card")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.setAccessibleName(self.tr("Error: {title}").format(title=words.title))
        self.setAccessibleDescription(words.message)
        self._details = QPlainTextEdit(self._technical())
        self._details.setProperty("kind", "mono")
        self._details.setReadOnly(True)
        self._details.setFixedHeight(130)
        self._details.hide()
        whole = column(
            self._head(), answers := self._answers(), self._actions(can_do), self._details, gap=Space.M
        )
        whole.setContentsMargins(Space.L, Space.L, Space.L, Space.L)
        answers.setContentsMargins(34, 0, 0, 0)
        self.setLayout(whole)

    def _head(self) -> QGridLayout:
        picture = QLabel()
        picture.setPixmap(pixmap("error", 24, self._tone, self.devicePixelRatioF()))
        title = label(self.words.title, "section", wrap=True)
        code = Pill(self.tr("code {code}").format(code=self.words.code), self._tone)
        message = label(self.words.message, wrap=True)
        message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        head = QGridLayout()
        head.setHorizontalSpacing(Space.S + 2)
        head.setVerticalSpacing(Space.XS)
        head.addWidget(picture, 0, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(title, 0, 1)
        head.addWidget(code, 0, 2, Qt.AlignmentFlag.AlignTop)
        head.addWidget(message, 1, 1, 1, 2)
        head.setColumnStretch(1, 1)
        return head

    def _answers(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(Space.L)
        grid.setVerticalSpacing(Space.S - 2)
        grid.setColumnStretch(1, 1)
        answers = self.words.answers
        lines = (
            (self.tr("How serious is it?"), answers.how_serious),
            (self.tr("What should I do?"), answers.what_to_do),
            (self.tr("What if I go on?"), answers.if_i_go_on),
            (self.tr("Can I keep using it?"), answers.can_i_keep_using_it),
        )
        for line, (question, answer) in enumerate(lines):
            grid.addWidget(label(question, "caption"), line, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label(answer, wrap=True), line, 1)
        return grid

    def _actions(self, can_do: Callable[[str], bool] | None) -> QWidget:
        bar = QWidget()
        line = row(margin=(34, 0, 0, 0))
        words = self.words
        if words.action_label and (can_do is None or can_do(words.action)):
            line.addWidget(
                button(words.action_label, lambda: self.action_requested.emit(words.action), "primary")
            )
        if can_do is not None and words.action not in _INSTEAD_OF_RETRY and can_do("retry"):
            # What has to be done first is said above; this is what comes after it.
            kind = "" if line.count() else "primary"
            line.addWidget(button(self.tr("Try again"), lambda: self.action_requested.emit("retry"), kind))
        if self._details.toPlainText():
            self._toggle = button(self.tr("Show details"), self._toggle_details, "quiet")
            line.addWidget(self._toggle)
        line.addWidget(button(self.tr("Copy report"), self.copy, "quiet", "copy"))
        line.addStretch(1)
        line.addWidget(button(self.tr("Dismiss"), self._dismiss, "quiet"))
        bar.setLayout(line)
        return bar

    def resizeEvent(self, event: QResizeEvent) -> None:
        # Wrapped text is as high as its width makes it, which a row of cards does not ask.
        self.fit()
        super().resizeEvent(event)

    def fit(self) -> None:
        """Be as high as the words are at this width."""
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))

    def _technical(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.words.details]
        return "\n".join([*lines, *(self.tr("caused by {cause}").format(cause=c) for c in self.words.causes)])

    def copy(self) -> None:
        QGuiApplication.clipboard().setText(self.words.to_text())

    def _toggle_details(self) -> None:
        shown = self._details.isHidden()
        self._details.setVisible(shown)
        self._toggle.setText(self.tr("Hide details") if shown else self.tr("Show details"))
        self.fit()

    def _dismiss(self) -> None:
        self.hide()
        self.dismissed.emit()
