"""The log: its growth, its syncs, its checkpoints, and what keeps it."""

from gui.log.page import LogPage

__all__ = ["LogPage"]
