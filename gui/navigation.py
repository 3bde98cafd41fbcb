"""The navigation: which database, and its pages."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QLabel, QPushButton, QWidget

from gui.page import Page
from gui.theme import Space, Tone, icon, pixmap
from gui.widgets import ElidedLabel, Pill, button, column, row, rule

_WIDE, _NARROW = 208, 74
_COUNT, _COUNT_BESIDE_ICON = 28, 18


class Navigation(QFrame):
    """Buttons for the pages, the name of the database above them, the settings below.

    In a narrow window it is a strip of icons: what they mean is then told by their tool tips.
    """

    page_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("surface", "sidebar")
        self._buttons: dict[str, QPushButton] = {}
        self._titles: dict[str, str] = {}
        self._counts: dict[str, Pill] = {}
        self._waiting: dict[str, int] = {}
        self._is_narrow = False
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._mark = QLabel()
        self._mark.setPixmap(pixmap("holdfast", 28, "text", 2.0))
        self._name = ElidedLabel("Holdfast", "strong")
        self._place = ElidedLabel("", "caption")
        self._words = QWidget()
        self._words.setLayout(column(self._name, self._place, gap=0))
        head = row(self._mark, gap=Space.S + 2, margin=(Space.XS, 0, 0, 0))
        head.addWidget(self._words, 1)
        self._pages = column(gap=2)
        self._feet = column(gap=2)
        whole = column(head, Space.XS, rule(), Space.XS, self._pages, None, self._feet, gap=Space.S)
        whole.setContentsMargins(Space.M, Space.L, Space.M, Space.M)
        self.setLayout(whole)
        self.setFixedWidth(_WIDE)
        self.show_database("", "")

    def set_narrow(self, is_narrow: bool) -> None:
        """Show icons only, or icons with words."""
        if is_narrow == self._is_narrow:
            return
        self._is_narrow = is_narrow
        self.setFixedWidth(_NARROW if is_narrow else _WIDE)
        self._words.setVisible(not is_narrow)
        for made in self._buttons.values():
            self._dress(made)

    def add_page(self, page: Page, at_foot: bool = False) -> None:
        """A button for a page."""
        made = button(page.title, lambda: self.page_chosen.emit(page.page_id), "nav", page.icon_name)
        made.setIconSize(QSize(28, 18))
        made.setIcon(icon(page.icon_name, "text_muted", "accent"))
        made.setCheckable(True)
        made.setCursor(Qt.CursorShape.ArrowCursor)
        made.setObjectName(page.page_id)
        self._titles[page.page_id] = page.title
        self._dress(made)
        self._group.addButton(made)
        self._buttons[page.page_id] = made
        (self._feet if at_foot else self._pages).addWidget(made)

    def _dress(self, made: QPushButton) -> None:
        page_id = made.objectName()
        title, count = self._titles[page_id], self._waiting.get(page_id, 0)
        told = self.tr("{page}: {n} waiting").format(page=title, n=count) if count else title
        made.setText("" if self._is_narrow else title)
        if page_id in self._counts:
            self._counts[page_id].setFixedWidth(_COUNT_BESIDE_ICON if self._is_narrow else _COUNT)
        made.setAccessibleName(told)
        made.setToolTip(told if self._is_narrow or count else "")

    def show_count(self, page_id: str, count: int, tone: Tone) -> None:
        """Say beside a page how much there waits for somebody; nothing where nothing does."""
        made = self._buttons[page_id]
        if page_id not in self._counts:
            self._counts[page_id] = self._add_count(made)
        self._counts[page_id].show_state(str(count), tone)
        self._counts[page_id].setVisible(count > 0)
        self._waiting[page_id] = count
        self._dress(made)

    @staticmethod
    def _add_count(made: QPushButton) -> Pill:
        shown = Pill()
        shown.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        shown.setProperty("fit", "narrow")
        shown.setAlignment(Qt.AlignmentFlag.AlignCenter)
        made.setLayout(row(None, shown, margin=(0, 0, 2, 0)))
        return shown

    def show_page(self, page_id: str) -> None:
        """Mark the page that is in view."""
        chosen = self._buttons.get(page_id)
        self._group.setExclusive(chosen is not None)
        for made in self._buttons.values():
            made.setChecked(made is chosen)

    def show_database(self, name: str, place: str) -> None:
        """Name the open database; empty where there is none."""
        self._name.setText(name or "Holdfast")
        self._place.setText(place or self.tr("No database open"))
        self._mark.setToolTip(f"{self._name.text()}\n{self._place.text()}")

    def set_enabled_pages(self, page_ids: set[str]) -> None:
        for page_id, made in self._buttons.items():
            made.setEnabled(page_id in page_ids)
