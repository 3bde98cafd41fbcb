"""One moment of the past: what it is, the rows there were, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QStackedWidget, QWidget

from gui.backups.moments import Stop, StopKind
from gui.backups.words import touched_words
from gui.models.record_view import RecordView
from gui.models.records import Field, RecordModel
from gui.theme import Space, Tone
from gui.widgets import Card, ElidedLabel, Pill, button, column, formats, label, row

RowLine = tuple[str, int | None, int]
"""A table or tree: its name, its rows then (None where it was not there) and now."""


class PointCard(Card):
    """Shows a `Stop` of the slider; each button asks by a signal."""

    restore_asked = Signal()
    rescue_asked = Signal()
    named = Signal(str)
    """This moment is to have this name."""
    name_removed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("This moment"), parent=parent)
        self.stop: Stop | None = None
        self._pill = Pill()
        self.head.addWidget(self._pill)
        self._when = label("", "strong")
        self._what = label("", "", wrap=True)
        self._where = ElidedLabel("", "caption")
        self._note = label("", "caption", wrap=True)
        fields = (
            Field(self.tr("Table"), lambda line: str(line[0])),
            Field(self.tr("Then"), lambda line: "–" if line[1] is None else formats.count(line[1]), True),
            Field(self.tr("Now"), lambda line: formats.count(line[2]), True),
            Field(self.tr("Difference"), _difference, True, tone=_tone),
        )
        self.rows = RecordModel(fields, lambda line: line[0], limit=500, parent=self)
        self.list = RecordView(self.rows, self.tr("Rows then and now"), (100, 66, 66))
        self.list.fit_numbers()
        # As high as there is room for; what it holds is scrolled, not the page.
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.list.setMinimumHeight(94)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._unknown = label("", "caption", wrap=True)
        self._source = label(
            self.tr("As the log counts them. Rows that were changed, and tables dropped since: see Compare."),
            "caption",
            wrap=True,
        )
        # A layout asks wrapped words for the height of one line, and would put the second one over the list.
        self._source.setMinimumHeight(2 * self._source.fontMetrics().lineSpacing())
        self.restore = button(self.tr("Restore to here…"), self.restore_asked.emit, "primary", "undo")
        self.rescue = button(self.tr("Compare…"), self.rescue_asked.emit, "", "search")
        self.restore.setToolTip(self.tr("Into a new database; this one stays as it is"))
        self.rescue.setToolTip(self.tr("See which rows differ, and bring some of them back"))
        self.name = QLineEdit()
        self.name.setAccessibleName(self.tr("A name for this moment"))
        self.name.setPlaceholderText(self.tr("A name for this moment"))
        self.name.setMaxLength(80)
        self._keep = button(self.tr("Name it"), self._ask_name, "", "pin")
        self.name.textChanged.connect(lambda text: self._keep.setEnabled(bool(text.strip())))
        self.name.returnPressed.connect(self._ask_name)
        self._forget = button(self.tr("Forget the name"), self._ask_removal, "quiet", "trash")
        self._build()
        self.show_stop(None, None, {})

    def _build(self) -> None:
        self.add(self._when, self._what, self._where, self._note)
        self._stack = QStackedWidget()
        known = QWidget()
        listed = column(gap=Space.XS)
        listed.addWidget(self.list, 1)
        listed.addWidget(self._source)
        known.setLayout(listed)
        self._stack.addWidget(known)
        told = QWidget()
        told.setLayout(column(self._unknown, None))
        self._stack.addWidget(told)
        self.body.addWidget(self._stack, 1)
        self._naming = QWidget()
        naming = row(gap=Space.S)
        naming.addWidget(self.name, 1)
        naming.addWidget(self._keep)
        self._naming.setLayout(naming)
        self.add(row(self.restore, self.rescue, None), self._naming, row(self._forget, None))
        self.body.setSpacing(Space.S)

    def show_stop(
        self,
        stop: Stop | None,
        then: Mapping[str, int] | None,
        now: Mapping[str, int],
        refining: bool = False,
    ) -> None:
        """Show a moment with the rows then, where they are known, and now."""
        is_other = stop is None or self.stop is None or stop.key != self.stop.key
        self.stop = stop
        is_past = stop is not None and stop.kind is not StopKind.NOW
        self.restore.setEnabled(is_past)
        self.rescue.setEnabled(is_past)
        self._naming.setVisible(stop is not None and stop.kind is not StopKind.NAMED)
        self._forget.setVisible(stop is not None and stop.kind is StopKind.NAMED)
        if is_other:
            self.name.clear()
            self._keep.setEnabled(False)
        if stop is None:
            self.hint.setText(self.tr("move the slider"))
            return
        self.hint.setText("")
        self._pill.show_state(*_kind(stop))
        self._when.setText(self._when_words(stop))
        self._what.setText(self._what_words(stop, refining))
        self._what.setVisible(bool(self._what.text()))
        self._where.setText(self.tr("Log position {lsn}").format(lsn=formats.count(stop.lsn)))
        self._note.setText(stop.note)
        self._note.setVisible(bool(stop.note))
        self._show_rows(then, now)

    def _when_words(self, stop: Stop) -> str:
        if stop.kind is StopKind.NOW:
            return self.tr("The database as it is now")
        return f"{formats.moment(stop.at)}, {formats.ago(stop.at)}"

    def _what_words(self, stop: Stop, refining: bool) -> str:
        if stop.kind is StopKind.NAMED:
            return stop.name
        if stop.kind is StopKind.COMMITS:
            words = self.tr("The last of {n} commits.").format(n=formats.count(stop.commits))
            return words + " " + self.tr("Reading them…") if refining else words
        if stop.kind is not StopKind.COMMIT:
            return ""
        words = self.tr("Commit of transaction {n}").format(n=stop.txn) if stop.txn else self.tr("A commit")
        if stop.touched:
            words += ": " + touched_words(stop.touched)
        if not stop.is_whole:
            words += " " + self.tr("and earlier changes")
        return words

    def _show_rows(self, then: Mapping[str, int] | None, now: Mapping[str, int]) -> None:
        if then is None:
            self._stack.setCurrentIndex(1)
            self._unknown.setText(
                self.tr(
                    "How many rows there were is told once the moment is compared: the log since then is "
                    "not all kept, or not read commit by commit."
                )
            )
            return
        self._stack.setCurrentIndex(0)
        lines = [(name, then.get(name), now.get(name, 0)) for name in dict.fromkeys((*then, *now))]
        # What differs comes first.
        self.rows.show(sorted(lines, key=lambda line: (line[1] == line[2], line[0])))

    def _ask_name(self) -> None:
        name = self.name.text().strip()
        if name:
            self.named.emit(name)

    def _ask_removal(self) -> None:
        if self.stop is not None:
            self.name_removed.emit(self.stop.name)


def _kind(stop: Stop) -> tuple[str, Tone]:
    words = {
        StopKind.NOW: ("now", Tone.GOOD),
        StopKind.NAMED: ("named", Tone.ACCENT),
        StopKind.BACKUP: ("backup", Tone.NEUTRAL),
        StopKind.COMMIT: ("commit", Tone.NEUTRAL),
        StopKind.COMMITS: ("commits", Tone.NEUTRAL),
    }
    word, tone = words[stop.kind]
    return tr(word), tone


def _difference(line: RowLine) -> str:
    """From then to now, as the slider goes back: what a restore would bring."""
    delta = (line[1] or 0) - line[2]
    return "0" if not delta else f"{'+' if delta > 0 else '−'}{formats.count(abs(delta))}"


def _tone(line: RowLine) -> Tone | None:
    return Tone.WARN if line[1] != line[2] else None


def tr(text: str) -> str:
    """Translate a string of this module."""
    return QCoreApplication.translate("backups", text)
