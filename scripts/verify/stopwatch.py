"""How long a level or an installation takes. It reads a clock."""

from __future__ import annotations

from time import perf_counter


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        """Start."""
        self._last = perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since the start."""
        before, self._last = self._last, perf_counter()
        return self._last - before
