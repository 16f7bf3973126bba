"""How many downloads to have in flight. Decides; does no I/O.

On a fast link each download keeps a processor busy (reading, hashing, writing), and more of
them than processors only get in each other's way. Over a far or slow link each one mostly
waits, and more of them fill the wait. So the share of its time for which a download keeps a
processor busy tells how many there should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FEWEST: Final = 2
MOST: Final = 32
_FIRST: Final = 4
# Processors to keep busy. Below what saturates two, or the count would never come down again.
_BUSY: Final = 1.0
# How much one more sample counts against all before it.
_WEIGHT: Final = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was learned so far: `busy` is the share of a download's time spent computing."""

    busy: float | None = None

    @property
    def in_flight(self) -> int:
        """The number of downloads to have under way now."""
        if self.busy is None:
            return _FIRST
        return max(FEWEST, min(MOST, round(_BUSY / max(self.busy, 1e-3))))

    def after(self, *, seconds: float, processor_seconds: float) -> Pace:
        """Learn from one finished download: its whole time, and its thread's processor time."""
        share = min(1.0, processor_seconds / max(seconds, 1e-6))
        if self.busy is None:
            return Pace(busy=share)
        return Pace(busy=self.busy + _WEIGHT * (share - self.busy))
