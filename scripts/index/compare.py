"""Compare two records: MatchSpecs by what they mean, all else exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from scripts.core.record import RECORD_FIELDS, Record

_SPECS: Final = ("depends", "constrains")
_GROUPS: Final = "extra_depends"

# What a channel says of its own publishing; a lock never does.
_OF_THE_CHANNEL: Final = frozenset({"indexed_timestamp", "attestations_sha256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field that two records do not agree on, both sides as texts for people."""

    field: str
    expected: str
    actual: str


def unlike_specs(expected: Record, actual: Record) -> Iterator[str]:
    """Yield the MatchSpecs that differ as texts and may yet mean the same.

    New versions of rattler-index write every one anew: `x 0.1 h` becomes `x ==0.1 h`. What this
    yields is to be normalised (`call_rattler("normalise", …)`) for the functions below.
    """
    pairs = [(getattr(expected, key), getattr(actual, key)) for key in _SPECS]
    pairs.append((_flat(expected.extra_depends), _flat(actual.extra_depends)))
    for ours, theirs in pairs:
        if ours != theirs and len(ours) == len(theirs):
            for one, other in zip(ours, theirs, strict=True):
                if one != other:
                    yield one
                    yield other


def differences(
    expected: Record, actual: Record, normal: Mapping[str, str]
) -> Iterator[Difference]:
    """Yield every field in which the records differ.

    `normal` maps MatchSpecs that differ as texts to how rattler writes them; see `unlike_specs`.
    """
    if expected == actual:
        return
    for key in RECORD_FIELDS:
        ours, theirs = getattr(expected, key), getattr(actual, key)
        if ours != theirs and not _same(key, ours, theirs, normal):
            yield Difference(field=key, expected=_shown(ours), actual=_shown(theirs))


def contradictions(
    expected: Record, actual: Record, normal: Mapping[str, str]
) -> Iterator[Difference]:
    """Yield the differing fields of which `expected` says something.

    For what an old lock leaves open; and what only a channel says of itself is left out.
    """
    for each in differences(expected, actual, normal):
        said = getattr(expected, each.field) not in (None, ())
        if said and each.field not in _OF_THE_CHANNEL:
            yield each


def _same(key: str, ours: Any, theirs: Any, normal: Mapping[str, str]) -> bool:
    """Compare two unequal values of a field by what they mean."""
    if key in _SPECS:
        return _same_specs(ours, theirs, normal)
    if key == _GROUPS:
        names = [name for name, _ in ours] == [name for name, _ in theirs]
        return names and _same_specs(_flat(ours), _flat(theirs), normal)
    if key == "purls" and ours is not None and theirs is not None:
        return sorted(map(unquote, ours)) == sorted(map(unquote, theirs))
    return False


def _same_specs(ours: tuple[str, ...], theirs: tuple[str, ...], normal: Mapping[str, str]) -> bool:
    return len(ours) == len(theirs) and all(
        one == other or normal.get(one, one) == normal.get(other, other)
        for one, other in zip(ours, theirs, strict=True)
    )


def _flat(groups: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    return tuple(text for _, texts in groups for text in texts)


def _shown(value: object) -> str:
    if value is None or value == ():
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
