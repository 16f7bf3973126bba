"""The mirror that these tests look at."""

from tests.support.verified import made, stopped_clock, world

__all__ = ["made", "stopped_clock", "world"]
