"""What is about to be written, row by row, before it is."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QDialog, QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from gui.models import cells
from gui.models.staged import Change, Kind, StagedEdits
from gui.theme import IconName, Space, Tone, icon, tone_color
from gui.widgets import button, column, label, row

SHOWN_CHANGES = 2000


class PreviewDialog(QDialog):
    """Lists the staged edits of one table; `write_wanted` when the person agrees."""

    write_wanted = Signal()

    def __init__(self, edits: StagedEdits, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Review changes"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(820, 520)
        self._edits = edits
        changes = list(edits.changes())
        title = label(self.tr("Changes to “{table}”").format(table=edits.table.name), "title")
        words = label(
            self.tr("Nothing is written yet. All of it is written in one transaction, or none of it."),
            "muted",
        )
        problem = self._incomplete()
        self._problem = label(problem, tone=Tone.BAD, wrap=True)
        self._problem.setVisible(bool(problem))
        self._write = button(
            self.tr("Write {n} changes").format(n=len(changes))
            if len(changes) != 1
            else self.tr("Write 1 change"),
            self._agree,
            "primary",
            "save",
        )
        self._write.setEnabled(not problem)
        foot = row(self._problem, None, button(self.tr("Keep editing"), self.reject), self._write)
        self.setLayout(
            column(title, words, Space.S, self._list(changes), Space.XS, foot, margin=Space.XL, gap=Space.XS)
        )
        self._write.setDefault(True)

    def _incomplete(self) -> str:
        gaps = self._edits.incomplete()
        if not gaps:
            return ""
        columns = ", ".join(sorted({name for _, name in gaps}))
        return self.tr("A new row still needs a value in: {columns}").format(columns=columns)

    def _list(self, changes: list[Change]) -> QTreeWidget:
        tree = QTreeWidget()
        tree.setHeaderLabels([self.tr("Row"), self.tr("Column"), self.tr("Before"), self.tr("After")])
        tree.setAccessibleName(self.tr("Changes that would be written"))
        tree.setRootIsDecorated(True)
        for change in changes[:SHOWN_CHANGES]:
            tree.addTopLevelItem(self._item(change))
        if len(changes) > SHOWN_CHANGES:
            rest = len(changes) - SHOWN_CHANGES
            tree.addTopLevelItem(QTreeWidgetItem([self.tr("… and {n} more").format(n=rest)]))
        tree.expandAll()
        header = tree.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for place, width in enumerate((230, 150, 190)):
            header.resizeSection(place, width)
        return tree

    def _item(self, change: Change) -> QTreeWidgetItem:
        looks: dict[Kind, tuple[str, IconName, Tone]] = {
            Kind.INSERT: (self.tr("New row"), "plus", Tone.GOOD),
            Kind.UPDATE: (self.tr("Change row {key}"), "edit", Tone.WARN),
            Kind.DELETE: (self.tr("Delete row {key}"), "trash", Tone.BAD),
        }
        words, drawing, tone = looks[change.kind]
        key = ", ".join(cells.display(part) for part in change.key or ())
        item = QTreeWidgetItem([words.format(key=key)])
        item.setIcon(0, icon(drawing, tone))
        names = [info.name for info in self._edits.table.columns]
        values = change.values if change.kind is not Kind.DELETE else dict.fromkeys(names)
        for name, after in values.items():
            before = cells.display(change.seen[names.index(name)]) if change.seen else ""
            line = QTreeWidgetItem(
                ["", name, before, "" if change.kind is Kind.DELETE else cells.display(after)]
            )
            line.setForeground(2, QColor(tone_color(Tone.BAD)))
            line.setForeground(3, QColor(tone_color(Tone.GOOD)))
            item.addChild(line)
        return item

    def _agree(self) -> None:
        self.write_wanted.emit()
        self.accept()
