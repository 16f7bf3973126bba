"""Look whether one set of packages meets all its requirements.

As rattler's solver reads them (rattler_solve/src/resolvo/mod.rs): a record's requirements ask for
names, versions, builds and the like, of any channel; an extra is there for all once anybody asks
for it; virtual packages are required and constrained like others. `features` and `track_features`
of a record only weigh in a solver's choice: what counts is whether a requirement names them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Final

from scripts.core.condition import holds, parse_condition
from scripts.lock.model import Unmirrorable
from scripts.lock.satisfiability import differs_aside, wanted_text
from scripts.verify.closure.inquire import Answer, Catalogue, name_of, things_of
from scripts.verify.closure.plan import Closing
from scripts.verify.virtual import VirtualPackage
from scripts.workspace.model import Requirement

_NAME_ALONE: Final = re.compile(r"[^\s=<>!~\[:]+(\s+\*)?")
_BUILT: Final = "built from source"
_CONDITION: Final = "under a condition that cannot be told"
_UNCLEAR: Final = "this py-rattler cannot tell"


class Wish(StrEnum):
    """What is wanted; the words are those of findings."""

    REQUIRES = "requires"
    CONSTRAINS = "constrains"
    """Not that it is there, but that where it is it is no other."""


@dataclass(frozen=True, slots=True)
class Want:
    """One requirement and who has it: a package, by position; or a `source` package.

    Or the manifest, where it is its `own`.
    """

    wish: Wish
    spec: str
    who: int | None = None
    own: Requirement | None = None
    source: Unmirrorable | None = None

    @property
    def text(self) -> str:
        """The requirement for people."""
        return self.spec if self.own is None else wanted_text(self.own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A want that is not met; `reason` says why it may be all the same.

    `there` are the positions of what the set has of that name, `others` of what would meet it.
    """

    want: Want
    answer: Answer
    there: tuple[int, ...]
    others: tuple[int, ...]
    reason: str | None


class Look:
    """One set of packages, looked at: `unmet` and `unproven` say what came of it."""

    def __init__(
        self, closing: Closing, catalogue: Catalogue, answers: Mapping[str, Answer], root: PurePath
    ) -> None:
        """Look at everything; `root` is the workspace's folder, for channels in it."""
        self.closing = closing
        self.unmet: list[Open] = []
        self.unproven: list[Open] = []
        self.packages = {catalogue.position(each): each for each in closing.packages}
        self.wanted_from_above: list[tuple[int, Want]] = []
        self._things, self._answers, self._root = catalogue.things, answers, root
        self._by_name: dict[str, list[int]] = {}
        for thing in things_of(closing):
            self._by_name.setdefault(name_of(thing), []).append(catalogue.position(thing))
        self._present = {each for same in self._by_name.values() for each in same}
        self._sources = {each.name.partition(" ")[0].lower() for each in closing.sources}
        self._extras: set[tuple[str, str]] = set()
        self._waiting: deque[Want] = deque()
        self._of_extras: dict[int, list[str]] = {}
        self._look()

    def needs_of(self, position: int) -> Iterator[tuple[int, str]]:
        """Yield what meets the requirements of a package here, extras asked for included."""
        package = self.packages.get(position)
        if package is None:
            return
        for text in (*package.record.depends, *self._of_extras.get(position, ())):
            answer = self._answers[text]
            if self._applies(Want(Wish.REQUIRES, text), answer) is not False:
                yield from ((met, text) for met in sorted(answer.met_by & self._present))

    def _look(self) -> None:
        for want in self._from_above():
            if want.wish is Wish.REQUIRES:
                self._require(want)
            else:
                self._constrain(want)
        for position, package in self.packages.items():
            for text in package.record.depends:
                answer = self._answers[text]
                # Nearly all are as simple as this, and there may be a hundred thousand.
                if not answer.is_plain or answer.met_by.isdisjoint(self._present):
                    self._require(Want(Wish.REQUIRES, text, position))
            for text in package.record.constrains:
                self._constrain(Want(Wish.CONSTRAINS, text, position))
        while self._waiting:
            self._require(self._waiting.popleft())

    def _from_above(self) -> Iterator[Want]:
        """Yield what the manifest wants, and the source packages: what no artifact asks for."""
        for own in self.closing.requirements:
            yield Want(Wish.REQUIRES, own.spec, own=own)
        for own in self.closing.constraints:
            yield Want(Wish.CONSTRAINS, own.spec, own=own)
        for source in self.closing.sources:
            for text in source.depends:
                yield Want(Wish.REQUIRES, text, source=source)
            for text in source.constrains:
                yield Want(Wish.CONSTRAINS, text, source=source)

    def _require(self, want: Want) -> None:
        answer = self._answers[want.spec]
        applies = self._applies(want, answer)
        if applies is False or self._is_of_unknown_machine(answer):
            return
        met = self._met(want, answer)
        if not met and not self._is_source(want.spec, answer):
            self._leave_open(want, answer, applies)
        elif applies:
            self._activate(answer)
        if want.who is None:
            self.wanted_from_above += [(each, want) for each in met]

    def _constrain(self, want: Want) -> None:
        answer = self._answers[want.spec]
        is_there = answer.name in self._by_name or answer.name in self.closing.built
        if self.closing.is_of_builds or not (is_there or answer.refused):
            return
        applies = self._applies(want, answer)
        if applies is not False and not self._met(want, answer):
            self._leave_open(want, answer, applies)

    def _is_of_unknown_machine(self, answer: Answer) -> bool:
        return self.closing.is_of_builds and answer.name.startswith("__")

    def _is_source(self, spec: str, answer: Answer) -> bool:
        """Tell whether an installed source package does for a requirement, which is but a name."""
        return answer.name in self._sources and _NAME_ALONE.fullmatch(spec.strip()) is not None

    def _met(self, want: Want, answer: Answer) -> list[int]:
        return [each for each in answer.met_by & self._present if not self._differs(want, each)]

    def _differs(self, want: Want, position: int) -> bool:
        """Tell whether the manifest asks for another channel or the like; records never do."""
        thing = self._things[position]
        if want.own is None or isinstance(thing, VirtualPackage):
            return False
        return differs_aside(want.own, thing, self._root)

    def _applies(self, want: Want, answer: Answer) -> bool | None:
        """Tell whether the want's condition holds; None where that cannot be told."""
        condition = answer.condition
        if want.own is not None and want.own.condition is not None:
            condition = parse_condition(want.own.condition)
            if condition is None:
                return None
        return True if condition is None else holds(condition, self._is_met)

    def _is_met(self, spec: str) -> bool | None:
        answer = self._answers[spec]
        if not answer.is_plain:
            return None
        if not answer.met_by.isdisjoint(self._present):
            return True
        is_open = answer.name in self.closing.built or self._is_of_unknown_machine(answer)
        return None if is_open else False

    def _leave_open(self, want: Want, answer: Answer, applies: bool | None) -> None:  # noqa: FBT001
        reason = None
        if answer.refused is None:
            if not answer.is_clear:
                reason = _UNCLEAR
            elif answer.name in self.closing.built:
                reason = _BUILT
            elif applies is None:
                reason = _CONDITION
        found = Open(
            want=want,
            answer=answer,
            there=tuple(self._by_name.get(answer.name, ())),
            others=tuple(sorted(x for x in answer.met_by if not self._differs(want, x))),
            reason=reason,
        )
        (self.unmet if reason is None else self.unproven).append(found)

    def _activate(self, answer: Answer) -> None:
        """Take the requirements of extras among those that have to be met."""
        for extra in answer.extras:
            if (answer.name, extra) not in self._extras:
                self._extras.add((answer.name, extra))
                for position in self._by_name.get(answer.name, ()):
                    self._take_extra(position, extra)

    def _take_extra(self, position: int, extra: str) -> None:
        package = self.packages.get(position)
        for name, depends in () if package is None else package.record.extra_depends:
            if name == extra:
                self._of_extras.setdefault(position, []).extend(depends)
                self._waiting += [Want(Wish.REQUIRES, text, position) for text in depends]
