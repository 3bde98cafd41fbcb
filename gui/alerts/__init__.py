"""What somebody has to be told of: the list, the answers to it, and the notice in the window."""

from gui.alerts.notice import AlertNotice
from gui.alerts.page import AlertsPage

__all__ = ["AlertNotice", "AlertsPage"]
