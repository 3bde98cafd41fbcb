"""What every page of the main window is, and what it may ask of the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from gui.actions import Actions
from gui.session import Preferences
from gui.tasks import Answer, EngineSession, Jobs, Worker
from gui.tasks.error_slot import ErrorSlot
from gui.theme import IconName, Space, ThemeManager
from gui.widgets import PageHeader, column


class Shell(QObject):
    """The window as its pages see it. Pages ask by signal; none of them knows the window."""

    open_requested = Signal(object)
    """Open the database at this `Path`, with guidance where it needs recovery."""
    create_requested = Signal(object)
    """Make a new database at this `Path`, and open it."""
    import_requested = Signal(object, object)
    """Make a new database at this `Path` and import that file into it."""
    source_chosen = Signal(object)
    """The open database is to import the file at this `Path`; the page of tables shows its wizard."""
    page_requested = Signal(str)
    """Show the page of this id."""
    error_raised = Signal(object, str)
    """Show the card of this error, with the operation that failed."""
    told = Signal(str)
    """Say this in the status strip for a moment."""
    session_opened = Signal(object, object)
    """An open `engine.Database` and its `Path` are to be shown: a recovery has ended well."""
    action_requested = Signal(str)
    """Carry out the action that an error's card suggests, such as "settings"."""
    recovery_needed = Signal(object, object)
    """The database at this `Path` needs recovery, as its `RecoveryNeeded` error says. The recovery
    page, already in view, guides through it and ends with `session_opened`."""

    def __init__(self, actions: Actions, jobs: Jobs, preferences: Preferences, theme: ThemeManager) -> None:
        super().__init__()
        self.actions = actions
        self.jobs = jobs
        self.preferences = preferences
        self.theme = theme
        self.able: Callable[[str], bool] = lambda _action: False
        """The window's answer to `can_do`."""
        self._worker = Worker("holdfast-shell")

    def run(self, work: Callable[[], Any], receiver: QObject | None = None) -> Answer:
        """Do something that needs no open database off the interface thread."""
        return self._worker.run(work, receiver)

    def close(self) -> None:
        """The window is gone: take no more work."""
        self._worker.close()

    def open(self, path: Path) -> None:
        self.open_requested.emit(path)

    def import_into(self, target: Path, source: Path) -> None:
        self.import_requested.emit(target, source)

    def can_do(self, action: str) -> bool:
        """Whether the window could carry out the action that an error's card suggests."""
        return self.able(action)

    def show_page(self, page_id: str) -> None:
        self.page_requested.emit(page_id)

    def show_error(self, error: BaseException, operation: str = "") -> None:
        self.error_raised.emit(error, operation)

    def tell(self, text: str) -> None:
        self.told.emit(text)


class Page(QFrame):
    """A page under the navigation: a header, and a body that shows one database.

    `attach` and `detach` come on the interface thread when a database was opened and before it
    is closed. `entered` and `left` say when the page is looked at, so that nothing is fetched
    or drawn for nobody. `add_actions` registers what the page can do, once.
    """

    page_id: ClassVar[str] = ""
    icon_name: ClassVar[IconName]

    def __init__(self, shell: Shell, title: str, subtitle: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.shell = shell
        self.title = title
        self.session: EngineSession | None = None
        self.setProperty("surface", "page")
        self.setObjectName(f"page-{self.page_id}")
        self.setAccessibleName(title)
        self.header = PageHeader(title, subtitle)
        self.body: QVBoxLayout = column(margin=(Space.XL, 0, Space.XL, Space.XL), gap=Space.M)
        whole = column(self.header, gap=0)
        whole.addLayout(self.body, 1)
        self.setLayout(whole)

    def make_errors(self, retry: Callable[[], object] | None = None) -> ErrorSlot:
        """A place for the card of what went wrong last; `retry` is what "Try again" does here."""
        again = ("retry", "wait", "recover") if retry is not None else ()
        slot = ErrorSlot(lambda action: action in again or self.shell.can_do(action))

        def act(action: str) -> None:
            slot.clear()
            if retry is not None and action in again:
                retry()
            else:
                self.shell.action_requested.emit(action)

        slot.action_requested.connect(act)
        return slot

    def add_actions(self, actions: Actions) -> None:
        """Register the actions of this page."""

    def attach(self, session: EngineSession) -> None:
        """A database was opened."""
        self.session = session

    def detach(self) -> None:
        """The database is about to be closed; let go of it."""
        self.session = None

    def unsaved(self) -> str:
        """What would be lost if the database were closed now, in words; empty for nothing."""
        return ""

    def entered(self) -> None:
        """The page has come into view."""

    def left(self) -> None:
        """Another page has come into view."""


class PageFrame(QScrollArea):
    """Holds a page; on a small screen the page scrolls, rather than make the window too large.

    A page is given the room there is, and never less than its least. (Qt's own way,
    `setWidgetResizable`, gives a page with wrapped text the height that it would like to have.)
    """

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(page)
        page.installEventFilter(self)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return super().eventFilter(watched, event)

    def _fit(self) -> None:
        page = self.widget()
        if page is None:
            return
        room, least = self.maximumViewportSize(), page.minimumSizeHint()
        if _least_height(page, max(room.width(), least.width())) > room.height():
            room.setWidth(room.width() - self.verticalScrollBar().sizeHint().width())
        if least.width() > room.width():
            room.setHeight(room.height() - self.horizontalScrollBar().sizeHint().height())
        width = max(room.width(), least.width())
        page.resize(width, max(room.height(), _least_height(page, width)))


def _least_height(page: QWidget, width: int) -> int:
    """The least height at this width: wrapped text is higher where it is narrower."""
    least, layout = page.minimumSizeHint().height(), page.layout()
    if layout is None or not layout.hasHeightForWidth():
        return least
    return max(least, layout.minimumHeightForWidth(width))
