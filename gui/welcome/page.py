"""Welcome: create, open, import, try the sample, or go on with a recent database."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.page import Page, Shell
from gui.theme import IconName, Space, pixmap
from gui.welcome.sample import SAMPLE_NAME, build_sample
from gui.welcome.start import StartTile
from gui.widgets import Card, ElidedLabel, clear, column, formats, label, row, tool_button

_RECENT_SHOWN = 6


class WelcomePage(Page):
    """Shown while no database is open."""

    page_id = "welcome"
    icon_name = "home"

    def __init__(self, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(shell, "Holdfast", parent=parent)
        self.header.hide()
        self.setAcceptDrops(True)
        self._recent: QVBoxLayout = column(gap=2)
        middle = QWidget()
        middle.setMaximumWidth(980)
        middle.setLayout(column(self._hero(), Space.S, self._tiles(), self._recent_card(), gap=Space.L))
        self.body.setContentsMargins(Space.XL, Space.XL, Space.XL, Space.XL)
        line = row(None, gap=0)
        line.addWidget(middle, 12)
        line.addStretch(1)
        self.body.addStretch(1)
        self.body.addLayout(line)
        self.body.addStretch(2)

    def entered(self) -> None:
        paths = self.shell.preferences.recent[:_RECENT_SHOWN]
        looked = self.shell.run(lambda: [(path, *_standing(path)) for path in paths], self)
        looked.done(self._show_recent)

    def try_sample(self) -> None:
        """Make a database beside the person's others, filled with the sample."""
        folder, samples = self.shell.preferences.folder, self.shell.preferences.samples
        answer = self.shell.run(lambda: (_free_place(folder, SAMPLE_NAME), build_sample(samples)), self)
        answer.done(lambda made: self.shell.import_into(*made))
        answer.failed(lambda error: self.shell.show_error(error, self.tr("prepare the sample")))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        urls = [url for url in event.mimeData().urls() if url.isLocalFile()]
        if urls:
            path = Path(urls[0].toLocalFile())
            if path.suffix == ".holdfast":
                self.shell.open(path)
            else:
                self.shell.import_into(path.with_suffix(".holdfast"), path)

    def _hero(self) -> QWidget:
        mark = QLabel()
        mark.setPixmap(pixmap("holdfast", 64, "text", 2.0))
        line = self.tr("Your data, held fast: watch what keeps it safe, and recover with proof.")
        hero = QWidget()
        inner = row(mark, gap=Space.L)
        inner.addLayout(column(None, label("Holdfast", "hero"), label(line, "muted"), None, gap=2), 1)
        hero.setLayout(inner)
        return hero

    def _tiles(self) -> QWidget:
        tiles: tuple[tuple[IconName, str, str, str], ...] = (
            (
                "plus",
                self.tr("New database"),
                self.tr("An empty one, in a folder you choose."),
                "database.create",
            ),
            (
                "open",
                self.tr("Open a database"),
                self.tr("Recovery is guided where one is needed."),
                "database.open",
            ),
            (
                "import",
                self.tr("Import a file"),
                self.tr("SQLite, CSV, JSON lines. Never altered."),
                "database.import",
            ),
            (
                "sample",
                self.tr("Try the sample"),
                self.tr("A harbour's instruments and readings."),
                "database.sample",
            ),
        )
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(Space.M)
        for place, (icon_name, title, text, action_id) in enumerate(tiles):
            tile = StartTile(icon_name, title, text)
            tile.clicked.connect(lambda _=False, wanted=action_id: self.shell.actions.get(wanted).trigger())
            grid.addWidget(tile, place // 2, place % 2)
            if place == 0:
                self.setFocusProxy(tile)
        whole = QWidget()
        whole.setLayout(grid)
        return whole

    def _recent_card(self) -> QFrame:
        card = Card(self.tr("Recent"))
        card.add(self._recent)
        return card

    def _show_recent(self, found: list[tuple[Path, float, bool]]) -> None:
        clear(self._recent)
        for path, changed_at, has_heir in found:
            self._recent.addWidget(self._recent_line(path, changed_at, has_heir))
        if not found:
            text = self.tr("Databases that you open are listed here. You can also drop one onto this window.")
            self._recent.addWidget(label(text, "caption"))

    def _recent_line(self, path: Path, changed_at: float, has_heir: bool) -> QWidget:
        open_it = QPushButton()
        open_it.setProperty("kind", "line")
        open_it.setAutoDefault(True)
        open_it.setAccessibleName(self.tr("Open {name}").format(name=path.stem))
        open_it.setMinimumHeight(46)
        open_it.setCursor(Qt.CursorShape.PointingHandCursor)
        open_it.clicked.connect(lambda: self.shell.open(path))
        picture = QLabel()
        picture.setPixmap(pixmap("database", 20, "accent" if changed_at else "text_faint", 2.0))
        words = column(label(path.stem, "strong"), ElidedLabel(str(path.parent), "caption"), gap=0)
        inner = row(picture, gap=Space.M, margin=(Space.S, Space.XS, Space.S, Space.XS))
        inner.addLayout(words, 1)
        gone = self.tr("not found: a mirror can take over") if has_heir else self.tr("not found")
        when = formats.ago(changed_at) if changed_at else gone
        inner.addWidget(label(when, "caption"))
        open_it.setLayout(inner)
        forget = tool_button("close", self.tr("Take {name} from this list").format(name=path.stem))
        forget.clicked.connect(lambda: self._forget(path))
        line = row(gap=Space.XS)
        line.addWidget(open_it, 1)
        line.addWidget(forget)
        whole = QWidget()
        whole.setLayout(line)
        return whole

    def _forget(self, path: Path) -> None:
        self.shell.preferences.forget(path)
        self.entered()


def _standing(path: Path) -> tuple[float, bool]:
    """When the database was changed last, 0 where it is gone; then, whether something can take its place."""
    changed_at = _last_change(path)
    if changed_at:
        return changed_at, False
    # Imported here, on the worker: it loads the kernel.
    from engine.mirrors.register import heirs

    return 0.0, any(heir.is_able for heir in heirs(path))


def _last_change(path: Path) -> float:
    try:
        return (path / "control").stat().st_mtime
    except OSError:
        return 0.0


def _free_place(folder: Path, name: str) -> Path:
    """A path in `folder` that nothing has yet."""
    path, number = folder / f"{name}.holdfast", 2
    while path.exists():
        path, number = folder / f"{name} {number}.holdfast", number + 1
    return path
