"""How news of alerts reaches people: the desktop, a log file. A channel is a class with a name and `tell`.

Which channels hear of an alert follows from its severity. What one of them raises is logged and keeps the
others from nothing.
"""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from engine.alerts.alert import News, NewsKind
from engine.events import EventBus
from engine.types import Severity

if TYPE_CHECKING:
    from engine.config import Config

FILE_NAME = "alerts.log"
_LARGEST_BYTES = 1 << 20
_KEPT_FILES = 3

_log = logging.getLogger(__name__)


class Channel(ABC):
    """Tells people. May be called from any thread, one piece of news at a time."""

    name: ClassVar[str]
    """As the settings name it."""

    @abstractmethod
    def tell(self, news: News) -> None:
        """Tell one piece of news; may raise anything."""

    def close(self) -> None:  # noqa: B027 - most channels hold nothing
        """Let go of what it holds."""


class Desktop(Channel):
    """Events of the database, which the window shows."""

    name = "desktop"

    def __init__(self, events: EventBus) -> None:
        self._events = events

    def tell(self, news: News) -> None:
        if news.kind is NewsKind.SUMMARY:
            self._events.publish(news.kind.value, count=len(news.alerts))
            return
        for alert in news.alerts:
            self._events.publish(
                news.kind.value,
                alert=alert.id,
                severity=alert.severity.value,
                summary=alert.summary,
                level=alert.level,
            )


class LogFile(Channel):
    """One JSON object a line, in a file of a database that is private to its owner and rotated at 1 MiB."""

    name = "log"

    def __init__(self, path: Path, database: Path) -> None:
        self.path = path
        self._database = database
        self._handler: _PrivateFile | None = None

    def tell(self, news: News) -> None:
        if self._handler is None:
            self._handler = _PrivateFile(
                self.path, maxBytes=_LARGEST_BYTES, backupCount=_KEPT_FILES, encoding="utf-8"
            )
        line = {
            "at": news.at,
            "event": news.kind.value,
            "database": str(self._database),
            "alerts": [alert.to_json(news.at) for alert in news.alerts],
        }
        text = json.dumps(line, ensure_ascii=False)
        self._handler.handle(logging.LogRecord("alerts", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = None


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(handle, "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        # Called where an exception is at hand: whoever told decides what it means.
        raise


def log_file(directory: Path, config: Config) -> Path:
    """Where the alerts of a database are logged: inside it, or where the settings have logs."""
    if config.log_location:
        return Path(config.log_location).expanduser() / f"{directory.stem}.{FILE_NAME}"
    return directory / FILE_NAME


_ROUTES = {
    Severity.CRITICAL: (Desktop.name, LogFile.name),
    Severity.HIGH: (Desktop.name, LogFile.name),
    Severity.MEDIUM: (Desktop.name, LogFile.name),
    Severity.LOW: (LogFile.name,),
}
_PAGER = "pagerduty"


def route(severity: Severity, config: Config) -> tuple[str, ...]:
    """The names of the channels that hear of this severity; critical ones reach those of the settings too."""
    more = config.critical_alert_channels if severity is Severity.CRITICAL else ()
    wanted = dict.fromkeys((*_ROUTES[severity], *more))
    return tuple(name for name in wanted if name != _PAGER or config.enable_pager_alerts)


class Router:
    """Hands news to the channels that are to hear of it."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._channels = {channel.name: channel for channel in channels}

    def tell(self, news: News, config: Config) -> None:
        """Never raises for a channel that cannot tell."""
        for name in route(news.severity, config):
            channel = self._channels.get(name)
            if channel is None:
                continue
            try:
                channel.tell(news)
            except Exception as error:
                _log.warning("an alert could not be told by %s: %s", name, error)

    def missing(self, config: Config) -> tuple[str, ...]:
        """Channels that the settings name and that nothing here can reach."""
        return tuple(name for name in route(Severity.CRITICAL, config) if name not in self._channels)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
