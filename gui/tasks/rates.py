"""Rates from counters that only grow, over a stated window."""

from __future__ import annotations

from collections import deque


class Rate:
    """How fast a counter grew over the last `window_s` seconds."""

    def __init__(self, window_s: float = 3.0) -> None:
        self.window_s = window_s
        self._points: deque[tuple[float, float]] = deque()

    def add(self, at: float, count: float) -> float:
        """Take a reading of the counter; returns its growth per second."""
        if self._points and (count < self._points[-1][1] or at <= self._points[-1][0]):
            self._points.clear()
        self._points.append((at, count))
        while len(self._points) > 2 and at - self._points[1][0] >= self.window_s:
            self._points.popleft()
        (start, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - start) if end > start else 0.0
