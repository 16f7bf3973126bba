"""Names, versions, requirements and markers by `packaging` (PEP 503, 440 and 508).

The texts come from anybody, and `packaging` fails on some in many ways: an `InvalidVersion`, an
int() of too many digits, an unknown name in a marker. Here all of these are None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

# The exceptions of `packaging` are ValueErrors, and int() raises one beyond 4300 digits; but for
# UndefinedEnvironmentName, which newer versions have as a KeyError.
_UNDECIDED: Final = (ValueError, KeyError)


@cache
def pypi_name(name: str) -> str:
    """Normalise a name as PEP 503 has it."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


@cache
def parse_version(text: str | None) -> Version | None:
    """Read a version (PEP 440); None: it is none, as many of conda are, or too long to compare."""
    from packaging.version import Version

    try:
        return None if text is None else Version(text)
    except _UNDECIDED:
        return None


@cache
def parse_requirement(text: str) -> Requirement | None:
    """Read a requirement (PEP 508); None: it is none."""
    from packaging.requirements import Requirement

    try:
        return Requirement(text)
    except _UNDECIDED:
        return None


def takes_version(requirement: Requirement, versions: Iterable[Version]) -> bool | None:
    """Tell whether a requirement takes one of these versions; None: it cannot be decided."""
    try:
        return any(requirement.specifier.contains(each, prereleases=True) for each in versions)
    except _UNDECIDED:
        return None


@cache
def marker_evaluator(markers: tuple[tuple[str, str], ...]) -> Callable[[str, str], bool | None]:
    """Return a function of a marker and an extra that tells whether it holds; None: undecided.

    `markers` are the marker variables; those that are missing are this machine's.
    """
    from packaging.markers import Marker

    environment = dict(markers)

    @cache
    def holds(marker: str, extra: str) -> bool | None:
        try:
            return Marker(marker).evaluate({**environment, "extra": extra})
        except _UNDECIDED:  # a version compared with what is none; a name that there is not
            return None

    return holds
