"""Take backups, prove them, restore from them."""

from gui.backups.page import BackupsPage

__all__ = ["BackupsPage"]
