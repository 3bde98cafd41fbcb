"""The actions of the window itself, and its menus."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QFileDialog, QMenu

from engine.backups.claim import EMERGENCY
from gui.about import AboutDialog
from gui.actions import Actions
from gui.backups.emergency_dialogs import EmergencyRestoreDialog
from gui.backups.restore_dialog import RestoreDialog
from gui.theme import ThemeMode

if TYPE_CHECKING:
    from gui.main_window import MainWindow

SUFFIX = ".holdfast"


def _tr(text: str) -> str:
    return QCoreApplication.translate("menus", text)


def add_window_actions(window: MainWindow, actions: Actions) -> None:
    """Register what the window can do, whatever page is in view."""
    add = actions.add
    add("database.create", _tr("New database…"), lambda: ask_new(window), shortcut="Ctrl+N", icon_name="plus")
    add("database.open", _tr("Open database…"), lambda: ask_open(window), shortcut="Ctrl+O", icon_name="open")
    add(
        "database.import",
        _tr("Import a file into a new database…"),
        lambda: ask_import(window),
        shortcut="Ctrl+Shift+M",
        icon_name="import",
    )
    add(
        "database.restore",
        _tr("Restore a backup…"),
        lambda: ask_restore(window),
        shortcut="Ctrl+Alt+R",
        icon_name="backups",
    )
    sample = window.pages["welcome"].try_sample  # type: ignore[attr-defined]
    add("database.sample", _tr("Open the sample"), sample, shortcut="Ctrl+Alt+S", icon_name="sample")
    add(
        "database.close",
        _tr("Close database"),
        window.close_database,
        shortcut="Ctrl+W",
        icon_name="close",
        needs_database=True,
    )
    add("window.quit", _tr("Quit"), window.close, shortcut="Ctrl+Q", icon_name="end")
    palette = add("window.palette", _tr("Command palette…"), window.show_palette, icon_name="command")
    palette.setShortcuts([QKeySequence("Ctrl+K"), QKeySequence("Ctrl+Shift+P")])
    add("window.jobs", _tr("Show or hide jobs"), window.show_jobs, shortcut="Ctrl+J", icon_name="jobs")
    about = lambda: window.open_dialog(AboutDialog(window))  # noqa: E731
    add("help.about", _tr("About Holdfast"), about, shortcut="F1", icon_name="info")
    for place, page in enumerate((p for p in window.pages.values() if p.page_id != "welcome"), start=1):
        add(
            f"page.{page.page_id}",
            _tr("Go to {page}").format(page=page.title),
            partial(window.show_page, page.page_id),
            shortcut="Ctrl+," if page.page_id == "settings" else f"Ctrl+{place}",
            icon_name=page.icon_name,
            needs_database=page.page_id != "settings",
        )
    for mode, words, keys, icon_name in (
        (ThemeMode.SYSTEM, _tr("Theme: as the system"), "Ctrl+Alt+0", "system"),
        (ThemeMode.LIGHT, _tr("Theme: light"), "Ctrl+Alt+1", "sun"),
        (ThemeMode.DARK, _tr("Theme: dark"), "Ctrl+Alt+2", "moon"),
    ):
        chosen = lambda mode=mode: window.pages["settings"].choose_theme(mode)  # type: ignore[attr-defined]  # noqa: E731
        add(f"theme.{mode}", words, chosen, shortcut=keys, icon_name=icon_name)


def build_menus(window: MainWindow, actions: Actions) -> None:
    """Every action in a menu; those of pages under the page's name."""
    bar = window.menuBar()
    known: set[str] = set()

    def menu(title: str, *ids: str) -> QMenu:
        made = bar.addMenu(title)
        for action_id in ids:
            if not action_id:
                made.addSeparator()
            elif actions.has(action_id):
                made.addAction(actions.get(action_id))
                known.add(action_id)
        return made

    start = ("database.create", "database.open", "database.import", "database.restore", "database.sample")
    menu(_tr("&File"), *start, "", "database.close", "window.quit")
    data = menu(_tr("&Database"))
    view = menu(_tr("&View"), *(f"page.{page_id}" for page_id in window.pages), "")
    for action_id in ("theme.system", "theme.light", "theme.dark", "window.jobs", "window.palette"):
        view.addAction(actions.get(action_id))
        known.add(action_id)
    menu(_tr("&Help"), "help.about")
    feature = ""
    for action in actions.all():
        if action.objectName() in known:
            continue
        if feature and not action.objectName().startswith(f"{feature}."):
            data.addSeparator()
        feature = action.objectName().split(".")[0]
        data.addAction(action)


def ask_open(window: MainWindow) -> None:
    """Ask which database to open."""
    dialog = QFileDialog(window, _tr("Open a database"), str(window.preferences.folder))
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    dialog.setLabelText(QFileDialog.DialogLabel.Accept, _tr("Open database"))

    def chosen(text: str) -> None:
        window.preferences.folder = Path(text).parent
        window.opening.open(Path(text))

    dialog.fileSelected.connect(chosen)
    window.open_dialog(dialog)


def ask_import(window: MainWindow) -> None:
    """Ask which file to import; the new database stands beside it and is named after it."""
    dialog = QFileDialog(window, _tr("Import a file"), str(window.preferences.folder))
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    data = _tr("Data (*.sqlite *.sqlite3 *.db *.csv *.tsv *.txt *.jsonl *.ndjson)")
    dialog.setNameFilters([data, _tr("All files (*)")])
    dialog.setLabelText(QFileDialog.DialogLabel.Accept, _tr("Import file"))

    def chosen(text: str) -> None:
        source = Path(text)
        window.preferences.folder = source.parent
        window.shell.import_into(source.with_suffix(SUFFIX), source)

    dialog.fileSelected.connect(chosen)
    window.open_dialog(dialog)


def ask_restore(window: MainWindow, near: Path | None = None) -> None:
    """Ask which folder of backups, or which backup, to restore; needs no open database."""
    dialog = QFileDialog(window, _tr("Restore a backup"), str(near or window.preferences.folder))
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    dialog.setLabelText(QFileDialog.DialogLabel.Accept, _tr("Restore from here"))

    def chosen(text: str) -> None:
        source = Path(text)
        name = source.name.removesuffix(" backups")
        target = source.with_name(f"{name} restored{SUFFIX}")
        kind = EmergencyRestoreDialog if (source / EMERGENCY).is_file() else RestoreDialog
        window.open_dialog(kind(window.shell, source, target, window))

    dialog.fileSelected.connect(chosen)
    window.open_dialog(dialog)


def ask_new(window: MainWindow) -> None:
    """Ask where to make a new database."""
    dialog = QFileDialog(window, _tr("Make a new database"), str(window.preferences.folder))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setFileMode(QFileDialog.FileMode.AnyFile)
    dialog.setDefaultSuffix(SUFFIX.lstrip("."))
    dialog.setNameFilter(_tr("Holdfast databases (*{suffix})").format(suffix=SUFFIX))
    dialog.setLabelText(QFileDialog.DialogLabel.Accept, _tr("Create database"))

    def chosen(text: str) -> None:
        window.preferences.folder = Path(text).parent
        window.opening.create(Path(text))

    dialog.fileSelected.connect(chosen)
    window.open_dialog(dialog)
