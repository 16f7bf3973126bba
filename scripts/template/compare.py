"""Judge each thing by what it came from, what is there and what is newer.

Things are files, and units of the manifest; versions are sha256, None where there is no such thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What becomes of a thing."""

    SAME = "same"
    """It is already what the newer template has."""
    TAKEN = "taken"
    """It is as it came, and the template's is newer."""
    YOURS = "yours"
    """The user changed it, and the template did not."""
    MISSING = "missing"
    """The user removed it, and the template's is newer: it stays removed."""
    DIFFERS = "differs"
    """The user changed it, and so did the template: it stays, and is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """One thing by name, in its three versions."""

    name: str
    base: str | None
    mine: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A thing and what becomes of it; `record` is what it is said to come from afterwards."""

    name: str
    verdict: Verdict
    record: str | None
    is_added: bool = False
    is_removed: bool = False


def versions(
    base: Mapping[str, str], mine: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[Versions]:
    """Put the three versions of each thing together; what only the user has is none of them."""
    for name in [*new, *(each for each in base if each not in new)]:
        yield Versions(name=name, base=base.get(name), mine=mine.get(name), new=new.get(name))


def judge(things: Iterable[Versions], keep: frozenset[str]) -> tuple[Judged, ...]:
    """Judge each thing; `keep` names those whose newer version the user has dealt with."""
    return tuple(_judge(each, is_kept=each.name in keep) for each in things)


def _judge(each: Versions, *, is_kept: bool) -> Judged:
    verdict = _verdict(each)
    if verdict is Verdict.DIFFERS and is_kept:
        return Judged(name=each.name, verdict=Verdict.YOURS, record=each.new)
    return Judged(
        name=each.name,
        verdict=verdict,
        record=each.base if verdict in {Verdict.YOURS, Verdict.DIFFERS} else each.new,
        is_added=verdict is Verdict.TAKEN and each.mine is None,
        is_removed=verdict is Verdict.TAKEN and each.new is None,
    )


def _verdict(each: Versions) -> Verdict:
    if each.mine == each.new:
        return Verdict.SAME
    if each.base == each.new:
        return Verdict.YOURS
    if each.mine == each.base:
        return Verdict.TAKEN
    return Verdict.MISSING if each.mine is None else Verdict.DIFFERS


def records(judged: Iterable[Judged]) -> dict[str, str]:
    """Return what each thing comes from afterwards, for those that come from the template."""
    return {each.name: each.record for each in judged if each.record is not None}
