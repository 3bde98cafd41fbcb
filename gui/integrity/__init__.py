"""Check that every page, tree and record is what it should be."""

from gui.integrity.page import IntegrityPage

__all__ = ["IntegrityPage"]
