"""The overview: is the data safe, and what is the engine doing about it."""

from gui.overview.page import OverviewPage

__all__ = ["OverviewPage"]
