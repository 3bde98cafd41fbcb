"""Guides a person through a recovery: what happened, what will be done, how it goes, the proof."""
