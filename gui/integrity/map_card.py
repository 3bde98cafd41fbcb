"""The card of the page map: the picture, its legend, and what is pointed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QRect, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QGridLayout, QStackedWidget, QWidget

from engine.errors import Cancelled
from engine.integrity.findings import Finding
from engine.integrity.page_map import PageMap, PageState
from gui.integrity.map import PageMapView, paint_state
from gui.integrity.words import state_words
from gui.page import Shell
from gui.tasks import EngineSession
from gui.tasks.job_bar import JobBar
from gui.theme import Space
from gui.widgets import Card, ElidedLabel, button, column, formats, label, row, tool_button

_LEGEND_COLUMNS = 2


class _Sample(QWidget):
    """A cell as the map draws it."""

    def __init__(self, state: PageState) -> None:
        super().__init__()
        self._state = state
        self.setFixedSize(14, 14)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        paint_state(painter, QRect(0, 0, 14, 14), self._state)
        painter.end()


class MapCard(Card):
    """Looks at the pages as a job, and shows them."""

    page_chosen = Signal(int)
    looked = Signal()
    """Another map is shown."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell.tr("Page map"), "")
        self._shell = shell
        self._session: EngineSession | None = None
        self._running = False
        self._map: PageMap | None = None
        self.view = PageMapView()
        self.view.page_chosen.connect(self.page_chosen)
        self.bar = JobBar()
        self._pointed = ElidedLabel("", "caption")
        self._legend: dict[PageState, Any] = {}
        self._again = tool_button("refresh", self.tr("Look at the pages again"), self.look)
        self.head.addWidget(self._again)
        words = label(self.tr("Every page by what it is. Looking changes nothing."), "muted")
        empty = QWidget()
        start = button(self.tr("Look at the pages"), self.look)
        empty.setLayout(column(None, row(None, words, None), row(None, start, None), None, gap=Space.M))
        self._stack = QStackedWidget()
        self._stack.addWidget(empty)
        self._stack.addWidget(self.view)
        self.add(self.bar)
        self.body.addWidget(self._stack, 1)
        self.add(self._pointed, self._make_legend())
        self.view.pointed_at.connect(lambda words: self._pointed.setText(words or self._hint()))

    def _make_legend(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(Space.M)
        grid.setVerticalSpacing(Space.XS)
        for place, state in enumerate(PageState):
            words = label(state_words(state), "caption")
            self._legend[state] = words
            line, place_in_line = divmod(place, _LEGEND_COLUMNS)
            grid.addLayout(row(_Sample(state), words, None, gap=Space.XS + 2), line, place_in_line)
        return grid

    def attach(self, session: EngineSession) -> None:
        self._session = session
        self.show_map(None)

    def detach(self) -> None:
        self._session = None
        self._running = False
        self.bar.hide()
        self.show_map(None)

    @property
    def has_map(self) -> bool:
        return self._stack.currentIndex() == 1

    @property
    def is_looking(self) -> bool:
        return self._running

    def look(self) -> None:
        """Look at every page, as a job."""
        if self._session is None or self._running:
            return
        self._running = True
        self._again.setEnabled(False)
        answer = self._session.run(_map_task, self, channel="files")
        answer.done(self._follow).failed(self._has_failed)

    def _follow(self, task: Any) -> None:
        job = self._shell.jobs.start(task, self)
        self.bar.follow(job)
        job.answer.done(self._has_looked).failed(self._has_failed)

    def mark(self, findings: Sequence[Finding], closed: Sequence[Finding]) -> None:
        """Show what the findings say by now, without looking at the pages again."""
        if self._map is None:
            return
        damaged = {f.page for f in findings if f.page is not None}
        repaired = {f.page for f in closed if f.page is not None and f.outcome.startswith("repaired")}
        found = self._map.with_findings(damaged, repaired - damaged)
        if found is not self._map:
            self.show_map(found)
            self.looked.emit()

    def _has_looked(self, found: PageMap) -> None:
        self._over()
        self.show_map(found)
        self.looked.emit()

    def _has_failed(self, error: BaseException) -> None:
        self._over()
        if not isinstance(error, Cancelled):
            self._shell.show_error(error, self.tr("look at the pages"))

    def _over(self) -> None:
        self._running = False
        self._again.setEnabled(True)
        self.bar.hide()

    def show_map(self, found: PageMap | None) -> None:
        """Show a map; None for none yet."""
        self._map = found
        self.view.show_map(found)
        self._stack.setCurrentIndex(0 if found is None else 1)
        counts = {} if found is None else found.counts()
        for state, words in self._legend.items():
            number = f"  {formats.count(counts[state])}" if found is not None else ""
            words.setText(f"{state_words(state)}{number}")
        self._pointed.setText(self._hint() if found is not None else "")
        if found is None:
            self.hint.setText("")
            return
        text = self.tr("{n} pages at {time}").format(
            n=formats.count(found.pages), time=formats.clock(found.at)
        )
        if found.stride > 1:
            text += self.tr(", one of {n} looked at").format(n=found.stride)
        self.hint.setText(text)

    def _hint(self) -> str:
        return self.tr("Point at a cell or use the arrow keys; N: next damage")


def _map_task(database: Any) -> Any:
    # Imported here: the kernel is loaded on the worker.
    from engine.integrity.page_map import page_map_task

    return page_map_task(database)
