"""The mirrors that these tests look at."""

from tests.support.pypi_world import made_with_pypi, pypi_world
from tests.support.verified import made, stopped_clock, world

__all__ = ["made", "made_with_pypi", "pypi_world", "stopped_clock", "world"]
