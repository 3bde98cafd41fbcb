"""A deadlock that is over, as a picture: its event names every wait of the circle."""

from __future__ import annotations

import re
from dataclasses import replace

from engine.types import Event, WaitEdge
from gui.activity.layout import GraphPicture, picture

# The kernel's sentence for one wait; a test makes a real deadlock and reads it.
_WAIT = re.compile(
    r"transaction (?P<waiter>\d+) waits for transaction (?P<holder>\d+): (?P<mode>\w+) on (?P<resource>.+)"
)


def deadlock_picture(event: Event) -> GraphPicture:
    """The circle of a `deadlock` event with its victim marked; empty where it names no wait."""
    found = (_WAIT.match(str(sentence)) for sentence in event.fields.get("cycle", ()))
    edges = [WaitEdge(int(m["waiter"]), int(m["holder"]), m["resource"], m["mode"], 0.0) for m in found if m]
    victim = event.fields.get("victim")
    return replace(picture(edges, []), suggested=victim, is_past=True)
