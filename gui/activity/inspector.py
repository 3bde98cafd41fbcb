"""One transaction in words, and the button that ends it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QWidget

from engine.types import TransactionInfo
from gui.activity.fields import isolation_text
from gui.tasks.sampler import Activity
from gui.theme import Space, Tone
from gui.widgets import ConfirmBar, Pill, button, column, formats, label, row


class TransactionInspector(QFrame):
    """Shows the chosen transaction: what it did, holds and waits for, and what its end would undo.

    Its question, `confirm`, is a bar of its own: the page puts it where there is room.
    """

    end_wanted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.setMinimumWidth(270)
        self.chosen: int | None = None
        self._suggested: int | None = None
        self._info: TransactionInfo | None = None
        self._blocked = 0
        self._title = label("", "section")
        self._state = Pill()
        self._words = label("", "muted", wrap=True)
        self._lines: dict[str, QLabel] = {}
        self._grid = self._make_grid()
        self._end = button("", self.ask_end, "danger", "end")
        self._look = button("", self._take_suggestion, "quiet", "arrow-right")
        self.confirm = ConfirmBar()
        self.confirm.confirmed.connect(self._agree)
        self.confirm.dismissed.connect(self._offer_end)
        inner = column(row(self._title, self._state, None), self._words, self._grid, gap=Space.S)
        inner.addStretch(1)
        for widget in (self._look, self._end):
            inner.addWidget(widget)
        inner.setContentsMargins(Space.L, Space.M, Space.L, Space.L)
        self.setLayout(inner)
        self.clear()

    def _make_grid(self) -> QWidget:
        made = QWidget()
        grid = QGridLayout()
        grid.setContentsMargins(0, Space.XS, 0, 0)
        grid.setVerticalSpacing(Space.XS)
        grid.setColumnStretch(1, 1)
        names = {
            "age": self.tr("Running for"),
            "isolation": self.tr("Isolation"),
            "changes": self.tr("Changes"),
            "undo": self.tr("Log to undo"),
            "holds": self.tr("Holds"),
            "waits": self.tr("Waits for"),
        }
        for line, (name, title) in enumerate(names.items()):
            self._lines[name] = label("", wrap=True)
            grid.addWidget(label(title, "caption"), line, 0)
            grid.addWidget(self._lines[name], line, 1)
        made.setLayout(grid)
        return made

    def clear(self) -> None:
        """Show that none is chosen."""
        self.chosen = self._info = None
        self.confirm.hide()
        self._title.setText(self.tr("Transaction"))
        self._state.hide()
        self._words.setText(
            self.tr("Choose a transaction in the picture or in the list to see what it does.")
        )
        self._words.show()
        self._grid.hide()
        self._end.hide()
        self._show_look()

    def choose(self, txn: int) -> None:
        """Look at another transaction; `show_activity` fills it in."""
        if txn != self.chosen:
            self.confirm.hide()
        self.chosen = txn

    def show_suggestion(self, txn: int | None) -> None:
        """Offer to look at the one whose end frees the most for the least undo."""
        self._suggested = txn
        self._show_look()

    def show_activity(self, activity: Activity) -> None:
        """Fill in what the last sample says of the chosen transaction."""
        if self.chosen is None:
            return
        info = next((t for t in activity.transactions if t.id == self.chosen), None)
        if info is None:
            gone = self.chosen
            self.clear()
            self._words.setText(self.tr("Transaction {txn} has ended.").format(txn=gone))
            return
        self._info = info
        self._blocked = sum(1 for edge in activity.waits if edge.holder == info.id)
        self._title.setText(self.tr("Transaction {txn}").format(txn=info.id))
        waits = [edge for edge in activity.waits if edge.waiter == info.id]
        self._state.show_state(
            self.tr("waiting") if waits else info.status, Tone.WARN if waits else Tone.ACCENT
        )
        self._state.show()
        self._words.hide()
        held = [lock.resource for lock in activity.locks if info.id in lock.holders]
        values = {
            "age": formats.duration(info.age_s),
            "isolation": isolation_text(info.isolation),
            "changes": formats.count(info.changes),
            "undo": formats.size(info.undo_bytes),
            "holds": _few(held) or self.tr("{n} locks").format(n=info.locks),
            "waits": _few([f"{edge.resource} (T{edge.holder})" for edge in waits]) or "–",
        }
        for name, text in values.items():
            self._lines[name].setText(text)
        self._grid.show()
        self._end.setText(self.tr("End transaction {txn}…").format(txn=info.id))
        self._end.setVisible(self.confirm.isHidden())
        self._show_look()

    def _show_look(self) -> None:
        self._look.setVisible(self._suggested is not None and self._suggested != self.chosen)
        if self._suggested is not None:
            self._look.setText(self.tr("Suggested to end: T{txn}").format(txn=self._suggested))

    def _take_suggestion(self) -> None:
        if self._suggested is not None:
            self.choose(self._suggested)
            self._show_look()

    def ask_end(self) -> None:
        """Say what the end of the chosen transaction would undo, and ask."""
        info = self._info
        if info is None:
            return
        self._end.hide()
        self.confirm.ask(
            self.tr(
                "End transaction {txn}? It has run for {age}; {changes} changes are undone. "
                "Waiting for it: {waiting}."
            ).format(
                txn=info.id,
                age=formats.duration(info.age_s),
                changes=formats.count(info.changes),
                waiting=formats.count(self._blocked),
            ),
            self._deed(info),
            self.tr("Leave it running"),
            Tone.BAD,
        )

    def _deed(self, info: TransactionInfo) -> str:
        if not info.changes:
            return self.tr("End transaction {txn}").format(txn=info.id)
        if info.changes == 1:
            return self.tr("Undo 1 change and end it")
        return self.tr("Undo {changes} changes and end it").format(changes=formats.count(info.changes))

    def _offer_end(self) -> None:
        self._end.setVisible(self._info is not None)

    def _agree(self) -> None:
        if self._info is not None:
            self.end_wanted.emit(self._info.id)


def _few(names: list[str], limit: int = 4) -> str:
    shown = "\n".join(names[:limit])
    return f"{shown}\n+ {len(names) - limit}" if len(names) > limit else shown
