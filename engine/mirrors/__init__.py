"""Mirrors: second directories kept up to date from the log, which can take the place of the first."""
