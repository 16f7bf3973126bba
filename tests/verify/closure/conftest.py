"""What these tests have in common."""

from tests.support.verified import stopped_clock

__all__ = ["stopped_clock"]
