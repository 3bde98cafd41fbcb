"""Settings of the interface."""

from gui.settings.page import SettingsPage

__all__ = ["SettingsPage"]
