"""How many downloads to have in flight.

On a fast link each download keeps a processor busy (reading, hashing, writing), and more of
them than processors only get in each other's way. Over a far or slow link each one mostly
waits, and more of them fill the wait. So the share of its time for which a small download
keeps a processor busy tells how many there should be; a large one is always busy, until the
link is full. It is looked at while they run: over a slow link the end of one is far off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

LARGE: Final = 2  # of the largest left, always under way: none is to be left for the end
FEWEST: Final = 3  # with a small one, by which the link is known
MOST: Final = 32
# Processors' worth of small downloads. On a fast link each of them keeps a fifth of one busy,
# 30 ms away a fortieth.
_BUSY: Final = 0.6
# Seconds of downloading (of all small ones together) until a new share counts for two thirds.
_MEMORY: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was learned so far: `busy` is the share of its time that a small one computes."""

    busy: float = 0.15

    @property
    def in_flight(self) -> int:
        """The number of downloads to have under way now, large ones and small ones."""
        return max(FEWEST, min(MOST, round(_BUSY / max(self.busy, 1e-3))))

    def after(self, *, seconds: float, processor_seconds: float) -> Pace:
        """Learn from a span of small downloads: their time, summed up, and what they computed."""
        if seconds <= 0.0:
            return self
        share = max(0.0, min(1.0, processor_seconds / seconds))
        weight = 1.0 - math.exp(-seconds / _MEMORY)
        return Pace(busy=self.busy + weight * (share - self.busy))
