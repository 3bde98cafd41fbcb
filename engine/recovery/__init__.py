"""Bringing a database back after it was not closed: detection, twelve stages, one manager."""
