"""Every action of the window: an id, a shortcut, a place in the command palette."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QAction, QBrush, QColor, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QDialog, QFrame, QHeaderView, QLineEdit, QTreeWidget, QTreeWidgetItem, QWidget

from gui.theme import Space, colors, icon, known
from gui.widgets import column, label, row, rule


class Actions(QObject):
    """The registry of actions. Ids are dotted nouns and verbs: "backup.create"."""

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        self._owner = owner
        self._actions: dict[str, QAction] = {}
        self._needs_database: set[str] = set()

    def add(
        self,
        action_id: str,
        text: str,
        handler: Callable[[], object],
        *,
        shortcut: str = "",
        icon_name: str = "",
        needs_database: bool = False,
    ) -> QAction:
        """Register an action; it is enabled only while a database is open, where it needs one."""
        if action_id in self._actions:
            raise ValueError(f"the action {action_id} exists")
        action = QAction(text, self._owner)
        action.setObjectName(action_id)
        action.setShortcut(QKeySequence(shortcut))
        if icon_name:
            action.setIcon(icon(known(icon_name)))
        action.triggered.connect(lambda _checked=False: handler())
        action.setEnabled(not needs_database)
        if needs_database:
            self._needs_database.add(action_id)
        self._owner.addAction(action)
        self._actions[action_id] = action
        return action

    def get(self, action_id: str) -> QAction:
        return self._actions[action_id]

    def has(self, action_id: str) -> bool:
        return action_id in self._actions

    def all(self) -> list[QAction]:
        return list(self._actions.values())

    def set_database_open(self, is_open: bool) -> None:
        for action_id in self._needs_database:
            self._actions[action_id].setEnabled(is_open)


class CommandPalette(QDialog):
    """Type a few letters of what you want to do; Enter does it."""

    chosen = Signal(str)

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self._actions = actions
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAccessibleName(self.tr("Command palette"))
        self._search = QLineEdit()
        self._search.setProperty("kind", "palette")
        self._search.setPlaceholderText(self.tr("What do you want to do?"))
        self._search.setAccessibleName(self.tr("Search for an action"))
        self._search.textChanged.connect(self._fill)
        self._search.installEventFilter(self)
        self._list = QTreeWidget()
        self._list.setProperty("flat", True)
        self._list.setColumnCount(2)
        self._list.setHeaderHidden(True)
        self._list.setRootIsDecorated(False)
        self._list.header().setStretchLastSection(False)
        self._list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self._list.setIconSize(QSize(18, 18))
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._list.itemClicked.connect(self._do)
        hint = label(self.tr("Up and Down to choose, Enter to do it, Esc to close"), "caption")
        frame = QFrame()
        frame.setProperty("surface", "popup")
        inner = column(self._search, rule(), self._list, rule(), row(hint, margin=(Space.S, 0, 0, 0)))
        inner.setContentsMargins(Space.S, Space.XS, Space.S, Space.S)
        frame.setLayout(inner)
        self.setLayout(column(frame))
        self.resize(560, 420)
        self._fill("")

    def show_over(self, window: QWidget) -> None:
        """Open in the upper middle of the window."""
        corner = window.mapToGlobal(window.rect().topLeft())
        self.move(corner.x() + (window.width() - self.width()) // 2, corner.y() + window.height() // 8)
        self.show()
        self._search.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            key = event.key()
            if key in (Qt.Key.Key_Down, Qt.Key.Key_Up):
                step = 1 if key == Qt.Key.Key_Down else -1
                self._choose(self._list.currentIndex().row() + step)
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._do(self._list.currentItem())
                return True
        return super().eventFilter(watched, event)

    def _fill(self, text: str) -> None:
        self._list.clear()
        found = [(score, a) for a in self._actions.all() if (score := match(text, a.text())) is not None]
        for _, action in sorted(found, key=lambda pair: (not pair[1].isEnabled(), pair[0], pair[1].text())):
            shortcut = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            words = action.text().replace("&", "").rstrip("…")
            item = QTreeWidgetItem([words, shortcut])
            item.setIcon(0, action.icon())
            item.setForeground(1, QBrush(QColor(colors().text_muted)))
            item.setData(0, Qt.ItemDataRole.UserRole, action.objectName())
            item.setDisabled(not action.isEnabled())
            self._list.addTopLevelItem(item)
        self._choose(0)

    def _choose(self, place: int) -> None:
        count = self._list.topLevelItemCount()
        if count:
            self._list.setCurrentIndex(self._list.model().index(place % count, 0))

    def _do(self, item: QTreeWidgetItem | None) -> None:
        if item is None or item.isDisabled():
            return
        action_id = item.data(0, Qt.ItemDataRole.UserRole)
        self.close()
        self.chosen.emit(action_id)


def match(text: str, words: str) -> int | None:
    """How well the letters of `text` are found, in order, in `words`: lower is better, None is not."""
    at, gaps, words = 0, 0, words.lower()
    for letter in text.lower().replace(" ", ""):
        found = words.find(letter, at)
        if found < 0:
            return None
        gaps += found - at
        at = found + 1
    return gaps
