"""Mirrors: watch them, prove them, let one take over."""

from gui.mirrors.page import MirrorsPage

__all__ = ["MirrorsPage"]
