"""The first thing a person sees: what can be done without an open database."""

from gui.welcome.page import WelcomePage

__all__ = ["WelcomePage"]
