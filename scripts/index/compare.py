"""Compare records: MatchSpecs by what they mean, all else exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from scripts.core.errors import Problem
from scripts.core.record import Record
from scripts.index.repodata import REPODATA, index_problem

_SPECS: Final = ("depends", "constrains", "extra_depends")
# What a channel says of its own publishing; a lock never does.
_OF_THE_CHANNEL: Final = frozenset({"indexed_timestamp", "attestations_sha256"})


def compare_records(
    expected: Mapping[PurePosixPath, Record],
    actual: Mapping[PurePosixPath, Record],
    normal: Mapping[str, str],
    *,
    is_complete: bool,
) -> Iterator[Problem]:
    """Yield a problem (exit code 1) for each expected record that is missing or differs.

    `normal` is of `normalise_specs`. `is_complete` False: empty fields of expected records, and
    those that only a channel writes, are not compared.
    """
    for path in sorted(expected, key=str):  # to compare paths takes much longer
        record = expected[path]
        found = actual.get(path)
        if found is None:
            yield index_problem(str(path), f"has no record in {REPODATA}")
            continue
        for field, ours, theirs in differences(record, found, normal):
            is_said = getattr(record, field) not in (None, ()) and field not in _OF_THE_CHANNEL
            if is_complete or is_said:
                message = f"{field} in {REPODATA} is not what it should be"
                yield index_problem(str(path), message, ("expected", ours), ("actual", theirs))


def differences(
    expected: Record, actual: Record, normal: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield every field in which the records differ, and both sides as texts for people."""
    if expected == actual:
        return
    for key, ours, theirs in zip(Record._fields, expected, actual, strict=True):
        if ours != theirs and not _same(key, ours, theirs, normal):
            yield key, _shown(ours), _shown(theirs)


def normalise_specs(
    expected: Mapping[Any, Record], actual: Mapping[Any, Record]
) -> Mapping[str, str]:
    """Return, for the MatchSpecs that differ as texts, how rattler writes them.

    New versions of rattler-index rewrite every one: `x 0.1 h` becomes `x ==0.1 h`; old locks have
    `x *` for what is `x` in a channel.
    """
    from scripts.core.rattler_child import call_rattler

    texts = set[str]()
    for path in expected.keys() & actual.keys():
        for key in _SPECS:
            ours, theirs = (getattr(each[path], key) for each in (expected, actual))
            if ours != theirs:
                texts |= _specs(ours) ^ _specs(theirs)
    if not texts:
        return {}
    result = call_rattler("normalise", {"specs": sorted(texts)})
    assert isinstance(result, Mapping)
    return {str(key): str(value).removesuffix(" *") for key, value in result.items()}


def _same(key: str, ours: Any, theirs: Any, normal: Mapping[str, str]) -> bool:
    """Compare two unequal values of a field by what they mean."""
    if key == "extra_depends":  # named groups of MatchSpecs
        groups, others = dict(ours), dict(theirs)
        same = (_same("depends", groups[x], others.get(x, ()), normal) for x in groups)
        return groups.keys() == others.keys() and all(same)
    if key in _SPECS:
        one, other = ({normal.get(x, x) for x in each} for each in (ours, theirs))
        return one == other
    if key == "purls" and ours is not None and theirs is not None:
        return sorted(map(unquote, ours)) == sorted(map(unquote, theirs))
    return False


def _specs(value: Iterable[Any]) -> set[str]:
    """Return the MatchSpecs of a field; in `extra_depends` they are in named groups."""
    return {spec for each in value for spec in ([each] if isinstance(each, str) else each[1])}


def _shown(value: object) -> str:
    if value is None or value == ():
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
