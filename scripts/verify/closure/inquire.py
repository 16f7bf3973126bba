"""What py-rattler is asked, each distinct thing once, and its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.core.condition import Condition, parse_condition, specs_of
from scripts.core.report import Json
from scripts.core.subdir import NOARCH
from scripts.lock.model import LockedPackage
from scripts.lock.satisfiability import match_record
from scripts.verify.closure.plan import Closing
from scripts.verify.virtual import VirtualPackage

# What a requirement can be met by.
Thing = LockedPackage | VirtualPackage


class Catalogue:
    """All that any requirement could be met by, each once; a position stands for each."""

    def __init__(self, closings: Iterable[Closing]) -> None:
        """Gather the packages of all places, and their virtual packages."""
        self.things: list[Thing] = []
        self._positions: dict[Thing, int] = {}
        self._by_id: dict[int, int] = {}
        for closing in closings:
            for thing in things_of(closing):
                self.position(thing)

    def position(self, thing: Thing) -> int:
        """Return the position of a thing of these places.

        The lock's reader shares rows, so most are known by their identity, which is fast.
        """
        known = self._by_id.get(id(thing))
        if known is None:
            known = self._positions.setdefault(thing, len(self.things))
            if known == len(self.things):
                self.things.append(thing)
            self._by_id[id(thing)] = known
        return known

    def records(self) -> list[Json]:
        """Write everything as a record, in order of position."""
        return [
            _virtual_record(each) if isinstance(each, VirtualPackage) else match_record(each)
            for each in self.things
        ]


def things_of(closing: Closing) -> Iterator[Thing]:
    """Yield what the requirements of a place can be met by."""
    yield from closing.packages
    yield from closing.around
    yield from closing.virtual_packages or ()


def name_of(thing: Thing) -> str:
    """Return a name as rattler compares it."""
    return thing.name.lower()


def specs_asked(closings: Iterable[Closing]) -> list[str]:
    """Return every distinct MatchSpec of packages and manifest."""
    return list(dict.fromkeys(spec for closing in closings for spec in _specs(closing)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a MatchSpec asks for, and the positions of what meets it.

    `is_plain`: it is understood, asks for no extras and holds under no condition, so `met_by` is
    all there is to it. `is_clear` False: this py-rattler, or we, cannot tell. `refused`: it is no
    MatchSpec, as rattler says.
    """

    name: str
    met_by: frozenset[int] = frozenset()
    extras: tuple[str, ...] = ()
    condition: Condition | None = None
    is_plain: bool = True
    is_clear: bool = True
    refused: str | None = None


def read_answers(reply: Any) -> Mapping[str, Answer]:
    """Read what the worker says."""
    return {text: _answer(text, each) for text, each in reply.items()}


def _answer(text: str, each: Any) -> Answer:
    if "refused" in each:
        return Answer(name=text, is_plain=False, refused=each["refused"])
    met_by, condition = each["met_by"], each["condition"]
    parsed = None if condition is None else parse_condition(condition)
    return Answer(
        name=each["name"],
        met_by=frozenset(met_by or ()),
        extras=tuple(each["extras"]),
        condition=parsed,
        is_plain=not each["extras"] and condition is None and met_by is not None,
        is_clear=met_by is not None and (condition is None) is (parsed is None),
    )


def _specs(closing: Closing) -> Iterator[str]:
    for package in closing.packages:
        yield from package.record.depends
        yield from package.record.constrains
        for _, depends in package.record.extra_depends:
            yield from depends
    for source in closing.sources:
        yield from source.depends
        yield from source.constrains
    for each in (*closing.requirements, *closing.constraints):
        yield each.spec
        condition = parse_condition(each.condition or "")
        if condition is not None:
            yield from specs_of(condition)


def _virtual_record(package: VirtualPackage) -> Json:
    return {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "subdir": NOARCH,
        "sha256": None,
        "md5": None,
        "license": None,
        "license_family": None,
        "track_features": [],
        "flags": [],
    }
