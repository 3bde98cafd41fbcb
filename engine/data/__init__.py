"""Typed tables and what goes in and out of them."""
