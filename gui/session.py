"""What the interface remembers from one run to the next, in the places the platform has for it."""

from __future__ import annotations

from pathlib import Path

import platformdirs
from PySide6.QtCore import QByteArray, QSettings

from gui.theme import ThemeMode

_RECENT = 10


class Preferences:
    """The person's choices (roaming settings) and the window's state (this machine's)."""

    def __init__(self, config_dir: Path | None = None, state_dir: Path | None = None) -> None:
        config = config_dir or platformdirs.user_config_path("Holdfast", appauthor=False, roaming=True)
        state = state_dir or platformdirs.user_state_path("Holdfast", appauthor=False)
        for directory in (config, state):
            directory.mkdir(parents=True, exist_ok=True)
        self.samples = state / "samples"
        """Where samples are made when somebody tries them."""
        self._config = QSettings(str(config / "settings.ini"), QSettings.Format.IniFormat)
        self._state = QSettings(str(state / "window.ini"), QSettings.Format.IniFormat)

    @property
    def theme(self) -> ThemeMode:
        try:
            return ThemeMode(str(self._config.value("theme", ThemeMode.SYSTEM)))
        except ValueError:
            return ThemeMode.SYSTEM

    @theme.setter
    def theme(self, mode: ThemeMode) -> None:
        self._config.setValue("theme", str(mode))

    @property
    def reopens_last(self) -> bool:
        """Whether the database that was open last is opened at the start."""
        return self._config.value("reopen_last", False, bool) is True

    @reopens_last.setter
    def reopens_last(self, wanted: bool) -> None:
        self._config.setValue("reopen_last", wanted)

    @property
    def recent(self) -> list[Path]:
        """Databases opened before, the last one first."""
        kept = self._state.value("recent", [], list)
        return [Path(text) for text in kept if isinstance(text, str)] if isinstance(kept, list) else []

    def remember(self, path: Path) -> None:
        """This database was opened just now."""
        rest = [known for known in self.recent if known != path]
        self._state.setValue("recent", [str(known) for known in [path, *rest][:_RECENT]])

    def forget(self, path: Path) -> None:
        """Take a database from the list; its files are left alone."""
        self._state.setValue("recent", [str(known) for known in self.recent if known != path])

    @property
    def folder(self) -> Path:
        """Where file dialogs begin."""
        kept = Path(str(self._state.value("folder", "")) or Path.home())
        return kept if kept.is_dir() else Path.home()

    @folder.setter
    def folder(self, path: Path) -> None:
        self._state.setValue("folder", str(path))

    def keep_window(self, geometry: QByteArray, page: str) -> None:
        self._state.setValue("geometry", geometry)
        self._state.setValue("page", page)
        self._state.sync()
        self._config.sync()

    def window_geometry(self) -> QByteArray:
        kept = self._state.value("geometry")
        return kept if isinstance(kept, QByteArray) else QByteArray()

    def last_page(self) -> str:
        return str(self._state.value("page", "overview"))

    def backup_folder(self, database: Path) -> Path:
        """Where backups of a database go; beside it, until the person chose another place."""
        return self.chosen_backup_folder(database) or database.with_name(f"{database.stem} backups")

    def chosen_backup_folder(self, database: Path) -> Path | None:
        """The folder that the person last had a backup of it put into here; None for none."""
        kept = str(self._state.value(f"backups/{_key(database)}", ""))
        return Path(kept) if kept else None

    def keep_backup_folder(self, database: Path, folder: Path) -> None:
        """Backups of this database go there from now on."""
        self._state.setValue(f"backups/{_key(database)}", str(folder))


def _key(path: Path) -> str:
    # Slashes would make groups of the settings file.
    return str(path).replace("/", "|").replace("\\", "|")
